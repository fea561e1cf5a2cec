//! `weft_fuzz::enrolment_link` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    weft_fuzz::enrolment_link(data);
});
