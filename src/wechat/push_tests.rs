#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use serde_json::Value;

use super::*;

const TOKEN: &str = "MenshenSandboxToken01";
const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8";
const APP_ID: &str = "wx0123456789abcdef";
const NOW: i64 = 1_760_000_000;

fn door(push_mode: PushMode) -> PushDoor {
    let account = OfficialAccountQr {
        token: SecretString::from(TOKEN),
        encoding_aes_key: (push_mode != PushMode::Plain).then(|| SecretString::from(KEY)),
        push_mode,
        relay_url: None,
        relay_token: None,
        relay_encoding_aes_key: None,
        verify_opener: false,
        greeting: None,
    };
    PushDoor::new(&account, APP_ID).unwrap()
}

fn vector(name: &str) -> Value {
    let file: Value = serde_json::from_str(include_str!("../../tests/fixtures/wechat-messages.json")).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    vectors.iter().find(|vector| vector["name"] == name).unwrap().clone()
}

fn text<'v>(vector: &'v Value, name: &str) -> &'v str {
    vector[name].as_str().unwrap()
}

fn query<'v>(vector: &'v Value) -> PushQuery<'v> {
    PushQuery {
        signature: text(vector, "signature"),
        timestamp: text(vector, "timestamp"),
        nonce: text(vector, "nonce"),
        encrypt_type: vector["msg_signature"].as_str().map(|_| "aes"),
        msg_signature: vector["msg_signature"].as_str(),
    }
}

fn event(event: &str, key: &str) -> String {
    format!(
        "<xml><ToUserName><![CDATA[gh_1]]></ToUserName><FromUserName><![CDATA[o1]]></FromUserName>\
         <CreateTime>{NOW}</CreateTime><MsgType><![CDATA[event]]></MsgType><Event><![CDATA[{event}]]></Event>\
         <EventKey><![CDATA[{key}]]></EventKey></xml>"
    )
}

/// A plain push of this body, signed now.
fn open_plain(body: &str) -> Result<PushMessage, PushFault> {
    let (door, time) = (door(PushMode::Plain), NOW.to_string());
    let signature = door.sign_handshake(&time, "1");
    let query = PushQuery {
        signature: &signature,
        timestamp: &time,
        nonce: "1",
        ..PushQuery::default()
    };
    door.open(query, body.as_bytes(), NOW)
}

#[test]
fn the_published_handshake_is_answered() {
    let vector = vector("push_echostr_official");
    let account = OfficialAccountQr {
        token: SecretString::from(text(&vector, "token")),
        encoding_aes_key: None,
        push_mode: PushMode::Plain,
        relay_url: None,
        relay_token: None,
        relay_encoding_aes_key: None,
        verify_opener: false,
        greeting: None,
    };
    let door = PushDoor::new(&account, "wx1").unwrap();
    let now = 1_714_036_504;
    assert_eq!(door.check_handshake(query(&vector), now), Ok(()));
    assert_eq!(
        door.sign_handshake("1714036504", "1514711492"),
        text(&vector, "signature")
    );
    let other = PushQuery {
        nonce: "1514711493",
        ..query(&vector)
    };
    assert_eq!(door.check_handshake(other, now), Err(PushFault::Signature));
    assert_eq!(
        door.check_handshake(query(&vector), now + 301),
        Err(PushFault::Time(-301))
    );
}

#[test]
fn scans_of_followers_and_of_new_ones_are_told_by_the_event() {
    for (name, new_follower) in [("gen_subscribe_qrscene", true), ("gen_scan_str", false)] {
        let vector = vector(name);
        for mode in [PushMode::Safe, PushMode::Compatible] {
            let message = door(mode).open(query(&vector), text(&vector, "push_body").as_bytes(), NOW);
            let message = message.unwrap();
            assert_eq!(
                (&*message.to, &*message.from),
                ("gh_0123456789ab", "oABCD1234567890abcdefghijkl0")
            );
            let scene = "lg_7Xk2mQ9pZt4A".to_owned();
            assert_eq!(message.kind, PushKind::Scan { scene, new_follower });
        }
    }
    // Decrypted, and no XML.
    let padded = vector("gen_pad32");
    let opened = door(PushMode::Safe).open(query(&padded), text(&padded, "push_body").as_bytes(), NOW);
    assert_eq!(opened, Err(PushFault::Xml(XmlFault::Malformed)));
}

#[test]
fn the_clear_half_of_a_compatible_message_is_not_read() {
    let vector = vector("gen_scan_str");
    let clear = event("SCAN", "a scene that nobody signed");
    let body = clear.replace(
        "</xml>",
        &format!("<Encrypt><![CDATA[{}]]></Encrypt></xml>", text(&vector, "encrypt")),
    );
    let message = door(PushMode::Compatible)
        .open(query(&vector), body.as_bytes(), NOW)
        .unwrap();
    assert!(matches!(message.kind, PushKind::Scan { scene, .. } if scene == "lg_7Xk2mQ9pZt4A"));
}

