//! A whole push: five lines of the query, an empty line, the body.

#![no_main]

use std::sync::LazyLock;

use menshen::config::settings::{OfficialAccountQr, PushMode};
use menshen::wechat::PushDoor;
use secrecy::SecretString;

static DOORS: LazyLock<Vec<PushDoor>> = LazyLock::new(|| {
    [PushMode::Safe, PushMode::Plain]
        .into_iter()
        .filter_map(|push_mode| {
            let account = OfficialAccountQr {
                token: SecretString::from("MenshenSandboxToken01"),
                encoding_aes_key: Some(SecretString::from("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8")),
                push_mode,
                relay_url: None,
                relay_token: None,
                relay_encoding_aes_key: None,
                verify_opener: false,
                greeting: None,
            };
            PushDoor::new(&account, "wx0123456789abcdef").ok()
        })
        .collect()
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    for door in DOORS.iter() {
        menshen::wechat::fuzzing::push(door, data, 1_760_000_000);
    }
});
