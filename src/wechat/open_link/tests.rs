#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::wechat::Outcome;
use crate::wechat::clock::ManualClock;
use crate::wechat::fake::{FakeWechat, Reply, token};

fn request(kind: LinkKind) -> LinkRequest {
    LinkRequest {
        kind,
        page: "pages/login/login".into(),
        env_version: "release",
        days: 30,
    }
}

/// Noon in Beijing.
const NOON: u64 = 1_790_049_600;

#[tokio::test]
async fn each_kind_is_asked_for_as_wechat_wants_it() {
    let wechat = FakeWechat::start().await;
    let app = wechat.mini_program(ManualClock::at(NOON));
    wechat.on(Endpoint::UrlLink, |_, _| {
        Reply::Json(json!({ "errcode": 0, "errmsg": "ok", "url_link": "https://wxaurl.cn/aBcDeFgH" }))
    });
    wechat.on(Endpoint::Scheme, |_, _| {
        Reply::Json(json!({ "errcode": 0, "errmsg": "ok", "openlink": "weixin://dl/business/?t=aBcDeFgH" }))
    });
    let url = app.open_link(&request(LinkKind::Url)).await.unwrap();
    let scheme = app.open_link(&request(LinkKind::Scheme)).await.unwrap();
    let parameters = [("scene", "aB-_"), ("half", "x")];
    assert_eq!(
        url.with(&parameters).unwrap(),
        "https://wxaurl.cn/aBcDeFgH?cq=scene%3DaB-_%26half%3Dx"
    );
    assert_eq!(
        scheme.with(&parameters).unwrap(),
        "weixin://dl/business/?t=aBcDeFgH&cq=scene%3DaB-_%26half%3Dx"
    );
    let asked = &wechat.asked(Endpoint::UrlLink)[0];
    assert_eq!((asked.method.as_str(), asked.token()), ("POST", "token-1"));
    assert_eq!(
        asked.json(),
        json!({ "path": "pages/login/login", "env_version": "release", "expire_type": 1, "expire_interval": 30 })
    );
    assert_eq!(
        wechat.asked(Endpoint::Scheme)[0].json(),
        json!({
            "jump_wxa": { "path": "pages/login/login", "env_version": "release" },
            "is_expire": true, "expire_type": 1, "expire_interval": 30,
        })
    );
}

#[tokio::test]
async fn a_refused_token_is_replaced_once() {
    let wechat = FakeWechat::start().await;
    let app = wechat.mini_program(ManualClock::at(NOON));
    wechat.on(Endpoint::StableToken, |_, before| {
        token(&format!("token-{}", before + 1), 7200)
    });
    wechat.on(Endpoint::UrlLink, |asked, _| {
        if asked.token() == "token-1" {
            Reply::Json(json!({ "errcode": 40001, "errmsg": "not latest" }))
        } else {
            Reply::Json(json!({ "errcode": 0, "url_link": "https://wxaurl.cn/x" }))
        }
    });
    app.open_link(&request(LinkKind::Url)).await.unwrap();
    assert_eq!(wechat.asked(Endpoint::UrlLink).len(), 2);
}

#[tokio::test]
async fn codes_mean_here_what_they_mean_here() {
    for kind in [LinkKind::Url, LinkKind::Scheme] {
        for (code, name, rests) in [
            (40002, "links_not_permitted", 60_u64),
            (40013, "links_banned", 60),
            (40165, "invalid_path", 0),
            (44990, "too_many_a_second", 0),
            (44993, "links_of_the_day", 600),
            (85079, "not_released", 60),
            (85406, "visits_used_up", 600),
            (85407, "links_not_permitted", 60),
        ] {
            let wechat = FakeWechat::start().await;
            let clock = ManualClock::at(NOON);
            let app = wechat.mini_program(clock.clone());
            wechat.on(kind.endpoint(), move |_, _| {
                Reply::Json(json!({ "errcode": code, "errmsg": "no" }))
            });
            let Err(WechatError::Refused(refusal)) = app.open_link(&request(kind)).await else {
                panic!("{code} is no refusal");
            };
            assert_eq!(refusal.name(), name, "{code}");
            assert!(matches!(
                WechatError::Refused(refusal).outcome(),
                Outcome::Misconfigured | Outcome::Busy { .. }
            ));
            let asked = wechat.asked(kind.endpoint()).len();
            clock.advance(Duration::from_secs(rests.saturating_sub(1)));
            let again = app.open_link(&request(kind)).await;
            let paused = matches!(again, Err(WechatError::Paused { .. }));
            assert_eq!(paused, rests > 0, "{code}: {again:?}");
            assert_eq!(wechat.asked(kind.endpoint()).len() > asked, rests == 0);
            // The other calls of the app go on.
            assert!(app.access_tokens().breaker().admit(Endpoint::CodeToSession).is_ok());
        }
    }
}

#[tokio::test]
async fn what_is_no_link_reaches_no_page() {
    for (kind, text) in [
        (LinkKind::Url, "javascript:alert(1)"),
        (LinkKind::Url, "ftp://wxaurl.cn/x"),
        (LinkKind::Url, "https://wxaurl.cn/x y"),
        (LinkKind::Url, "https://wxaurl.cn/x#y"),
        (LinkKind::Url, "https://wxaurl.cn/x?cq=y"),
        (LinkKind::Url, "weixin://dl/business/?t=x"),
        (LinkKind::Url, ""),
        (LinkKind::Scheme, "https://wxaurl.cn/x"),
        (LinkKind::Scheme, "weixin://dl/business/?t=x&cq=y"),
    ] {
        let wechat = FakeWechat::start().await;
        let app = wechat.mini_program(ManualClock::at(NOON));
        wechat.on(kind.endpoint(), move |_, _| {
            Reply::Json(json!({ "errcode": 0, "url_link": text }))
        });
        let refused = app.open_link(&request(kind)).await;
        assert!(
            matches!(refused, Err(WechatError::BadAnswer { .. })),
            "{text}: {refused:?}"
        );
    }
}

#[test]
fn a_link_is_plain_http_only_where_the_api_is() {
    let parse = |text: &str, secure| OpenLink::parse(text.to_owned(), LinkKind::Url, secure).is_some();
    assert!(parse("http://127.0.0.1:9090/link/x", false));
    assert!(!parse("http://127.0.0.1:9090/link/x", true));
    assert!(parse("https://wxaurl.cn/x", true));
}

#[test]
fn more_than_wechat_takes_is_not_appended() {
    let link = OpenLink::parse("https://wxaurl.cn/x".into(), LinkKind::Url, true).unwrap();
    let fits = "x".repeat(LONGEST_CQ - "scene%3D".len());
    assert!(link.with(&[("scene", &fits)]).is_some());
    assert_eq!(link.with(&[("scene", &format!("{fits}x"))]), None);
}

proptest! {
    #[test]
    fn whatever_wechat_answers_is_a_link_or_none(text in "\\PC{0,60}") {
        for kind in [LinkKind::Url, LinkKind::Scheme] {
            if let Some(link) = OpenLink::parse(text.clone(), kind, true) {
                let whole = link.with(&[("scene", "s")]).unwrap();
                let url = url::Url::parse(&whole).unwrap();
                prop_assert!(matches!(url.scheme(), "https" | "weixin"));
                let (_, cq) = url.query_pairs().find(|(name, _)| name == "cq").unwrap();
                prop_assert_eq!(&*cq, "scene=s");
            }
        }
    }
}
