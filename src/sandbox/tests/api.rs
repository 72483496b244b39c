//! WeChat's API: what a client gets wrong when a stand-in is too kind.

use serde_json::json;

use super::super::{Endpoint, PHONE_QUOTA_ERRNO, PhoneRefusal, identifiers, user_data};
use super::server::{APP, OTHER, SERVICE, Server};

#[tokio::test]
async fn a_login_code_gives_the_openid_once_and_calls_its_json_plain_text() {
    let server = Server::start().await;
    let code = server.sandbox.login_code(APP, "wangxiaoming").unwrap();
    let first = server.login(APP, &code).await;
    assert_eq!(first.content_type, "text/plain");
    let body = first.json();
    assert_eq!(body["openid"], server.sandbox.openid(APP, "wangxiaoming"));
    assert_eq!(body["session_key"].as_str().unwrap().len(), 24);
    assert!(body.get("errcode").is_none() && body.get("errmsg").is_none() && body.get("unionid").is_none());
    let second = server.login(APP, &code).await;
    assert_eq!((second.errcode(), second.content_type.as_str()), (40163, "text/plain"));
    assert_eq!(server.sandbox.calls(Endpoint::Login), 2);
}

#[tokio::test]
async fn an_app_bound_to_an_open_platform_account_learns_the_unionid() {
    let server = Server::start().await;
    let code = server.sandbox.login_code(OTHER, "lilei").unwrap();
    assert_eq!(
        server.login(OTHER, &code).await.text("unionid"),
        server.sandbox.unionid("corp", "lilei")
    );
}

#[tokio::test]
async fn a_login_code_is_refused_when_it_is_old_foreign_or_of_the_phone_button() {
    let server = Server::start().await;
    let old = server.sandbox.login_code(APP, "lilei").unwrap();
    server.advance(300);
    assert_eq!(server.login(APP, &old).await.errcode(), 40029);
    let foreign = server.sandbox.login_code(OTHER, "lilei").unwrap();
    assert_eq!(server.login(APP, &foreign).await.errcode(), 40029);
    let phone = server.sandbox.phone_code(APP, "lilei").unwrap();
    assert_eq!(server.login(APP, &phone).await.errcode(), 40029);
    assert_eq!(server.login(APP, "nonsense").await.errcode(), 40029);
}

#[tokio::test]
async fn a_failed_exchange_burns_the_code_unless_told_otherwise() {
    for (burn, expected) in [(true, 40163), (false, 0)] {
        let server = Server::with(|quirks| quirks.burn_failed_codes = burn).await;
        let code = server.sandbox.login_code(APP, "lilei").unwrap();
        assert_eq!(server.login(OTHER, &code).await.errcode(), 40029);
        assert_eq!(server.login(APP, &code).await.errcode(), expected, "{burn}");
    }
}

#[tokio::test]
async fn every_wrong_parameter_of_a_login_has_its_code() {
    let server = Server::start().await;
    let secret = server.secret(APP);
    let good = [
        ("appid", APP),
        ("secret", &*secret),
        ("js_code", "x"),
        ("grant_type", "authorization_code"),
    ];
    let cases = [
        ("appid", "", 41002),
        ("secret", "", 41004),
        ("js_code", "", 41008),
        ("grant_type", "client_credential", 40002),
        ("appid", "wx1234567890abcdef", 40013),
        ("appid", SERVICE, 40125),
        ("secret", "0123456789abcdef0123456789abcdef", 40125),
    ];
    for (name, value, expected) in cases {
        let query = good.map(|(known, before)| (known, if known == name { value } else { before }));
        assert_eq!(
            server.get("/sns/jscode2session", &query).await.errcode(),
            expected,
            "{name}={value}"
        );
    }
}

#[tokio::test]
async fn a_high_risk_person_is_blocked() {
    let server = Server::start().await;
    let code = server.sandbox.login_code(APP, "zhangsan").unwrap();
    assert_eq!(server.login(APP, &code).await.errcode(), 40226);
}

