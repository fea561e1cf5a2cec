//! `weft_fuzz::dns_front` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    weft_fuzz::dns_front(data);
});
