//! `weft_fuzz::dns_message_edit` under libFuzzer.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    weft_fuzz::dns_message_edit(data);
});
