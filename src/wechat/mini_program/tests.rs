#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::wechat::clock::ManualClock;
use crate::wechat::error::{Outcome, WatermarkFault};
use crate::wechat::fake::{APP_ID, APP_SECRET, FakeWechat, Reply, error, token};

const NOW: u64 = 1_790_000_000;

async fn start() -> (FakeWechat, Arc<ManualClock>, MiniProgram) {
    let fake = FakeWechat::start().await;
    let clock = ManualClock::at(NOW);
    let app = fake.mini_program(clock.clone());
    (fake, clock, app)
}

fn phone_info(app_id: &str, country_code: &Value) -> Value {
    json!({
        "errcode": 0,
        "errmsg": "ok",
        "phone_info": {
            "phoneNumber": "13800138000",
            "purePhoneNumber": "13800138000",
            "countryCode": country_code,
            "watermark": {"timestamp": NOW, "appid": app_id},
        },
    })
}

fn code_request() -> UnlimitedCode {
    UnlimitedCode {
        scene: "AZaz09-_".into(),
        page: "pages/login/login".into(),
        check_path: false,
        env_version: "trial",
        width: 430,
    }
}

fn jpeg() -> Reply {
    Reply::Now(
        200,
        "application/octet-stream",
        Bytes::from_static(b"\xFF\xD8\xFF\xE0..."),
    )
}

#[tokio::test]
async fn a_login_code_becomes_an_openid() {
    let (fake, _, app) = start().await;
    fake.on(Endpoint::CodeToSession, |_, nth| {
        Reply::Json(match nth {
            0 => json!({"session_key": "tiihtNczf5v6AKRyjwEUhQ==", "openid": "oGZUI0egBJY1zhBYw2KhdUfwVJJE"}),
            1 => json!({"session_key": "tiihtNczf5v6AKRyjwEUhQ==", "openid": "o1", "unionid": "u1", "errcode": 0}),
            _ => json!({"openid": "o1", "unionid": ""}),
        })
    });
    let identity = app.code_to_session("0a1B2c3D").await.unwrap();
    assert_eq!(
        (identity.openid.as_str(), identity.unionid.as_deref()),
        ("oGZUI0egBJY1zhBYw2KhdUfwVJJE", None)
    );
    assert_eq!(
        format!("{identity:?}"),
        r#"LoginIdentity { openid: "oGZUI0…", unionid: None }"#
    );
    assert_eq!(
        app.code_to_session("0a1B2c3D").await.unwrap().unionid.as_deref(),
        Some("u1")
    );
    assert_eq!(app.code_to_session("0a1B2c3D").await.unwrap().unionid, None);

    let asked = &fake.asked(Endpoint::CodeToSession)[0];
    assert_eq!(asked.method, "GET");
    let mut query: Vec<_> = asked
        .query
        .iter()
        .map(|(name, value)| (name.as_str(), value.as_str()))
        .collect();
    query.sort_unstable();
    let expected = [
        ("appid", APP_ID),
        ("grant_type", "authorization_code"),
        ("js_code", "0a1B2c3D"),
        ("secret", APP_SECRET),
    ];
    assert_eq!(query, expected);
    assert!(
        fake.asked(Endpoint::StableToken).is_empty(),
        "no access token is needed"
    );
}

#[tokio::test]
async fn an_answer_without_an_openid_is_no_login() {
    let (fake, _, app) = start().await;
    let long = "o".repeat(65);
    for answer in [
        json!({}),
        json!({"openid": ""}),
        json!({"openid": null}),
        json!({"openid": "a b"}),
        json!({"openid": 7}),
        json!({"openid": long}),
        json!({"openid": "o1", "unionid": "a\nb"}),
    ] {
        let shown = answer.to_string();
        fake.on(Endpoint::CodeToSession, move |_, _| Reply::Json(answer.clone()));
        let error = app.code_to_session("code").await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unavailable, "{shown}");
    }
}