#[tokio::test]
async fn more_than_a_hundred_logins_of_one_person_in_a_minute_are_slowed_down() {
    let server = Server::start().await;
    // The window begins with a full minute, so that it does not end in between.
    server.advance(60 - server.sandbox.now() % 60);
    let mut last = 0;
    for _ in 0..101 {
        let code = server.sandbox.login_code(APP, "lilei").unwrap();
        last = server.login(APP, &code).await.errcode();
    }
    assert_eq!(last, 45011);
    let code = server.sandbox.login_code(APP, "hanmeimei").unwrap();
    assert_eq!(server.login(APP, &code).await.errcode(), 0);
}

#[tokio::test]
async fn stable_and_legacy_tokens_live_apart() {
    let server = Server::start().await;
    let stable = server.stable_token(APP, false).await.json();
    assert_eq!(stable["expires_in"], 7200);
    server.advance(100);
    let again = server.stable_token(APP, false).await.json();
    assert_eq!(again["access_token"], stable["access_token"]);
    assert!(again["expires_in"].as_u64().unwrap() <= 7100);
    let legacy = server.legacy_token(APP).await.text("access_token");
    assert_ne!(stable["access_token"], legacy.as_str());
    server.legacy_token(APP).await;
    server.advance(301);
    let order = json!({ "scene": "a" });
    let call = async |token: &str| {
        server
            .post("/wxa/getwxacodeunlimit", &[("access_token", token)], &order)
            .await
            .errcode()
    };
    assert_eq!(call(&legacy).await, 40001, "replaced more than five minutes ago");
    assert_eq!(call(stable["access_token"].as_str().unwrap()).await, 0);
    assert_eq!(server.stable_token(APP, true).await.errcode(), 0);
    assert_eq!(call(stable["access_token"].as_str().unwrap()).await, 40001);
    assert_eq!(server.stable_token(APP, true).await.errcode(), 45011);
}

#[tokio::test]
async fn a_token_is_judged_before_anything_else() {
    let server = Server::start().await;
    let path = "/wxa/getwxacodeunlimit";
    let order = json!({ "scene": "a" });
    assert_eq!(server.post(path, &[], &order).await.errcode(), 41001);
    assert_eq!(
        server.post(path, &[("access_token", "")], &order).await.errcode(),
        41001
    );
    assert_eq!(
        server
            .post(path, &[("access_token", "nonsense")], &order)
            .await
            .errcode(),
        40014
    );
    let unknown = format!("86_{}", "a".repeat(132));
    assert_eq!(
        server.post(path, &[("access_token", &unknown)], &order).await.errcode(),
        40001
    );
    let token = server.token(APP).await;
    server.advance(7200);
    assert_eq!(
        server.post(path, &[("access_token", &token)], &order).await.errcode(),
        42001
    );
    let service = server.token(SERVICE).await;
    assert_eq!(
        server.post(path, &[("access_token", &service)], &order).await.errcode(),
        48001
    );
    let phone = "/wxa/business/getuserphonenumber";
    assert_eq!(
        server
            .post(phone, &[("access_token", &service)], &json!({ "code": "x" }))
            .await
            .errcode(),
        48001
    );
}

#[tokio::test]
async fn the_token_calls_refuse_wrong_secrets_methods_and_bodies() {
    let server = Server::start().await;
    let token = async |grant: &str, app: &str, secret: &str| {
        server
            .get(
                "/cgi-bin/token",
                &[("grant_type", grant), ("appid", app), ("secret", secret)],
            )
            .await
            .errcode()
    };
    let wrong = "0123456789abcdef0123456789abcdef";
    assert_eq!(token("client_credential", APP, wrong).await, 40001);
    assert_eq!(token("client_credential", APP, "short").await, 40125);
    assert_eq!(token("client_credential", "wx1", wrong).await, 40013);
    assert_eq!(token("authorization_code", APP, wrong).await, 40002);
    let path = "/cgi-bin/stable_token";
    assert_eq!(server.get(path, &[]).await.errcode(), 43002);
    assert_eq!(server.post_raw(path, &[], "{\"appid\":").await.errcode(), 47001);
    assert_eq!(
        server
            .post_raw(path, &[], "grant_type=client_credential")
            .await
            .errcode(),
        47001
    );
    let body = json!({ "grant_type": "client_credential", "appid": APP, "secret": wrong });
    assert_eq!(server.post(path, &[], &body).await.errcode(), 40125);
}

