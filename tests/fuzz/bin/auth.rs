//! `scripts/fuzz auth`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::targets::auth::auth(data));
