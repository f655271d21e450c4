#![no_main]
libfuzzer_sys::fuzz_target!(|data: &[u8]| vserver_fuzz::access_list(data));
