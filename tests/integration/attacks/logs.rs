//! The log of a whole login, at its finest: no secret, code, cookie, number or query is in it (Pingora prints whole
//! header blocks when it may; oauth2-proxy CVE-2021-21291 and others printed codes).

use std::process::Stdio;

use menshen::sandbox::{Sandbox, SandboxConfig};
use secrecy::ExposeSecret;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, BufReader};
use tokio::net::TcpListener;
use tokio::process::Command;

use super::recorder::Recorder;
use super::stage::{ALICE, HOST, NAVIGATION, PORTAL, ticket_of};
use super::wire::{Answer, exchange};

fn configuration(listen: u16, wechat: &str, upstream: &str, app_id: &str, secret: &str, data: &str) -> String {
    format!(
        r#"
[server]
listen = ["127.0.0.1:{listen}"]
admin_listen = "off"
public_url = "http://{PORTAL}"
data_dir = "{data}"
secret = "{WRAPPING}"
grace_period = "1s"
[log]
format = "json"
level = "trace"
[wechat]
api_base = "http://{wechat}"
open_base = "http://{wechat}"
mp_base = "http://{wechat}"
[[connections]]
id = "staff"
kind = "miniprogram-qr"
display_name = "Staff"
app_id = "{app_id}"
app_secret = "{secret}"
phone = "required"
[[sites]]
hosts = ["{HOST}"]
upstreams = ["http://{upstream}"]
"#
    )
}

const WRAPPING: &str = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I";

