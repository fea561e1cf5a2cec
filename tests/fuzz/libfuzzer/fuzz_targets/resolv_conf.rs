//! `weft_fuzz::resolv_conf` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    weft_fuzz::resolv_conf(data);
});
