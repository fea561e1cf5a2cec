//! `weft_fuzz::policy_plan` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    weft_fuzz::policy_plan(data);
});
