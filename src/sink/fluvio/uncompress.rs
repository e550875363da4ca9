//! Unpacking the records of a batch, up to a limit.
//!
//! The counterpart in the official client knows none: a batch of a few MiB may unpack to as many
//! GiB, and whoever may write to the topic could fill our memory with one.

use std::io::Read;

use flate2::read::GzDecoder;
use fluvio::Compression;

use crate::base::error::{Error, Result};

/// What the records are once unpacked, at most `limit` bytes; nothing if they are not compressed.
pub fn uncompress(
    compression: Compression,
    records: &[u8],
    limit: usize,
) -> Result<Option<Vec<u8>>> {
    let unpacked = match compression {
        Compression::None => return Ok(None),
        Compression::Gzip => read(GzDecoder::new(records), limit),
        Compression::Snappy => read(snap::read::FrameDecoder::new(records), limit),
        Compression::Lz4 => read(lz4_flex::frame::FrameDecoder::new(records), limit),
        Compression::Zstd => {
            let decoder = zstd::Decoder::with_buffer(records);
            read(decoder.map_err(broken)?, limit)
        }
    };
    unpacked.map(Some)
}

/// Memory grows with what has been unpacked, never with what a header promises.
fn read(unpacking: impl Read, limit: usize) -> Result<Vec<u8>> {
    let mut unpacked = Vec::new();
    // One byte more tells what is as large as it may be from what is larger.
    let mut unpacking = unpacking.take((limit as u64).saturating_add(1));
    unpacking.read_to_end(&mut unpacked).map_err(broken)?;
    match unpacked.len() > limit {
        true => Err(Error::undeliverable(format!(
            "has more than {limit} bytes once unpacked, and no more are taken"
        ))),
        false => Ok(unpacked),
    }
}

fn broken(error: std::io::Error) -> Error {
    Error::undeliverable("cannot be unpacked").with_source(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: usize = 1024 * 1024;

    #[test]
    fn up_to_the_limit_and_no_further() {
        use Compression::*;
        for compression in [Gzip, Snappy, Lz4, Zstd] {
            let packed = |len| compression.compress(&vec![b'0'; len]).unwrap();
            let fits = uncompress(compression, &packed(LIMIT), LIMIT).unwrap();
            assert!(fits.unwrap() == vec![b'0'; LIMIT], "{compression}");
            for len in [LIMIT + 1, 64 * LIMIT] {
                let packed = packed(len);
                // Snappy looks at pieces of 64 KiB and has no ratio better than 1 to 21.
                assert!(packed.len() < len / 20, "{compression}: {}", packed.len());
                let error = uncompress(compression, &packed, LIMIT).unwrap_err();
                let says = "has more than 1048576 bytes once unpacked";
                assert!(
                    error.to_string().starts_with(says),
                    "{compression}: {error}"
                );
            }
        }
    }

    #[test]
    fn what_is_cut_or_is_none_is_an_error() {
        use Compression::*;
        for compression in [Gzip, Lz4, Zstd, Snappy] {
            let packed = compression.compress(&[7; 1000]).unwrap();
            let cut = &packed[..packed.len() / 2];
            assert!(
                uncompress(compression, cut, LIMIT).is_err(),
                "{compression}"
            );
            assert!(uncompress(compression, b"not packed", LIMIT).is_err());
        }
        assert_eq!(uncompress(None, b"x", 0).unwrap(), Option::None);
    }
}