#[tokio::test]
async fn a_login_code_is_sent_once_whatever_wechat_answers() {
    let (fake, _, app) = start().await;
    let busy = Outcome::Busy { retry_after: None };
    let cases = [
        (-1, busy),
        (40029, Outcome::CodeInvalid),
        (40163, Outcome::CodeInvalid),
        (40226, Outcome::RefusedPerson),
        (45011, busy),
        (41008, Outcome::CodeInvalid),
        (31337, Outcome::Misconfigured),
    ];
    for (nth, (code, outcome)) in cases.into_iter().enumerate() {
        fake.on(Endpoint::CodeToSession, move |_, _| error(code));
        let error = app.code_to_session("code").await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Some(code), outcome));
        assert_eq!(error.rid(), Some(format!("654df33c-64386a2f-{code}").as_str()));
        assert_eq!(fake.asked(Endpoint::CodeToSession).len(), nth + 1, "{code}");
    }
}

#[tokio::test]
async fn a_login_code_is_sent_once_whatever_goes_wrong() {
    let fake = FakeWechat::start().await;
    let settings = crate::config::settings::Wechat {
        timeout: Duration::from_millis(300),
        ..fake.settings()
    };
    let app = MiniProgram::new(Arc::new(Transport::new(&settings).unwrap()), APP_ID, APP_SECRET.into());
    let replies: [fn() -> Reply; 6] = [
        || Reply::Now(200, "text/plain", Bytes::new()),
        || Reply::Now(503, "text/html", "<html>".into()),
        || Reply::Now(200, "text/html", "<html>".into()),
        || Reply::Drip,
        || Reply::Silence,
        || Reply::Endless,
    ];
    for (nth, reply) in replies.into_iter().enumerate() {
        fake.on(Endpoint::CodeToSession, move |_, _| reply());
        let error = app.code_to_session("s3cretcode").await.unwrap_err();
        assert_eq!(error.outcome(), Outcome::Unavailable, "{error}");
        assert!(!error.remedy().is_empty());
        for shown in [error.to_string(), format!("{error:?}")] {
            assert!(!shown.contains("s3cretcode") && !shown.contains(APP_SECRET), "{shown}");
        }
        assert_eq!(fake.asked(Endpoint::CodeToSession).len(), nth + 1, "{error}");
    }
}

#[tokio::test]
async fn what_cannot_be_a_code_is_not_sent() {
    let (fake, _, app) = start().await;
    let long = "a".repeat(513);
    for code in ["", " ", "a b", "码", "a\r\n", &long] {
        assert_eq!(
            app.code_to_session(code).await.unwrap_err().outcome(),
            Outcome::CodeInvalid
        );
        assert_eq!(
            app.phone_number(code, "o1").await.unwrap_err().outcome(),
            Outcome::PhoneCodeInvalid
        );
    }
    for endpoint in Endpoint::ALL {
        assert!(fake.asked(endpoint).is_empty(), "{endpoint}");
    }
}

#[tokio::test]
async fn a_code_cannot_add_parameters() {
    let (fake, _, app) = start().await;
    fake.on(Endpoint::CodeToSession, |_, _| Reply::Json(json!({"openid": "o1"})));
    app.code_to_session("x&appid=wxother&secret=#?%00").await.unwrap();
    let asked = &fake.asked(Endpoint::CodeToSession)[0];
    assert_eq!(asked.query["js_code"], "x&appid=wxother&secret=#?%00");
    assert_eq!(asked.query["appid"], APP_ID);
}

#[tokio::test]
async fn a_wrong_secret_rests_the_login_call() {
    let (fake, clock, app) = start().await;
    fake.on(Endpoint::CodeToSession, |_, _| error(40125));
    for _ in 0..5 {
        let error = app.clone().code_to_session("code").await.unwrap_err();
        assert_eq!((error.code(), error.outcome()), (Some(40125), Outcome::Misconfigured));
    }
    assert_eq!(fake.asked(Endpoint::CodeToSession).len(), 1);
    clock.advance(Duration::from_secs(60));
    let _ = app.code_to_session("code").await;
    assert_eq!(fake.asked(Endpoint::CodeToSession).len(), 2);
}

