//! See `wire::hostile::compression` for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| wire::hostile::compression(bytes));
