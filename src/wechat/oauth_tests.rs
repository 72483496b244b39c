#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};

use super::*;
use crate::config::settings::WebScope;
use crate::wechat::clock::SystemClock;
use crate::wechat::fake::{APP_ID, APP_SECRET, FakeWechat, Reply, error};
use crate::wechat::{OfficialAccount, Outcome, Website, WebsiteLanguage};

fn website(fake: &FakeWechat) -> Website {
    let base = fake.base.parse().unwrap();
    Website::new(
        fake.transport(Arc::new(SystemClock)),
        base,
        APP_ID,
        SecretString::from(APP_SECRET),
    )
}

fn account(fake: &FakeWechat, scope: WebScope) -> OfficialAccount {
    let base = fake.base.parse().unwrap();
    let transport = fake.transport(Arc::new(SystemClock));
    OfficialAccount::new(transport, base, APP_ID, SecretString::from(APP_SECRET), scope)
}

/// The examples of WeChat's pages, shortened.
#[allow(clippy::needless_pass_by_value)] // Every caller writes it in place.
fn grant(more: Value) -> Value {
    let mut grant = json!({
        "access_token": "ACCESS_TOKEN", "expires_in": 7200, "refresh_token": "REFRESH_TOKEN", "openid": "OPENID",
        "scope": "snsapi_login",
    });
    grant.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    grant
}

fn profile() -> Value {
    json!({
        "openid": "OPENID", "nickname": "王小明🀄", "sex": 0, "province": "", "city": "", "country": "",
        "headimgurl": "https://thirdwx.qlogo.cn/mmopen/vi_32/x/132", "privilege": [], "unionid": "UNIONID",
    })
}

fn real(person: Person) -> (LoginIdentity, Profile) {
    match person {
        Person::Real { identity, profile } => (identity, profile),
        Person::Snapshot => panic!("a snapshot"),
    }
}

#[tokio::test]
async fn a_code_becomes_a_person_with_a_name() {
    let fake = FakeWechat::start().await;
    fake.on(Endpoint::OauthToken, |_, _| {
        Reply::Json(grant(json!({ "unionid": "UNIONID" })))
    });
    fake.on(Endpoint::UserInfo, |_, _| Reply::Json(profile()));
    let (identity, told) = real(website(&fake).person("CODE").await.unwrap());
    assert_eq!(
        (identity.openid.as_str(), identity.unionid.as_deref()),
        ("OPENID", Some("UNIONID"))
    );
    assert_eq!(told.name.as_deref(), Some("王小明🀄"));
    assert_eq!(
        told.picture.as_deref(),
        Some("https://thirdwx.qlogo.cn/mmopen/vi_32/x/132")
    );
    let asked = &fake.asked(Endpoint::OauthToken)[0];
    for (name, value) in [
        ("appid", APP_ID),
        ("secret", APP_SECRET),
        ("code", "CODE"),
        ("grant_type", "authorization_code"),
    ] {
        assert_eq!(asked.query[name], value);
    }
    let asked = &fake.asked(Endpoint::UserInfo)[0];
    assert_eq!((asked.token(), &*asked.query["openid"]), ("ACCESS_TOKEN", "OPENID"));
}

#[tokio::test]
async fn the_silent_scope_asks_for_nothing_more() {
    let fake = FakeWechat::start().await;
    fake.on(Endpoint::OauthToken, |_, _| {
        Reply::Json(grant(json!({ "scope": "snsapi_base" })))
    });
    let (identity, told) = real(account(&fake, WebScope::Base).person("CODE").await.unwrap());
    assert_eq!((identity.unionid, told), (None, Profile::default()));
    assert!(fake.asked(Endpoint::UserInfo).is_empty());
}

#[tokio::test]
async fn a_snapshot_is_nobody_also_when_its_mark_is_missing() {
    let fake = FakeWechat::start().await;
    fake.on(Endpoint::UserInfo, |_, _| error(48_001));
    fake.on(Endpoint::OauthToken, |_, nth| {
        Reply::Json(grant(if nth == 0 {
            json!({ "is_snapshotuser": 1 })
        } else {
            json!({})
        }))
    });
    let account = account(&fake, WebScope::UserInfo);
    assert_eq!(account.person("CODE").await.unwrap(), Person::Snapshot);
    assert_eq!(account.person("CODE").await.unwrap(), Person::Snapshot);
    // And it stops nobody else's profile.
    fake.on(Endpoint::UserInfo, |_, _| Reply::Json(profile()));
    let (_, told) = real(account.person("CODE").await.unwrap());
    assert!(told.name.is_some());
}

