//! The XML of pushed messages.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| menshen::wechat::fuzzing::push_xml(data));
