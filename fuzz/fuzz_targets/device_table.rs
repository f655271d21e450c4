#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| vserver_fuzz::device_table(data));
