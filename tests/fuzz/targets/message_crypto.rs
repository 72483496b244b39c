//! The envelope of encrypted messages.

#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| menshen::wechat::fuzzing::message_crypto(data));
