//! Which partition a key belongs to, as the ordinary client has it.

use std::hash::{Hash, Hasher};

use siphasher::sip::SipHasher;

/// The partition of a record with this key, of a topic that has so many; the first if there are none.
///
/// It is that of the ordinary client's default partitioner: SipHash-2-4 with zero keys over the key as
/// Rust hashes bytes, modulo the number of partitions. Whoever writes other records of the same keys
/// with it finds them in the same partitions.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    let partition = hash(key).checked_rem(partitions.into()).unwrap_or_default();
    // It is less than the number of partitions.
    partition as u32
}

/// The hash of a key: of its length as eight bytes, the lowest first, and its bytes.
fn hash(key: &[u8]) -> u64 {
    let mut hasher = SipHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_the_hashes_of_the_ordinary_client() {
        for (key, expected) in [
            ("", 0xe849_e8bb_6ffe_2567),
            ("1", 0x6158_0903_e473_68e6),
            ("42", 0x7e93_b853_a57c_1bd0),
        ] {
            assert_eq!(hash(key.as_bytes()), expected, "{key:?}");
        }
    }

    #[test]
    fn a_key_has_one_of_the_partitions() {
        for partitions in 1..20 {
            let of = |key: u32| partition_of(key.to_string().as_bytes(), partitions);
            assert!((0..1000).all(|key| of(key) < partitions));
            assert!((0..partitions).all(|one| (0..1000).any(|key| of(key) == one)));
        }
        assert_eq!(partition_of(b"1", 0), 0);
    }
}
