//! See `fault_script` in src/.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| echo_tester_fuzz::fault_script(data));
