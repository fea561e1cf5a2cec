//! `weft_fuzz::wireguard_session` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    weft_fuzz::wireguard_session(data);
});
