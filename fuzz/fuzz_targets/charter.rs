#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| chartmesh_tests::charter(data));