#[test]
fn what_is_not_signed_for_this_moment_is_forged() {
    let vector = vector("gen_scan_str");
    let body = text(&vector, "push_body").as_bytes();
    let door = door(PushMode::Safe);
    let (good, at) = (query(&vector), 1_760_000_010);
    assert!(door.open(good, body, at + 300).is_ok() && door.open(good, body, at - 300).is_ok());
    let forged = [
        (
            PushQuery {
                msg_signature: None,
                ..good
            },
            at,
        ),
        (
            PushQuery {
                msg_signature: Some(good.signature),
                ..good
            },
            at,
        ),
        (
            PushQuery {
                msg_signature: Some(""),
                ..good
            },
            at,
        ),
        (
            PushQuery {
                nonce: "100003",
                ..good
            },
            at,
        ),
        (
            PushQuery {
                timestamp: "1760000011",
                ..good
            },
            at,
        ),
        (good, at + 301),
        (good, at - 301),
    ];
    for (query, now) in forged {
        let fault = door.open(query, body, now).unwrap_err();
        assert!(fault.is_forged(), "{query:?} {fault}");
    }
    let changed = text(&vector, "push_body").replace("nP3TPNiy", "nP3TPNiz");
    assert_eq!(door.open(good, changed.as_bytes(), at), Err(PushFault::Signature));
}

#[test]
fn plain_messages_are_taken_where_they_are_configured_and_nowhere_else() {
    assert!(open_plain(&event("SCAN", "x")).is_ok());
    let (time, body) = (NOW.to_string(), event("SCAN", "x"));
    let encrypted = door(PushMode::Safe);
    let signature = encrypted.sign_handshake(&time, "1");
    let plain = PushQuery {
        signature: &signature,
        timestamp: &time,
        nonce: "1",
        ..PushQuery::default()
    };
    assert_eq!(encrypted.open(plain, body.as_bytes(), NOW), Err(PushFault::Mode));
    // Said to be encrypted, and without a ciphertext.
    let said = PushQuery {
        encrypt_type: Some("aes"),
        msg_signature: Some(&signature),
        ..plain
    };
    assert_eq!(encrypted.open(said, body.as_bytes(), NOW), Err(PushFault::Unsigned));
    assert_eq!(
        door(PushMode::Plain).open(said, body.as_bytes(), NOW),
        Err(PushFault::Mode)
    );
}

#[test]
fn what_is_wrong_before_a_signature_of_this_moment_is_forged_and_after_it_is_the_operators() {
    let (vector, long) = (vector("gen_scan_str"), format!("<xml>{}</xml>", "x".repeat(60 << 10)));
    let bodies = ["", "<a", "<xml/>", "<!DOCTYPE x><xml/>", "\u{0}", &long];
    let unsigned = PushQuery {
        encrypt_type: Some("aes"),
        ..PushQuery::default()
    };
    for mode in [PushMode::Safe, PushMode::Compatible, PushMode::Plain] {
        for query in [query(&vector), unsigned, PushQuery::default()] {
            for body in bodies {
                let fault = door(mode).open(query, body.as_bytes(), NOW + 400).unwrap_err();
                assert!(fault.is_forged(), "{mode:?} {query:?} {fault}");
            }
        }
        let fault = door(mode).open(unsigned, &[0xff], NOW).unwrap_err();
        assert!(fault.is_forged(), "{mode:?} {fault}");
    }
    for body in bodies {
        assert!(!open_plain(body).unwrap_err().is_forged(), "{body:.20}");
    }
}

#[test]
fn a_time_has_one_spelling() {
    let door = door(PushMode::Plain);
    for time in [NOW.to_string(), format!("+{NOW}"), format!("0{NOW}"), format!(" {NOW}")] {
        let signature = door.sign_handshake(&time, "1");
        let query = PushQuery {
            signature: &signature,
            timestamp: &time,
            nonce: "1",
            ..PushQuery::default()
        };
        let good = time == NOW.to_string();
        assert_eq!(door.check_handshake(query, NOW).is_ok(), good, "{time}");
        assert_eq!(
            door.open(query, event("SCAN", "x").as_bytes(), NOW).is_ok(),
            good,
            "{time}"
        );
    }
}

