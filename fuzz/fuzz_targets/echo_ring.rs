//! See `echo_ring` in src/.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| echo_tester_fuzz::echo_ring(data));
