#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::{Value, json};
use tempfile::TempDir;

use super::*;
use crate::store::NewUser;
use crate::store::Store;

struct Place(TempDir);

impl Place {
    fn new(routes: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = format!(
            r#"
[server]
listen = ["127.0.0.1:8080"]
public_url = "https://login.example.com"
trusted_proxies = ["127.0.0.1/32"]
data_dir = {:?}
secret = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I"
[[connections]]
id = "staff"
kind = "miniprogram-qr"
app_id = "wx0123456789abcdef"
app_secret = "0123456789abcdef0123456789abcdef"
[[sites]]
name = "Wiki"
hosts = ["wiki.example.com", "*.wiki.example.com"]
upstreams = ["http://10.0.0.5:8080"]
{routes}
"#,
            directory.path().display().to_string(),
        );
        std::fs::write(directory.path().join("menshen.toml"), file).unwrap();
        Self(directory)
    }

    fn ask(&self, question: &Question) -> (u8, String) {
        let mut out = Vec::new();
        let code = run(&self.0.path().join("menshen.toml"), question, &mut out);
        (code, String::from_utf8(out).unwrap())
    }

    fn explain(&self, method: &str, url: &str) -> Value {
        let (code, text) = self.ask(&question(method, url));
        assert_eq!(code, DONE, "{url}");
        serde_json::from_str(&text).unwrap()
    }

    fn employ(&self, new: &NewUser, disabled: bool) {
        let url = format!("sqlite:{}", self.0.path().join("menshen.db").display());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let store = Store::open(&url.into()).await.unwrap();
            let id = new.id.clone();
            store.insert_user(new).await.unwrap();
            if disabled {
                store.set_disabled(&id, true, "test", 1).await.unwrap();
            }
            store.close().await;
        });
    }
}

fn question(method: &str, url: &str) -> Question {
    Question {
        method: method.parse().unwrap(),
        url: url.to_owned(),
        user: None,
        client: None,
        script: false,
        json: true,
    }
}

fn alice() -> NewUser {
    NewUser {
        id: "u_abcdefghijklmnopqrstuvwxyz".to_owned(),
        username: Some("alice".to_owned()),
        name: Some("王小明".to_owned()),
        groups: vec!["staff".to_owned(), "ops".to_owned()],
        ..NewUser::default()
    }
}

const ROUTES: &str = r#"
[[sites.routes]]
path = "/public/"
access = "public"
[[sites.routes]]
path = "= /secret"
access = "deny"
[[sites.routes]]
path = "/admin/"
methods = ["POST"]
require = ["group:ops", "user:bob"]
require_all = ["network:10.0.0.0/8"]
"#;

#[test]
fn each_request_has_a_decision_and_a_reason() {
    let place = Place::new(ROUTES);
    for (method, url, decision, status, reason) in [
        (
            "GET",
            "https://wiki.example.com/",
            "login_page",
            json!(401),
            "nobody is signed in, and no route matches",
        ),
        (
            "GET",
            "https://a.wiki.example.com/x",
            "login_page",
            json!(401),
            "nobody is signed in",
        ),
        (
            "GET",
            "https://wiki.example.com/public/a",
            "forward_anonymous",
            Value::Null,
            "the route is public",
        ),
        (
            "GET",
            "https://wiki.example.com/secret",
            "forbidden",
            json!(403),
            "the route lets nobody pass",
        ),
        (
            "GET",
            "https://wiki.example.com/public/..;/x",
            "refused",
            json!(400),
            "a dot segment",
        ),
        (
            "GET",
            "https://wiki.example.com/a%2Fb",
            "ambiguous",
            json!(400),
            "an encoded slash",
        ),
        (
            "GET",
            "https://wiki.example.com/.Menshen/x",
            "ambiguous",
            json!(400),
            "below /.menshen/",
        ),
        (
            "GET",
            "https://wiki.example.com/.menshen/login",
            "portal",
            Value::Null,
            "itself",
        ),
        (
            "GET",
            "https://login.example.com/",
            "start",
            json!(303),
            "leads to the login page",
        ),
        (
            "GET",
            "https://login.example.com/x",
            "not_found",
            json!(404),
            "only the portal",
        ),
        (
            "GET",
            "https://elsewhere.example.com/",
            "unknown_host",
            json!(404),
            "no site has this host",
        ),
        (
            "GET",
            "http://wiki.example.com/x",
            "https_redirect",
            json!(302),
            "public_url is https",
        ),
        (
            "DELETE",
            "http://wiki.example.com/x",
            "unauthorized",
            json!(401),
            "over plain HTTP",
        ),
    ] {
        let said = place.explain(method, url);
        assert_eq!(
            (&said["decision"], &said["status"]),
            (&json!(decision), &status),
            "{url}"
        );
        let told = said["reason"].as_str().unwrap();
        assert!(told.contains(reason), "{url}: {told}");
    }
}

#[test]
fn a_script_is_answered_otherwise_than_a_page() {
    let place = Place::new(ROUTES);
    let asked = Question {
        script: true,
        ..question("GET", "https://wiki.example.com/api")
    };
    let said: Value = serde_json::from_str(&place.ask(&asked).1).unwrap();
    assert_eq!(
        (&said["decision"], &said["status"]),
        (&json!("unauthorized"), &json!(401))
    );
}

