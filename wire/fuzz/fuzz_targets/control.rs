#![no_main]
//! See `wire::hostile::control` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::hostile::control(bytes));
