//! `weft_fuzz::http2_answers` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    weft_fuzz::http2_answers(data);
});
