//! `weft_fuzz::netstack_packet` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    weft_fuzz::netstack_packet(data);
});
