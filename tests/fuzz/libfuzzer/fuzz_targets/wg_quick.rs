//! `weft_fuzz::wg_quick` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    weft_fuzz::wg_quick(data);
});
