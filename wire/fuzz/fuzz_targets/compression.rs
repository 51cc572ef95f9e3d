#![no_main]
//! See `wire::hostile::compression` for what must hold.

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::hostile::compression(bytes));
