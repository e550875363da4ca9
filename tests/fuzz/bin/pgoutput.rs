//! `scripts/fuzz pgoutput`
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| hostile::targets::pgoutput::pgoutput(data));
