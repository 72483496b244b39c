//! Service accounts: codes with a scene, followers, and messages in every mode.

use serde_json::{Value, json};

use super::super::{AccountAct, AccountRefusal, App, AppId, PushMode, PushReply, PushSettings};
use super::server::{APP, SERVICE, Server};

const PATH: &str = "/.menshen/connections/follow/push";

async fn server(mode: PushMode) -> Server {
    Server::of(|config| {
        let mut service = App::service_account(AppId::new("wxsandboxother").unwrap());
        service.push = Some(PushSettings::new(PATH, mode));
        service.open_platform = Some("corp".to_owned());
        config.apps.push(service);
    })
    .await
}

const ACCOUNT: &str = "wxsandboxother";

async fn token(server: &Server, app: &str) -> String {
    let token: Value = serde_json::from_slice(&server.legacy_token(app).await.body).unwrap();
    token["access_token"].as_str().unwrap().to_owned()
}

async fn create(server: &Server, app: &str, body: &Value) -> Value {
    let token = token(server, app).await;
    let reply = server
        .post("/cgi-bin/qrcode/create", &[("access_token", &token)], body)
        .await;
    assert_eq!(reply.status, 200);
    serde_json::from_slice(&reply.body).unwrap()
}

fn order(scene: &str) -> Value {
    json!({ "expire_seconds": 90, "action_name": "QR_STR_SCENE", "action_info": { "scene": { "scene_str": scene } } })
}

#[tokio::test]
async fn a_code_is_made_without_an_errcode_and_lives_a_minute_unless_told_otherwise() {
    let server = server(PushMode::Safe).await;
    let made = create(&server, ACCOUNT, &order("a")).await;
    assert_eq!((made["expire_seconds"].as_u64(), made.get("errcode")), (Some(90), None));
    let url = made["url"].as_str().unwrap();
    assert!(url.starts_with(&format!("{}/q/", server.base)), "{url}");
    let ticket = made["ticket"].as_str().unwrap();
    assert!(
        ticket.contains('+') && ticket.contains('/') && ticket.ends_with('='),
        "{ticket}"
    );

    let mut short = order("b");
    short.as_object_mut().unwrap().remove("expire_seconds");
    assert_eq!(create(&server, ACCOUNT, &short).await["expire_seconds"], 60);
    let scan = |scene| server.sandbox.account_act(ACCOUNT, "lilei", AccountAct::Scan(scene));
    server.advance(59);
    assert!(scan("b").is_ok());
    server.advance(1);
    assert_eq!(scan("b").unwrap_err(), AccountRefusal::CodeExpired);
    assert!(scan("a").is_ok());

    // The picture: with the ticket escaped, and 404 for one that is none.
    let picture = server.get("/cgi-bin/showqrcode", &[("ticket", ticket)]).await;
    assert_eq!((picture.status, picture.content_type.as_str()), (200, "image/jpg"));
    assert_eq!(server.sandbox.scan(&picture.body).as_deref(), Some(url));
    let raw = server
        .http
        .get(format!("{}/cgi-bin/showqrcode?ticket={ticket}", server.base))
        .send()
        .await;
    assert_eq!(raw.unwrap().status(), 404, "an unescaped + is a space");
    server.advance(30);
    assert_eq!(
        server.get("/cgi-bin/showqrcode", &[("ticket", ticket)]).await.status,
        404
    );
}

#[tokio::test]
async fn each_mistake_of_a_code_has_its_error() {
    let server = server(PushMode::Safe).await;
    let with = |change: Value| {
        let mut order = order("a");
        for (name, value) in change.as_object().unwrap() {
            order[name] = value.clone();
        }
        order
    };
    let scene = |scene: Value| with(json!({ "action_info": { "scene": scene } }));
    let cases = [
        (with(json!({ "action_name": "QR_LOGIN" })), 40052),
        (with(json!({ "action_name": null })), 40052),
        (with(json!({ "action_info": null })), 40053),
        (scene(json!({ "scene_str": "" })), 40053),
        (scene(json!({ "scene_str": "x".repeat(65) })), 40053),
        (scene(json!({ "scene_id": 7 })), 40053),
        (
            with(json!({ "action_name": "QR_SCENE", "action_info": { "scene": { "scene_id": 0 } } })),
            40053,
        ),
        (
            with(json!({ "action_name": "QR_LIMIT_SCENE", "action_info": { "scene": { "scene_id": 100_001 } } })),
            40053,
        ),
        (with(json!({ "expire_seconds": 2_592_001 })), 40035),
        (with(json!({ "expire_seconds": "60" })), 40035),
    ];
    for (body, code) in cases {
        assert_eq!(create(&server, ACCOUNT, &body).await["errcode"], code, "{body}");
    }
    assert_eq!(
        create(&server, APP, &order("a")).await["errcode"],
        48001,
        "a mini program"
    );
    assert!(create(&server, ACCOUNT, &scene(json!({ "scene_str": "x".repeat(64) }))).await["url"].is_string());
}

