//! `scripts/fuzz frames`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::targets::frames::frames(data));
