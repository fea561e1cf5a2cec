//! `weft_fuzz::packet_queue` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    weft_fuzz::packet_queue(data);
});