#[tokio::test]
async fn a_phone_code_becomes_a_number() {
    let (fake, _, app) = start().await;
    fake.on(Endpoint::PhoneNumber, |_, nth| {
        Reply::Json(phone_info(APP_ID, &if nth == 0 { json!("86") } else { json!(86) }))
    });
    for _ in 0..2 {
        let number = app.phone_number("phone-code", "o1").await.unwrap();
        assert_eq!(number.as_str(), "+8613800138000");
    }
    let asked = &fake.asked(Endpoint::PhoneNumber)[0];
    assert_eq!((asked.method.as_str(), asked.token()), ("POST", "token-1"));
    assert_eq!(asked.json(), json!({"code": "phone-code", "openid": "o1"}));
    assert_eq!(fake.asked(Endpoint::StableToken).len(), 1);
}

#[tokio::test]
async fn a_number_of_another_app_is_refused() {
    let (fake, clock, app) = start().await;
    fake.on(Endpoint::PhoneNumber, |_, _| {
        Reply::Json(phone_info("wx0000000000000000", &json!("86")))
    });
    let error = app.phone_number("phone-code", "o1").await.unwrap_err();
    assert!(
        matches!(error, WechatError::Watermark(WatermarkFault::OtherApp)),
        "{error}"
    );

    fake.on(Endpoint::PhoneNumber, |_, _| {
        Reply::Json(phone_info(APP_ID, &json!("86")))
    });
    clock.advance(Duration::from_secs(601));
    let error = app.phone_number("phone-code", "o1").await.unwrap_err();
    assert!(
        matches!(error, WechatError::Watermark(WatermarkFault::NotNow { age: 601 })),
        "{error}"
    );
    assert!(!format!("{error} {error:?}").contains("13800138000"));
}

#[tokio::test]
async fn a_phone_code_is_sent_again_only_after_a_refused_token() {
    let (fake, _, app) = start().await;
    fake.on(Endpoint::StableToken, |_, nth| token(&format!("token-{nth}"), 7200));
    fake.on(Endpoint::PhoneNumber, |asked, _| match asked.token() {
        "token-0" => error(42001),
        _ => Reply::Json(phone_info(APP_ID, &json!("86"))),
    });
    assert!(app.phone_number("phone-code", "o1").await.is_ok());
    let asked = fake.asked(Endpoint::PhoneNumber);
    assert_eq!(
        asked.iter().map(|asked| asked.token()).collect::<Vec<_>>(),
        ["token-0", "token-1"]
    );
    assert_eq!(asked[0].body, asked[1].body);

    let mut before = asked.len();
    for (code, outcome) in [
        (-1, Outcome::Busy { retry_after: None }),
        (40029, Outcome::PhoneCodeInvalid),
        (40003, Outcome::PhoneCodeInvalid),
        // A code of a mini program of one's own must not stop everybody's logins.
        (40013, Outcome::PhoneCodeInvalid),
        (45011, Outcome::Busy { retry_after: None }),
    ] {
        fake.on(Endpoint::PhoneNumber, move |_, _| error(code));
        assert_eq!(
            app.phone_number("phone-code", "o1").await.unwrap_err().outcome(),
            outcome,
            "{code}"
        );
        before += 1;
        assert_eq!(fake.asked(Endpoint::PhoneNumber).len(), before, "{code}");
    }
}

#[tokio::test]
async fn a_phone_code_stays_unspent_while_there_is_no_token() {
    let (fake, _, app) = start().await;
    fake.on(Endpoint::StableToken, |_, _| error(-1));
    assert!(matches!(
        app.phone_number("phone-code", "o1").await.unwrap_err().outcome(),
        Outcome::Busy { .. }
    ));
    assert!(fake.asked(Endpoint::PhoneNumber).is_empty());
}

#[tokio::test]
async fn a_code_image_is_what_its_bytes_say() {
    let (fake, _, app) = start().await;
    fake.on(Endpoint::UnlimitedCode, |_, nth| match nth {
        0 => jpeg(),
        _ => Reply::Now(200, "image/jpeg", Bytes::from_static(b"\x89PNG\r\n\x1a\n...")),
    });
    let image = app.unlimited_code(&code_request()).await.unwrap();
    assert_eq!(
        (image.media_type, &image.bytes[..]),
        ("image/jpeg", &b"\xFF\xD8\xFF\xE0..."[..])
    );
    assert_eq!(
        app.unlimited_code(&code_request()).await.unwrap().media_type,
        "image/png"
    );
    let asked = &fake.asked(Endpoint::UnlimitedCode)[0];
    assert_eq!(
        asked.json(),
        json!({
            "scene": "AZaz09-_", "page": "pages/login/login", "check_path": false, "env_version": "trial", "width": 430
        })
    );
}

