//! `scripts/fuzz record`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::targets::record::record(data));