#[tokio::test]
async fn who_is_not_told_by_name_still_logs_in() {
    let fake = FakeWechat::start().await;
    fake.on(Endpoint::OauthToken, |_, _| Reply::Json(grant(json!({}))));
    let website = website(&fake);
    let mut someone_else = profile();
    someone_else["openid"] = json!("ANOTHER");
    let replies: [fn(Value) -> Reply; 4] = [
        |_| error(40_001),
        |_| error(48_001),
        |_| Reply::Now(200, "text/plain", "".into()),
        Reply::Json,
    ];
    for reply in replies {
        let someone_else = someone_else.clone();
        fake.on(Endpoint::UserInfo, move |_, _| reply(someone_else.clone()));
        let (identity, told) = real(website.person("CODE").await.unwrap());
        assert_eq!((&*identity.openid, told), ("OPENID", Profile::default()));
    }
}

#[tokio::test]
async fn a_code_is_never_sent_twice_and_its_failures_are_told_apart() {
    type Expected = fn(&Outcome) -> bool;
    let table: [(i64, Expected); 7] = [
        (40_029, |outcome| *outcome == Outcome::CodeInvalid),
        (40_163, |outcome| *outcome == Outcome::CodeInvalid),
        (42_003, |outcome| *outcome == Outcome::CodeInvalid),
        (-1, |outcome| matches!(outcome, Outcome::Busy { .. })),
        (40_125, |outcome| *outcome == Outcome::Misconfigured),
        (40_001, |outcome| *outcome == Outcome::Misconfigured),
        (48_001, |outcome| *outcome == Outcome::Misconfigured),
    ];
    for (code, expected) in table {
        let fake = FakeWechat::start().await;
        fake.on(Endpoint::OauthToken, move |_, _| error(code));
        let refused = website(&fake).person("C0DE-of-a-person").await.unwrap_err();
        assert!(expected(&refused.outcome()), "{code}: {:?}", refused.outcome());
        assert_eq!(fake.asked(Endpoint::OauthToken).len(), 1, "{code}");
        assert!(!refused.remedy().is_empty());
        for text in [refused.to_string(), format!("{refused:?}")] {
            assert!(!text.contains(APP_SECRET) && !text.contains("C0DE"), "{text}");
        }
    }
}

#[tokio::test]
async fn what_cannot_be_a_code_is_not_asked_about() {
    let fake = FakeWechat::start().await;
    for code in ["", "a b", "a\n", &"x".repeat(513)] {
        let refused = website(&fake).person(code).await.unwrap_err();
        assert_eq!(refused.outcome(), Outcome::CodeInvalid);
    }
    assert!(fake.asked(Endpoint::OauthToken).is_empty());
}

#[tokio::test]
async fn an_answer_without_a_usable_openid_is_none() {
    for openid in ["", "a b", &"x".repeat(65)] {
        let fake = FakeWechat::start().await;
        let answer = grant(json!({ "openid": openid }));
        fake.on(Endpoint::OauthToken, move |_, _| Reply::Json(answer.clone()));
        assert_eq!(
            website(&fake).person("CODE").await.unwrap_err().outcome(),
            Outcome::Unavailable
        );
    }
}

#[tokio::test]
async fn pages_have_their_parameters_in_wechats_order_and_the_fragment() {
    let fake = FakeWechat::start().await;
    let back = "https://login.example.com/.menshen/connections/web/callback";
    let encoded = "https%3A%2F%2Flogin.example.com%2F.menshen%2Fconnections%2Fweb%2Fcallback";
    let base = &fake.base;
    assert_eq!(
        website(&fake).page_url(back, "S7", WebsiteLanguage::English).as_str(),
        format!(
            "{base}/connect/qrconnect?appid={APP_ID}&redirect_uri={encoded}&response_type=code&scope=snsapi_login&state=S7\
             &lang=en#wechat_redirect"
        )
    );
    assert_eq!(
        website(&fake).frame_url(back, "S7").as_str(),
        format!(
            "{base}/connect/qrconnect?appid={APP_ID}&scope=snsapi_login&redirect_uri={encoded}&state=S7&login_type=jssdk\
             &self_redirect=default&style=black"
        )
    );
    assert_eq!(
        account(&fake, WebScope::UserInfo).page_url(back, "S7").as_str(),
        format!(
            "{base}/connect/oauth2/authorize?appid={APP_ID}&redirect_uri={encoded}&response_type=code\
             &scope=snsapi_userinfo&state=S7#wechat_redirect"
        )
    );
}
