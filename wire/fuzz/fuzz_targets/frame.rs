#![no_main]
//! See `wire::hostile::frame` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::hostile::frame(bytes));