#[tokio::test]
async fn an_error_in_place_of_an_image_renews_the_token_or_is_reported() {
    let (fake, _, app) = start().await;
    fake.on(Endpoint::StableToken, |_, nth| token(&format!("token-{nth}"), 7200));
    fake.on(Endpoint::UnlimitedCode, |asked, _| {
        if asked.token() == "token-0" {
            error(40001)
        } else {
            jpeg()
        }
    });
    assert!(app.unlimited_code(&code_request()).await.is_ok());
    fake.on(Endpoint::UnlimitedCode, |_, _| error(41030));
    let error = app.unlimited_code(&code_request()).await.unwrap_err();
    assert_eq!((error.code(), error.outcome()), (Some(41030), Outcome::Misconfigured));
    assert!(error.remedy().contains("page"), "{}", error.remedy());
}

#[tokio::test]
async fn a_code_image_is_asked_for_again_while_wechat_is_busy() {
    let (fake, _, app) = start().await;
    fake.on(Endpoint::UnlimitedCode, |_, nth| match nth {
        0 => error(-1),
        1 => Reply::Now(503, "text/html", Bytes::new()),
        _ => jpeg(),
    });
    assert!(app.unlimited_code(&code_request()).await.is_ok());
    assert_eq!(fake.asked(Endpoint::UnlimitedCode).len(), 3);
}

#[tokio::test]
async fn a_request_against_the_rules_is_not_sent() {
    let (fake, _, app) = start().await;
    let error = app
        .unlimited_code(&UnlimitedCode {
            scene: "a%b".into(),
            ..code_request()
        })
        .await
        .unwrap_err();
    assert!(matches!(error, WechatError::CodeRequest(_)), "{error}");
    assert!(fake.asked(Endpoint::UnlimitedCode).is_empty());
}

#[tokio::test]
async fn after_45009_no_code_is_asked_for_until_the_next_minute() {
    let (fake, clock, app) = start().await;
    fake.on(
        Endpoint::UnlimitedCode,
        |_, nth| if nth == 0 { error(45009) } else { jpeg() },
    );
    assert_eq!(
        app.unlimited_code(&code_request()).await.unwrap_err().code(),
        Some(45009)
    );
    // NOW is 20 s into its minute; 2 s are for clocks that differ.
    let error = app.unlimited_code(&code_request()).await.unwrap_err();
    assert_eq!(
        error.outcome(),
        Outcome::Busy {
            retry_after: Some(Duration::from_secs(42))
        }
    );
    assert_eq!(fake.asked(Endpoint::UnlimitedCode).len(), 1);
    clock.advance(Duration::from_secs(42));
    assert!(app.unlimited_code(&code_request()).await.is_ok());
}

#[tokio::test]
async fn this_node_alone_stays_below_five_thousand_codes_a_minute() {
    let (_fake, clock, app) = start().await;
    let mut taken = 0;
    for _ in 0..60 {
        while app.app.codes.take().is_ok() {
            taken += 1;
        }
        clock.advance(Duration::from_secs(1));
    }
    assert!((4_000..5_000).contains(&taken), "{taken}");
    while app.app.codes.take().is_ok() {}
    let error = app.unlimited_code(&code_request()).await.unwrap_err();
    let Outcome::Busy {
        retry_after: Some(retry_after),
    } = error.outcome()
    else {
        panic!("{error}")
    };
    assert!(
        retry_after > Duration::ZERO && retry_after < Duration::from_secs(1),
        "{retry_after:?}"
    );
}

#[tokio::test]
async fn the_calls_can_be_made_from_any_thread() {
    fn spawnable<T: Send>(_: &T) {}
    let (_fake, _, app) = start().await;
    let request = code_request();
    spawnable(&app.code_to_session("code"));
    spawnable(&app.phone_number("code", "o1"));
    spawnable(&app.unlimited_code(&request));
    spawnable(&app.access_tokens().check());
}