#[tokio::test]
async fn only_a_follower_has_a_unionid() {
    let server = server(PushMode::Safe).await;
    create(&server, ACCOUNT, &order("a")).await;
    let token = token(&server, ACCOUNT).await;
    let openid = server.sandbox.openid(ACCOUNT, "lilei");
    let info = async |openid: &str| {
        let query = [("access_token", token.as_str()), ("openid", openid), ("lang", "zh_CN")];
        let reply = server.get("/cgi-bin/user/info", &query).await;
        serde_json::from_slice::<Value>(&reply.body).unwrap()
    };
    assert_eq!(info(&openid).await, json!({ "subscribe": 0, "openid": openid }));
    server
        .sandbox
        .account_act(ACCOUNT, "lilei", AccountAct::Scan("a"))
        .unwrap();
    let told = info(&openid).await;
    assert_eq!(
        (&told["subscribe"], &told["unionid"]),
        (&json!(1), &json!(server.sandbox.unionid("corp", "lilei")))
    );
    assert!(told.get("nickname").is_none(), "gone since 2021");
    assert_eq!(info(&server.sandbox.openid(SERVICE, "lilei")).await["errcode"], 40003);
    server
        .sandbox
        .account_act(ACCOUNT, "lilei", AccountAct::Unfollow)
        .unwrap();
    assert_eq!(info(&openid).await["subscribe"], 0);
    assert_eq!(
        server
            .sandbox
            .account_act(ACCOUNT, "lilei", AccountAct::Say("hello"))
            .unwrap_err(),
        AccountRefusal::NotFollowing
    );
}

#[tokio::test]
async fn every_mode_has_its_query_its_body_and_its_answer() {
    for mode in [PushMode::Plain, PushMode::Compatible, PushMode::Safe] {
        let server = server(mode).await;
        create(&server, ACCOUNT, &order("a")).await;
        let push = server
            .sandbox
            .account_act(ACCOUNT, "lilei", AccountAct::Scan("a"))
            .unwrap();
        let (one, two) = (push.attempt(server.sandbox.now()), push.attempt(server.sandbox.now()));
        assert_ne!(one.query, two.query, "each attempt has a number of its own");
        let encrypted = mode != PushMode::Plain;
        assert_eq!(one.query.contains("&encrypt_type=aes&msg_signature="), encrypted);
        assert_eq!(one.body.contains("<Encrypt>"), encrypted);
        assert_eq!(one.body.contains("<FromUserName>"), mode != PushMode::Safe);
        assert_eq!(push.read(b"success"), PushReply::Nothing);
        assert_eq!(push.read(b""), PushReply::Nothing);
        for wrong in ["{}", "<xml>", "<xml><Content>hello</Content></xml>", "Success!"] {
            assert!(matches!(push.read(wrong.as_bytes()), PushReply::Outage(_)), "{wrong}");
        }
    }
}

#[test]
fn keys_are_those_that_a_strict_decoder_refuses() {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    for _ in 0..64 {
        let settings = PushSettings::new(PATH, PushMode::Safe);
        let key = settings.encoding_aes_key;
        assert_eq!(key.len(), 43);
        assert!(STANDARD.decode(format!("{key}=")).is_err(), "{key}");
        assert!((3..=32).contains(&settings.token.len()));
    }
}

#[tokio::test]
async fn the_phone_scans_follows_and_reads_the_chat() {
    let server = server(PushMode::Safe).await;
    let made = create(&server, ACCOUNT, &order("a")).await;
    // Without a gateway there is an outage, as WeChat shows one.
    let wish = json!({ "appid": ACCOUNT, "persona": "lilei", "what": "scan", "text": "a" });
    let told = server.post("/chat/api/act", &[], &wish).await;
    assert_eq!(told.status, 200);
    let query = [("appid", ACCOUNT), ("persona", "lilei")];
    let chat: Value = serde_json::from_slice(&server.get("/chat/api/lines", &query).await.body).unwrap();
    assert_eq!(chat["follows"], true);
    assert_eq!(chat["lines"][0]["by"], "wechat", "{chat}");
    let wish = json!({ "appid": ACCOUNT, "persona": "lilei", "what": "scan", "text": "b" });
    assert_eq!(server.post("/chat/api/act", &[], &wish).await.status, 410);
    // What the code holds opens the phone.
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .unwrap();
    let opened = http.get(made["url"].as_str().unwrap()).send().await.unwrap();
    assert_eq!(opened.headers()["location"], format!("/chat?appid={ACCOUNT}&scene=a"));
    let page = server.get("/chat", &[("appid", ACCOUNT), ("scene", "a")]).await;
    assert_eq!(page.status, 200);
    assert_eq!(server.get("/chat/assets/chat.js", &[]).await.status, 200);
}