#[tokio::test]
async fn a_login_leaves_no_secret_in_the_log() {
    let directory = tempfile::tempdir().unwrap();
    let sandbox = Sandbox::new(SandboxConfig::default());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let wechat = listener.local_addr().unwrap();
    tokio::spawn(menshen::sandbox::serve(
        listener,
        sandbox.clone(),
        std::future::pending(),
    ));
    let upstream = Recorder::start().await;
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = free.local_addr().unwrap();
    drop(free);
    let app = sandbox.apps().remove(0);
    let secret = app.secret.expose_secret().to_owned();
    let file = directory.path().join("menshen.toml");
    let data = directory.path().join("data").display().to_string();
    let text = configuration(
        address.port(),
        &wechat.to_string(),
        &upstream.address.to_string(),
        app.app_id.as_str(),
        &secret,
        &data,
    );
    std::fs::write(&file, text).unwrap();
    let mut gateway = Command::new(env!("CARGO_BIN_EXE_menshen"))
        .args(["--config", file.to_str().unwrap(), "serve"])
        .env_remove("RUST_LOG")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(gateway.stderr.take().unwrap()).lines();
    let mut log = String::new();
    while let Some(line) = lines.next_line().await.unwrap() {
        log.push_str(&line);
        log.push('\n');
        if line.contains("\"listening\"") {
            break;
        }
    }
    assert!(log.contains("listening"), "the gateway does not start: {log}");

    let mut secrets = vec![secret, WRAPPING.to_owned()];
    let post = async |host: &str, target: &str, lines: &str, body: &Value| -> Answer {
        let body = body.to_string();
        let length = body.len();
        let head = format!(
            "POST {target} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n"
        );
        exchange(address, format!("{head}{lines}\r\n{body}")).await
    };
    let get = async |target: &str, lines: &str| {
        exchange(address, format!("GET {target} HTTP/1.1\r\nHost: {HOST}\r\n{lines}\r\n")).await
    };
    // Queries, credentials and forged things of a visitor.
    let query = "/page?token=query-secret-1&code=query-secret-2";
    secrets.extend(
        [
            "query-secret-1",
            "query-secret-2",
            "basic-secret",
            "mst_bearer-secret",
            "forged-cookie-secret",
        ]
        .map(str::to_owned),
    );
    get(
        query,
        "Authorization: Basic basic-secret\r\nCookie: menshen=forged-cookie-secret\r\n",
    )
    .await;
    get("/page?token=query-secret-1#x", "").await;
    get(query, "Authorization: Bearer mst_bearer-secret\r\n").await;
    let ticket = ticket_of(get(query, NAVIGATION).await);
    for line in ticket.page.headers.all("set-cookie") {
        secrets.push(line.split(';').next().unwrap().split_once('=').unwrap().1.to_owned());
    }
    let cookies = format!("Cookie: {}\r\n", ticket.cookies);
    let login_code = sandbox.login_code(app.app_id.as_str(), ALICE).unwrap();
    let phone_code = sandbox.phone_code(app.app_id.as_str(), ALICE).unwrap();
    secrets.extend([login_code.clone(), phone_code.clone()]);
    let watch = format!("/.menshen/tickets/{}", ticket.id);
    let (slow, scan) = (
        format!("{watch}?wait=2"),
        json!({ "scene": ticket.id, "code": login_code }),
    );
    let (scanned, _) = tokio::join!(post(PORTAL, "/.menshen/phone/scan", "", &scan), get(&slow, &cookies));
    assert_eq!(scanned.status, 200, "{}", scanned.text());
    let handle = scanned.json()["handle"].clone();
    secrets.push(handle.as_str().unwrap().to_owned());
    // A code a second time is refused by WeChat: the error must not quote it.
    post(PORTAL, "/.menshen/phone/scan", "", &scan).await;
    let number = get(&watch, &cookies).await.json()["number"].clone();
    post(PORTAL, "/.menshen/phone/status", "", &json!({ "handle": handle })).await;
    let confirm = json!({ "handle": handle, "choice": number, "phone_code": phone_code });
    let confirmed = post(PORTAL, "/.menshen/phone/confirm", "", &confirm).await;
    assert_eq!(confirmed.status, 200, "{}", confirmed.text());
    let redeem = format!("{cookies}Sec-Fetch-Site: same-origin\r\n");
    let redeemed = post(HOST, &format!("{watch}/redeem"), &redeem, &json!({})).await;
    let session = redeemed.cookie("menshen").expect("a session");
    secrets.push(session.split_once('=').unwrap().1.to_owned());
    let lines_of_session = format!("Cookie: {session}\r\nSec-Fetch-Site: same-origin\r\n");
    assert_eq!(get(query, &lines_of_session).await.status, 200);
    let seen = upstream.only();
    secrets.push(seen.headers.one("x-menshen-assertion").unwrap().to_owned());
    secrets.extend(["13800138000".to_owned(), sandbox.openid(app.app_id.as_str(), ALICE)]);
    // An upstream that fails makes Pingora speak too.
    upstream.on("/fails", super::recorder::Play::Close);
    assert_eq!(get("/fails?token=query-secret-1", &lines_of_session).await.status, 502);
    post(HOST, "/.menshen/logout", &lines_of_session, &json!({})).await;

    terminate(&gateway);
    let mut rest = String::new();
    lines.into_inner().read_to_string(&mut rest).await.unwrap();
    log.push_str(&rest);
    assert!(gateway.wait().await.unwrap().success());
    for word in ["access", "/page", "/fails", "login", "logout"] {
        assert!(log.contains(word), "the log says nothing of {word}: {log}");
    }
    for secret in secrets {
        if let Some(line) = log.lines().find(|line| line.contains(&secret)) {
            panic!("{secret:?} is in the log: {line}");
        }
    }
    // Every line is one JSON object: nothing that a client sent has broken out of it.
    for line in log.lines() {
        let parsed: Result<Value, _> = serde_json::from_str(line);
        assert!(parsed.is_ok(), "{line}");
    }
}

fn terminate(child: &tokio::process::Child) {
    let pid = child.id().expect("a running gateway").to_string();
    let killed = std::process::Command::new("kill").args(["-TERM", &pid]).status();
    assert!(killed.unwrap().success());
}