#[test]
fn the_prefix_of_a_scene_is_taken_off_once_and_case_does_not_matter() {
    let scan = |scene: &str, new_follower| PushKind::Scan {
        scene: scene.to_owned(),
        new_follower,
    };
    let cases = [
        ("subscribe", "qrscene_abc", scan("abc", true)),
        ("SUBSCRIBE", "qrscene_qrscene_a_b", scan("qrscene_a_b", true)),
        ("SCAN", "abc", scan("abc", false)),
        ("scan", "qrscene_abc", scan("qrscene_abc", false)),
        ("subscribe", "", PushKind::Other),
        ("subscribe", "abc", PushKind::Other),
        ("subscribe", "qrscene_", PushKind::Other),
        ("SCAN", "", PushKind::Other),
        ("unsubscribe", "", PushKind::Unsubscribe),
        ("CLICK", "abc", PushKind::Other),
    ];
    for (name, key, expected) in cases {
        assert_eq!(open_plain(&event(name, key)).unwrap().kind, expected, "{name} {key}");
    }
    let text = event("SCAN", "abc").replace("[event]", "[text]");
    assert_eq!(
        open_plain(&text).unwrap().kind,
        PushKind::Other,
        "somebody wrote about an event"
    );
}

#[test]
fn a_message_without_sender_receiver_or_time_is_refused() {
    let whole = event("SCAN", "abc");
    for (part, other) in [
        ("<ToUserName><![CDATA[gh_1]]></ToUserName>", ""),
        ("<FromUserName><![CDATA[o1]]></FromUserName>", ""),
        (
            "<FromUserName><![CDATA[o1]]></FromUserName>",
            "<FromUserName>o 1</FromUserName>",
        ),
        ("<CreateTime>1760000000</CreateTime>", "<CreateTime>soon</CreateTime>"),
    ] {
        assert!(whole.contains(part));
        assert_eq!(
            open_plain(&whole.replace(part, other)),
            Err(PushFault::Incomplete),
            "{part}"
        );
    }
}

#[test]
fn an_answer_is_wrapped_as_the_account_reads_it() {
    let message = open_plain(&event("SCAN", "abc")).unwrap();
    let answer = message.answer("]]> <a href=\"https://x\">继续</a>", NOW);
    let fields = Fields::read(&answer).unwrap();
    let expected = [
        ("ToUserName", "o1"),
        ("FromUserName", "gh_1"),
        ("CreateTime", "1760000000"),
        ("MsgType", "text"),
        ("Content", "]]> <a href=\"https://x\">继续</a>"),
    ];
    for (name, value) in expected {
        assert_eq!(fields.get(name), Some(value));
    }
    assert_eq!(door(PushMode::Plain).wrap(&answer, "100002", NOW).unwrap(), answer);
    let wrapped = door(PushMode::Safe).wrap(&answer, "100002", NOW).unwrap();
    let envelope = Fields::read(&wrapped).unwrap();
    let encrypted = envelope.get("Encrypt").unwrap();
    assert_eq!(
        (envelope.get("TimeStamp"), envelope.get("Nonce")),
        (Some("1760000000"), Some("100002"))
    );
    let signed = push_signature(&[TOKEN, "1760000000", "100002", encrypted]);
    assert_eq!(envelope.get("MsgSignature"), Some(&*signed));
    let crypto = MessageCrypto::new(KEY, APP_ID).unwrap();
    assert_eq!(crypto.decrypt(encrypted).unwrap(), answer);
}

proptest! {
    #[test]
    fn whatever_is_signed_and_encrypted_is_read_as_it_was_sent(scene in "[A-Za-z0-9_-]{1,64}", nonce in "[0-9]{1,12}") {
        let (door, time) = (door(PushMode::Safe), NOW.to_string());
        let crypto = MessageCrypto::new(KEY, APP_ID).unwrap();
        let encrypted = crypto.encrypt(&event("SCAN", &scene)).unwrap();
        let signature = push_signature(&[TOKEN, &time, &nonce, &encrypted]);
        let query = PushQuery {
            timestamp: &time,
            nonce: &nonce,
            encrypt_type: Some("aes"),
            msg_signature: Some(&signature),
            ..PushQuery::default()
        };
        let body = format!("<xml><ToUserName>gh_1</ToUserName><Encrypt>{encrypted}</Encrypt></xml>");
        let message = door.open(query, body.as_bytes(), NOW).unwrap();
        prop_assert_eq!(message.kind, PushKind::Scan { scene, new_follower: false });
    }

    #[test]
    fn no_request_of_the_fuzzer_makes_it_panic(data in prop::collection::vec(any::<u8>(), 0..300), query in "([a-z0-9]{0,40}\n){5}\n<xml>.{0,80}") {
        for mode in [PushMode::Safe, PushMode::Plain] {
            crate::wechat::fuzzing::push(&door(mode), &data, NOW);
            crate::wechat::fuzzing::push(&door(mode), query.as_bytes(), NOW);
        }
    }

    #[test]
    fn no_body_makes_it_panic(body in prop::collection::vec(any::<u8>(), 0..200), time in ".{0,12}") {
        for mode in [PushMode::Safe, PushMode::Plain] {
            for encrypt_type in [None, Some("aes")] {
                let query = PushQuery { timestamp: &time, encrypt_type, ..PushQuery::default() };
                prop_assert!(door(mode).open(query, &body, NOW).is_err());
            }
        }
    }
}
