//! `scripts/fuzz fluvio`
#![no_main]

libfuzzer_sys::fuzz_target!(
    init: hostile::let_panics_unwind(),
    |data: &[u8]| hostile::targets::fluvio::fluvio(data)
);
