//! SASLprep as PostgreSQL has it: `pg_saslprep` of `src/common/saslprep.c`, which differs from
//! [RFC 4013](https://www.rfc-editor.org/rfc/rfc4013) in what it looks at. What is prohibited,
//! unassigned or of two directions is looked for in what was typed, not in its normal form; such a
//! password is taken as it is, and so is one of which nothing would be left.

use sha2::{Digest, Sha256};
use stringprep::tables;
use unicode_normalization::UnicodeNormalization;

/// The length up to which a key of HMAC-SHA-256 has zeros behind it.
const BLOCK_BYTES: usize = 64;

/// The password in a form that the library, which prepares it too and by the letter of the RFC,
/// makes the same of as the server.
pub fn prepare(password: &[u8]) -> Vec<u8> {
    let Ok(text) = std::str::from_utf8(password) else {
        return password.to_vec();
    };
    let prepared = normal_form(text).unwrap_or_else(|| text.to_owned());
    let is_changed = stringprep::saslprep(&prepared).is_ok_and(|other| other != prepared);
    if !is_changed {
        return prepared.into_bytes();
    }
    let mut key = prepared.into_bytes();
    if key.len() > BLOCK_BYTES {
        // As HMAC does with a key that is longer.
        key = Sha256::digest(&key).to_vec();
    }
    if key.len() < BLOCK_BYTES {
        // A control character is prohibited, so that the library takes the rest as it is; and to
        // HMAC this one makes no difference.
        key.push(0);
    }
    key
}

/// The normal form of a password; `None` if it is taken as it is.
fn normal_form(text: &str) -> Option<String> {
    if text.is_ascii() {
        return None;
    }
    let mapped: Vec<char> = text
        .chars()
        .filter_map(|c| match c {
            c if tables::non_ascii_space_character(c) => Some(' '),
            c if tables::commonly_mapped_to_nothing(c) => None,
            c => Some(c),
        })
        .collect();
    let (first, last) = (*mapped.first()?, *mapped.last()?);
    if mapped.iter().copied().any(is_refused) {
        return None;
    }
    let is_right_to_left = tables::bidi_r_or_al;
    if mapped.iter().copied().any(is_right_to_left) {
        let is_mixed = mapped.iter().copied().any(tables::bidi_l);
        if is_mixed || !is_right_to_left(first) || !is_right_to_left(last) {
            return None;
        }
    }
    Some(mapped.into_iter().nfkc().collect())
}

/// The tables C.1.2 to C.9 and A.1 of [RFC 3454](https://www.rfc-editor.org/rfc/rfc3454).
fn is_refused(c: char) -> bool {
    tables::non_ascii_space_character(c)
        || tables::ascii_control_character(c)
        || tables::non_ascii_control_character(c)
        || tables::private_use(c)
        || tables::non_character_code_point(c)
        || tables::surrogate_code(c)
        || tables::inappropriate_for_plain_text(c)
        || tables::inappropriate_for_canonical_representation(c)
        || tables::change_display_properties_or_deprecated(c)
        || tables::tagging_character(c)
        || tables::unassigned_code_point(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_prepared_and_what_is_taken_as_it_is() {
        for (password, prepared) in [
            ("plain", "plain"),
            ("a\u{A0}b\u{AD}", "a b"),
            ("\u{AA}\u{2168}", "aIX"),
            ("a\u{2135}", "a\u{5D0}"),
            ("\u{AA}\u{E000}", "\u{AA}\u{E000}"),
            // These the library would change.
            ("\u{AA}\u{340}", "\u{AA}\u{340}\0"),
            ("\u{AD}", "\u{AD}\0"),
        ] {
            let found = String::from_utf8(prepare(password.as_bytes())).unwrap();
            assert_eq!(found, prepared, "{}", password.escape_unicode());
        }
        assert_eq!(prepare(b"caf\xE9"), b"caf\xE9");
    }
}