#[tokio::test]
async fn the_picture_holds_the_exact_address_of_the_phone_page() {
    let server = Server::start().await;
    let scene = "AWc9x0sB7dK2-_v8Qe4LrT1yUoPzN3mC";
    let expected = format!(
        "{}/phone?appid={APP}&scene={scene}&page=pages%2Flogin%2Flogin&env=release",
        server.base
    );
    let jpeg = server
        .wxacode(&json!({ "scene": scene, "page": "pages/login/login" }))
        .await;
    assert_eq!(jpeg.content_type, "image/jpeg");
    assert!(jpeg.body.starts_with(&[0xff, 0xd8, 0xff]));
    // By another reader than the sandbox's own path.
    let picture = image::load_from_memory(&jpeg.body).unwrap().to_luma8();
    assert_eq!(picture.dimensions(), (430, 430));
    let mut prepared = rqrr::PreparedImage::prepare(picture);
    assert_eq!(prepared.detect_grids()[0].decode().unwrap().1, expected);
    let png = server.wxacode(&json!({ "scene": scene, "is_hyaline": true })).await;
    assert_eq!(png.content_type, "image/png");
    assert_eq!(server.sandbox.scan(&png.body), Some(expected));
}

#[tokio::test]
async fn a_mistake_in_a_code_request_comes_as_json_and_spends_nothing() {
    let server = Server::start().await;
    let reply = server.wxacode(&json!({ "scene": "a".repeat(33) })).await;
    assert_eq!(
        (reply.errcode(), reply.content_type.as_str()),
        (40169, "application/json; encoding=utf-8")
    );
    let string_false = json!({ "scene": "a", "page": "pages/new/new", "check_path": "false" });
    assert_eq!(server.wxacode(&string_false).await.errcode(), 41030);
    let token = server.token(APP).await;
    let query = [("access_token", &*token)];
    let path = "/wxa/getwxacodeunlimit";
    assert_eq!(server.get(path, &query).await.errcode(), 43002);
    assert_eq!(server.post_raw(path, &query, "scene=a").await.errcode(), 40169);
    assert_eq!(server.post_raw(path, &query, "{\"scene\":\"a\"").await.errcode(), 47001);
    assert_eq!(
        server.post_raw(path, &query, "{\"scene\":\"\\u0061\"}").await.errcode(),
        40033
    );
}

#[tokio::test]
async fn a_phone_code_gives_the_number_once_with_a_watermark() {
    let server = Server::start().await;
    let code = server.sandbox.phone_code(APP, "wangxiaoming").unwrap();
    let body = json!({ "code": code, "openid": server.sandbox.openid(APP, "wangxiaoming") });
    let info = server.phone_number(APP, &body).await.json()["phone_info"].clone();
    assert_eq!(info["phoneNumber"], "13800138000");
    assert_eq!(info["purePhoneNumber"], "13800138000");
    assert_eq!(info["countryCode"], "86");
    assert_eq!(info["watermark"]["appid"], APP);
    assert!(
        info["watermark"]["timestamp"]
            .as_u64()
            .unwrap()
            .abs_diff(server.sandbox.now())
            < 60
    );
    assert_eq!(server.phone_number(APP, &body).await.errcode(), 40029);
}

#[tokio::test]
async fn a_foreign_number_carries_its_calling_code_and_may_have_it_as_a_number() {
    let server = Server::with(|quirks| quirks.country_code_as_number = true).await;
    let code = server.sandbox.phone_code(APP, "hanmeimei").unwrap();
    let info = server.phone_number(APP, &json!({ "code": code })).await.json()["phone_info"].clone();
    assert_eq!(
        (&info["phoneNumber"], &info["purePhoneNumber"]),
        (&json!("+447700900123"), &json!("7700900123"))
    );
    assert_eq!(info["countryCode"], 44);
}

