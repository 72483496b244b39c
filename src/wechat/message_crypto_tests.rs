#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::Value;

use super::*;

fn vectors() -> Vec<Value> {
    let file: Value = serde_json::from_str(include_str!("../../tests/fixtures/wechat-messages.json")).unwrap();
    file["vectors"].as_array().unwrap().clone()
}

fn covers(vector: &Value, what: &str) -> bool {
    vector["covers"]
        .as_array()
        .unwrap()
        .iter()
        .any(|covered| covered == what)
}

fn text<'v>(vector: &'v Value, name: &str) -> &'v str {
    vector[name]
        .as_str()
        .unwrap_or_else(|| panic!("{name} in {}", vector["name"]))
}

/// A timestamp is a number where it stands in JSON.
fn moment(vector: &Value) -> String {
    match &vector["timestamp"] {
        Value::String(text) => text.clone(),
        number => number.to_string(),
    }
}

fn crypto(vector: &Value) -> MessageCrypto {
    MessageCrypto::new(text(vector, "encoding_aes_key"), text(vector, "appid")).unwrap()
}

#[test]
fn every_known_signature_is_found_again() {
    let mut checked = (0, 0);
    for vector in vectors() {
        let time = || moment(&vector);
        if covers(&vector, "push_signature") {
            let (time, signature) = (time(), text(&vector, "signature"));
            let parts = [text(&vector, "token"), &time, text(&vector, "nonce")];
            assert_eq!(push_signature(&parts), signature, "{}", vector["name"]);
            assert!(is_signature(signature, &parts));
            assert!(!is_signature(&signature[1..], &parts) && !is_signature("", &parts));
            checked.0 += 1;
        }
        if covers(&vector, "msg_signature") {
            let time = time();
            let parts = [
                text(&vector, "token"),
                &time,
                text(&vector, "nonce"),
                text(&vector, "encrypt"),
            ];
            assert_eq!(
                push_signature(&parts),
                text(&vector, "msg_signature"),
                "{}",
                vector["name"]
            );
            checked.1 += 1;
        }
    }
    assert_eq!(checked, (6, 6));
}

#[test]
fn every_known_message_decrypts_and_encrypts_to_the_same_bytes() {
    let mut checked = 0;
    for vector in vectors().iter().filter(|vector| covers(vector, "message_decrypt")) {
        let name = &vector["name"];
        let crypto = crypto(vector);
        let hex: String = crypto.key.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, text(vector, "aes_key_hex"), "{name}");
        assert_eq!(
            crypto.decrypt(text(vector, "encrypt")).unwrap(),
            text(vector, "msg"),
            "{name}"
        );
        let random: Vec<u8> = match vector["random16_hex"].as_str() {
            Some(hex) => (0..16)
                .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).unwrap())
                .collect(),
            None => text(vector, "random16").as_bytes().to_vec(),
        };
        let again = crypto
            .encrypt_with(&random.try_into().unwrap(), text(vector, "msg"))
            .unwrap();
        assert_eq!(again, text(vector, "encrypt"), "{name}");
        let other = MessageCrypto::new(text(vector, "encoding_aes_key"), "wxsomebodyelse").unwrap();
        assert_eq!(other.decrypt(&again), Err(Undecipherable), "{name}: another AppID");
        checked += 1;
    }
    assert_eq!(checked, 7);
}

#[test]
fn a_key_is_43_characters_whatever_the_last_two_bits_are() {
    let key = |last: char| format!("{}{last}", "A".repeat(42));
    for last in ['A', 'B', 'C', 'D', 'G', '/'] {
        assert!(MessageCrypto::new(&key(last), "wx1").is_ok(), "{last}");
    }
    for wrong in ["", &"A".repeat(42), &"A".repeat(44), &key('='), &key('-'), &key('门')] {
        assert!(MessageCrypto::new(wrong, "wx1").is_err(), "{wrong}");
    }
    // The two bits are in no byte: both keys are one.
    let (one, other) = (
        MessageCrypto::new(&key('A'), "wx1"),
        MessageCrypto::new(&key('D'), "wx1"),
    );
    assert_eq!(
        other.unwrap().decrypt(&one.unwrap().encrypt("hello").unwrap()).unwrap(),
        "hello"
    );
}

