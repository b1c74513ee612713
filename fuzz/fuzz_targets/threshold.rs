//! See `threshold` in src/.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| echo_tester_fuzz::threshold(data));
