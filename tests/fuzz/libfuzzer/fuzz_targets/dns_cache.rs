//! `weft_fuzz::dns_cache` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    weft_fuzz::dns_cache(data);
});