#[test]
fn nothing_of_the_key_is_in_the_debug_output() {
    let debug = format!("{:?}", MessageCrypto::new(&"x".repeat(43), "wx1").unwrap());
    assert_eq!(debug, "MessageCrypto { app_id: \"wx1\", .. }");
}

/// Encrypts bytes that no honest sender would.
fn raw(crypto: &MessageCrypto, plain: &[u8]) -> String {
    let mut buffer = plain.to_vec();
    let key = EncryptingKey::cbc(UnboundCipherKey::new(&AES_256, &crypto.key[..]).unwrap()).unwrap();
    key.less_safe_encrypt(&mut buffer, EncryptionContext::Iv128(crypto.iv()))
        .unwrap();
    STANDARD.encode(buffer)
}

fn plain(length: u32, message: &[u8], app_id: &[u8], pad: &[u8]) -> Vec<u8> {
    [&[7; 16][..], &length.to_be_bytes(), message, app_id, pad].concat()
}

#[test]
fn everything_that_can_be_wrong_is_one_error() {
    let crypto = MessageCrypto::new(&"x".repeat(43), "wx1").unwrap();
    // 16 + 4 + 5 + 3 = 28, and 4 bytes of padding.
    let good = plain(5, b"hello", b"wx1", &[4; 4]);
    assert_eq!(crypto.decrypt(&raw(&crypto, &good)).unwrap(), "hello");
    let cases: [(&str, Vec<u8>); 10] = [
        ("no padding", plain(5, b"hello", b"wx1", &[0; 4])),
        ("padding of another block", plain(5, b"hello", b"wx1", &[33; 4])),
        ("padding with a foreign byte", plain(5, b"hello", b"wx1", &[4, 3, 4, 4])),
        ("padding that is too long", plain(5, b"hello", b"wx1", &[5; 4])),
        ("another AppID", plain(5, b"hello", b"wx2", &[4; 4])),
        ("a longer AppID", plain(4, b"hello", b"wx1", &[4; 4])),
        (
            "a message that is longer than all",
            plain(0x7fff_ffff, b"hello", b"wx1", &[4; 4]),
        ),
        ("the longest length", plain(u32::MAX, b"hello", b"wx1", &[4; 4])),
        ("nothing but padding", vec![32; 32]),
        ("no text", plain(5, b"hell\xff", b"wx1", &[4; 4])),
    ];
    for (what, plain) in cases {
        assert_eq!(crypto.decrypt(&raw(&crypto, &plain)), Err(Undecipherable), "{what}");
    }
    let half = STANDARD.encode([7; 48]);
    for wrong in ["", "!", "AAAA", "AA==", half.as_str()] {
        assert_eq!(crypto.decrypt(wrong), Err(Undecipherable), "{wrong}");
    }
}

proptest! {
    #[test]
    fn what_is_encrypted_decrypts(
        key in "[A-Za-z0-9+/]{43}",
        app_id in "wx[0-9a-f]{0,30}",
        message in ".{0,200}",
    ) {
        let crypto = MessageCrypto::new(&key, app_id).unwrap();
        let encrypted = crypto.encrypt(&message).unwrap();
        prop_assert_eq!(STANDARD.decode(&encrypted).unwrap().len() % 32, 0);
        prop_assert_eq!(crypto.decrypt(&encrypted).unwrap(), message);
    }

    #[test]
    fn one_changed_bit_is_noticed_or_changes_the_message(
        message in "[a-z]{0,80}",
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let crypto = MessageCrypto::new(&"x".repeat(43), "wx4f4bc4dec97d474b").unwrap();
        let mut bytes = STANDARD.decode(crypto.encrypt(&message).unwrap()).unwrap();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        if let Ok(read) = crypto.decrypt(&STANDARD.encode(&bytes)) {
            // CBC authenticates nothing, which is what the signature is for.
            prop_assert_ne!(read, message);
        }
    }

    #[test]
    fn no_envelope_makes_it_panic(encrypted in "[A-Za-z0-9+/=]{0,200}", bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let crypto = MessageCrypto::new(&"x".repeat(43), "wx1").unwrap();
        prop_assert_eq!(crypto.decrypt(&encrypted), Err(Undecipherable));
        crate::wechat::fuzzing::message_crypto(&bytes);
        crate::wechat::fuzzing::message_crypto(encrypted.as_bytes());
    }
}
