//! `scripts/fuzz config`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::targets::config::config(data));