#[test]
fn the_path_is_the_one_that_is_matched_and_its_readings_are_told() {
    let place = Place::new(ROUTES);
    let said = place.explain("GET", "https://WIKI.example.com:443//public/%61;v=1?q");
    assert_eq!(said["path"], "/public/a;v=1");
    assert_eq!(said["readings"], json!(["/public/a;v=1", "/public/a"]));
    assert_eq!(said["site"]["host"], "wiki.example.com");
    assert_eq!(said["route"]["path"], "/public/");
    let said = place.explain("GET", "https://a.wiki.example.com/");
    assert_eq!(said["site"]["host"], "*.wiki.example.com");
}

#[test]
fn conditions_are_told_one_by_one_for_the_person_and_the_address() {
    let place = Place::new(ROUTES);
    place.employ(&alice(), false);
    let ask = |client: &str, user: &str| {
        let asked = Question {
            user: Some(user.to_owned()),
            client: client.parse().ok(),
            ..question("POST", "https://wiki.example.com/admin/x")
        };
        let (code, text) = place.ask(&asked);
        assert_eq!(code, DONE);
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let inside = ask("10.1.2.3", "Alice");
    assert_eq!(inside["decision"], "forward");
    let condition = |list: &str, condition: &str, met: bool| json!({ "route": "/admin/", "list": list, "condition": condition, "met": met });
    assert_eq!(
        inside["conditions"],
        json!([
            condition("require", "group:ops", true),
            condition("require", "user:bob", false),
            condition("require_all", "network:10.0.0.0/8", true),
        ])
    );
    for client in ["192.0.2.1", "unknown"] {
        let outside = ask(client, "u_abcdefghijklmnopqrstuvwxyz");
        assert_eq!(outside["decision"], "forbidden", "{client}");
        assert_eq!(outside["conditions"][2]["met"], false);
        assert!(outside.get("headers").is_none());
    }
}

#[test]
fn headers_have_the_values_that_the_application_would_get() {
    let place = Place::new(ROUTES);
    place.employ(&alice(), false);
    let value = |said: &Value, name: &str| {
        let headers = said["headers"].as_array().unwrap();
        headers.iter().find(|header| header["name"] == name).unwrap()["value"].clone()
    };
    let asked = Question {
        user: Some("alice".to_owned()),
        ..question("GET", "https://wiki.example.com:8443/")
    };
    let said: Value = serde_json::from_str(&place.ask(&asked).1).unwrap();
    for (name, expected) in [
        ("Remote-User", json!("alice")),
        ("Remote-Name", json!("%E7%8E%8B%E5%B0%8F%E6%98%8E")),
        ("Remote-Groups", json!("staff,ops")),
        ("Remote-Email", Value::Null),
        ("X-Menshen-Assertion", Value::Null),
        ("X-Forwarded-Host", json!("wiki.example.com:8443")),
        ("X-Forwarded-Port", json!("8443")),
        ("X-Request-Id", Value::Null),
    ] {
        assert_eq!(value(&said, name), expected, "{name}");
    }
    let anonymous = place.explain("GET", "https://wiki.example.com/public/");
    assert_eq!(value(&anonymous, "Remote-User"), Value::Null);
    assert_eq!(anonymous["upstreams"], json!(["http://10.0.0.5:8080"]));
}

#[test]
fn a_disabled_person_is_nobody() {
    let place = Place::new(ROUTES);
    place.employ(&alice(), true);
    let asked = Question {
        user: Some("alice".to_owned()),
        ..question("GET", "https://wiki.example.com/")
    };
    let said: Value = serde_json::from_str(&place.ask(&asked).1).unwrap();
    assert_eq!(said["decision"], "login_page");
    assert!(said["reason"].as_str().unwrap().contains("disabled"));
}

#[test]
fn what_is_no_address_and_who_is_nobody_end_with_their_codes() {
    let place = Place::new(ROUTES);
    for url in [
        "",
        "/page",
        "wiki.example.com/page",
        "ftp://wiki.example.com/",
        "https://u@wiki.example.com/",
    ] {
        assert_eq!(place.ask(&question("GET", url)), (WRONG_USAGE, String::new()), "{url}");
    }
    let asked = Question {
        user: Some("nobody".to_owned()),
        ..question("GET", "https://wiki.example.com/")
    };
    assert_eq!(place.ask(&asked).0, FAILED);
    let broken = Place::new("[[sites.routes]]\npath = 7\n");
    assert_eq!(broken.ask(&question("GET", "https://wiki.example.com/")).0, WRONG_USAGE);
}

#[test]
fn the_text_says_the_same_for_people() {
    let place = Place::new(ROUTES);
    let asked = Question {
        json: false,
        ..question("POST", "https://wiki.example.com/admin/x?y")
    };
    let (code, text) = place.ask(&asked);
    assert_eq!(code, DONE);
    insta::assert_snapshot!(text);
}
