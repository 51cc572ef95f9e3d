//! See `checks::sequence` for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::sequence(bytes));
