//! `weft_fuzz::gateway_answer` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    weft_fuzz::gateway_answer(data);
});
