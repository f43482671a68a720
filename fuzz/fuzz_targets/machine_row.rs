#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| phalanx_decoders::run("machine_row", data));
