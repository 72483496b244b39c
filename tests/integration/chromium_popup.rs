//! The login in a window of its own, in a real browser with pages of two origins: one is told its end, one is not.

use axum::Router;
use axum::http::header;
use axum::response::Html;
use axum::routing::get;
use fantoccini::{Client, Locator};
use tokio::net::TcpListener;

use crate::chromium::{PATIENCE, browser_with, start, text_of, wait_for};
use crate::support::World;
use crate::support::world::SITE;

/// The script of the example, as it is handed out.
const SCRIPT: &str = include_str!("../../examples/popup/menshen-popup.js");

/// An application of another origin. It signs in by the example; `foreign` asks in the name of another origin and
/// listens to everything that it is told.
const PAGE: &str = r#"<!doctype html><meta charset="utf-8"><title>app</title>
<button id="own">sign in</button> <button id="foreign">steal</button> <output id="said">nothing</output>
<script type="module">
import { signIn } from "/menshen-popup.js";
const said = document.getElementById("said");
const { gateway, victim } = Object.fromEntries(new URLSearchParams(location.search));
const heard = [];
addEventListener("message", ({ data }) => heard.push(data));
document.getElementById("own").onclick = async () => {
  const signedIn = await signIn(gateway);
  said.textContent = `${signedIn} ${JSON.stringify(heard)}`;
};
document.getElementById("foreign").onclick = () => {
  const popup = open(`${gateway}/.menshen/login?popup=${encodeURIComponent(victim)}`);
  const watch = setInterval(() => {
    if (!popup.closed) return;
    clearInterval(watch);
    setTimeout(() => (said.textContent = `closed ${JSON.stringify(heard)}`), 500);
  }, 50);
};
</script>"#;

/// Pages at whatever host; the port.
async fn pages() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let script = || async { ([(header::CONTENT_TYPE, "text/javascript")], SCRIPT) };
    let router = Router::new()
        .route("/menshen-popup.js", get(script))
        .fallback(|| async { Html(PAGE) });
    tokio::spawn(async move { axum::serve(listener, router).await });
    port
}

async fn said(client: &Client, beginning: &str) -> String {
    let path = format!("//*[@id='said'][starts-with(., '{beginning}')]");
    let found = client.wait().at_most(PATIENCE).for_element(Locator::XPath(&path)).await;
    if let Err(error) = found {
        panic!("{error}: {}", text_of(client, "#said").await);
    }
    text_of(client, "#said").await
}

#[tokio::test(flavor = "multi_thread")]
async fn the_page_that_opened_the_window_is_told_and_no_other() {
    let port = pages().await;
    let (spa, evil) = (format!("http://spa.test:{port}"), format!("http://evil.test:{port}"));
    let world = World::plan()
        .set("sites.0.routes.0.cors_origins", vec![spa.clone()])
        .start()
        .await;
    let gateway = world.origin(SITE);
    let driver = start("chromedriver", &["--port=0"], "started successfully on port").await;
    // Browsers heed Cross-Origin-Opener-Policy where an origin is secure only.
    let secure = format!("--unsafely-treat-insecure-origin-as-secure={gateway},{spa},{evil}");
    let client = browser_with(&driver, &["--host-resolver-rules=MAP *.test 127.0.0.1", &secure]).await;

    client.goto(&format!("{spa}/?gateway={gateway}")).await.unwrap();
    let page = client.window().await.unwrap();
    wait_for(&client, "#own").await.click().await.unwrap();
    let window = async {
        loop {
            let windows = client.windows().await.unwrap();
            if let Some(window) = windows.into_iter().find(|window| *window != page) {
                return window;
            }
            tokio::task::yield_now().await;
        }
    };
    let window = tokio::time::timeout(PATIENCE, window).await.expect("a window");
    client.switch_to_window(window).await.unwrap();
    let config = wait_for(&client, "#menshen")
        .await
        .prop("textContent")
        .await
        .unwrap()
        .unwrap();
    let config: serde_json::Value = serde_json::from_str(&config).unwrap();
    let mut phone = world.phone("lilei");
    phone.scan(config["ticket"]["id"].as_str().unwrap()).await.expect(200);
    wait_for(&client, "[data-state=scanned]").await;
    let number = text_of(&client, "#number").await.trim().parse().unwrap();
    phone.confirm(number).await.expect(200);
    // It closes by itself.
    client.switch_to_window(page).await.unwrap();
    assert_eq!(
        said(&client, "true").await,
        r#"true [{"type":"menshen:login","status":"done"}]"#
    );
    world.until(async || client.windows().await.unwrap().len() == 1).await;

    // Somebody is signed in now, so a window ends at once. Whoever opens one in the name of another hears nothing,
    // and has no hold on it.
    client
        .goto(&format!("{evil}/?gateway={gateway}&victim={spa}"))
        .await
        .unwrap();
    wait_for(&client, "#foreign").await.click().await.unwrap();
    assert_eq!(said(&client, "closed").await, "closed []");
    client.close().await.unwrap();
}
