//! `weft_fuzz::gateway_query` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    weft_fuzz::gateway_query(data);
});
