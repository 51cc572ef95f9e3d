//! See `checks::records` for what must hold.

#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| checks::records(bytes));