#[tokio::test]
async fn a_phone_code_is_refused_when_it_is_old_foreign_or_of_somebody_else() {
    let server = Server::start().await;
    let ask = async |code: String, openid: Option<String>| {
        server
            .phone_number(APP, &json!({ "code": code, "openid": openid }))
            .await
            .errcode()
    };
    let old = server.sandbox.phone_code(APP, "lilei").unwrap();
    server.advance(300);
    assert_eq!(ask(old, None).await, 40029);
    assert_eq!(
        ask(server.sandbox.phone_code(OTHER, "lilei").unwrap(), None).await,
        40013
    );
    assert_eq!(ask(server.sandbox.login_code(APP, "lilei").unwrap(), None).await, 40029);
    let stolen = server.sandbox.phone_code(APP, "lilei").unwrap();
    let thief = server.sandbox.openid(APP, "hanmeimei");
    assert_eq!(ask(stolen.clone(), Some(thief)).await, 40029);
    assert_eq!(
        ask(stolen, Some(server.sandbox.openid(APP, "lilei"))).await,
        40029,
        "burned"
    );
    assert_eq!(
        server.sandbox.phone_code(APP, "sunyue"),
        Err(PhoneRefusal::Errno(PHONE_QUOTA_ERRNO))
    );
    assert_eq!(
        server.sandbox.phone_code(SERVICE, "lilei"),
        Err(PhoneRefusal::Errno(102))
    );
}

#[tokio::test]
async fn what_the_client_hands_out_opens_with_the_session_key() {
    let server = Server::start().await;
    let who = json!({ "appid": APP, "persona": "lilei" });
    assert_eq!(server.post("/__sandbox/user_info", &[], &who).await.status, 404);
    let code = server.sandbox.login_code(APP, "lilei").unwrap();
    let session = server.login(APP, &code).await;
    let key = session.text("session_key");
    let told = server.post("/__sandbox/user_info", &[], &who).await.json();
    let whole = user_data::opened(&told, &key);
    assert_eq!(whole["openId"], session.text("openid"));
    assert_eq!(whole["watermark"]["appid"], APP);
    assert_eq!(whole["nickName"], told["userInfo"]["nickName"]);
    let order = json!({ "appid": APP, "persona": "lilei", "kind": "phone" });
    let event = server.post("/__sandbox/codes", &[], &order).await.json();
    let by_key = user_data::opened(&event, &key);
    let token = server.token(APP).await;
    let asked = json!({ "code": event["code"] });
    let by_code = server
        .post("/wxa/business/getuserphonenumber", &[("access_token", &*token)], &asked)
        .await;
    assert_eq!(by_key["phoneNumber"], by_code.json()["phone_info"]["phoneNumber"]);
}

#[tokio::test]
async fn a_session_key_is_checked_by_its_signature() {
    let server = Server::start().await;
    let code = server.sandbox.login_code(APP, "lilei").unwrap();
    let session = server.login(APP, &code).await;
    let (key, openid) = (session.text("session_key"), session.text("openid"));
    let token = server.token(APP).await;
    let check = async |signature: &str, method: &str| {
        let query = [
            ("access_token", &*token),
            ("openid", &*openid),
            ("signature", signature),
            ("sig_method", method),
        ];
        server.get("/wxa/checksession", &query).await.errcode()
    };
    let signature = identifiers::session_signature(&key, "");
    assert_eq!(check(&signature, "hmac_sha256").await, 0);
    assert_eq!(check(&signature, "md5").await, 87008);
    assert_eq!(check("0", "hmac_sha256").await, 87009);
    server.advance(300);
    server.sandbox.login_code(APP, "lilei").unwrap();
    assert_eq!(
        check(&signature, "hmac_sha256").await,
        87009,
        "wx.login made another key"
    );
}

#[tokio::test]
async fn quotas_can_be_read_and_cleared() {
    let server = Server::start().await;
    let token = server.token(APP).await;
    let query = [("access_token", &*token)];
    server.legacy_token(APP).await;
    let quota = async |path: &str| {
        server
            .post("/cgi-bin/openapi/quota/get", &query, &json!({ "cgi_path": path }))
            .await
    };
    let body = quota("/cgi-bin/token").await.json();
    assert_eq!(body["quota"], json!({ "daily_limit": 2000, "used": 1, "remain": 1999 }));
    assert_eq!(quota("/sns/jscode2session").await.errcode(), 76022);
    assert_eq!(quota("/nowhere").await.errcode(), 76003);
    assert_eq!(
        server
            .post("/cgi-bin/clear_quota", &query, &json!({ "appid": OTHER }))
            .await
            .errcode(),
        40013
    );
    assert_eq!(
        server
            .post("/cgi-bin/clear_quota", &query, &json!({ "appid": APP }))
            .await
            .errcode(),
        0
    );
    assert_eq!(quota("/cgi-bin/token").await.json()["quota"]["used"], 0);
}
