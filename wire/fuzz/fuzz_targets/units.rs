#![no_main]
//! See `wire::hostile::units` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::hostile::units(bytes));
