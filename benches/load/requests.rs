//! What browsers and proxies ask.

use crate::support::World;
use crate::support::wire::Request;

/// A click in Chrome, with the application's own cookies and those given.
pub fn navigation(world: &World, path: &str, cookie: &str) -> Request {
    let request = browser(world, path, cookie)
        .header(
            "accept",
            "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
        )
        .header("upgrade-insecure-requests", "1")
        .header("sec-fetch-mode", "navigate")
        .header("sec-fetch-dest", "document");
    if cookie.is_empty() {
        request.header("sec-fetch-site", "none")
    } else {
        request.header("sec-fetch-site", "same-origin")
    }
}

/// A script of a page that asks for data.
pub fn script(world: &World, path: &str, cookie: &str) -> Request {
    browser(world, path, cookie)
        .header("accept", "application/json")
        .header("sec-fetch-mode", "cors")
        .header("sec-fetch-dest", "empty")
        .header("sec-fetch-site", "same-origin")
}

/// nginx asks about a click.
pub fn question(world: &World, path: &str, cookie: &str) -> Request {
    let mut request = navigation(world, path, cookie)
        .header(
            "X-Original-URL",
            &format!("{}{path}", world.origin(crate::support::world::SITE)),
        )
        .header("X-Original-Method", "GET")
        .header("X-Forwarded-For", "198.51.100.4");
    "/.menshen/verify?from=nginx".clone_into(&mut request.target);
    request
}

fn browser(world: &World, path: &str, cookie: &str) -> Request {
    let mut request = Request::new("GET", path).header("Host", &world.authority(crate::support::world::SITE));
    for (name, value) in CHROME {
        request = request.header(name, value);
    }
    let separator = if cookie.is_empty() { "" } else { "; " };
    request.header("cookie", &format!("{APPLICATION}{separator}{cookie}"))
}

const CHROME: [(&str, &str); 6] = [
    ("sec-ch-ua", "\"Chromium\";v=\"149\", \"Not)A;Brand\";v=\"24\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Windows\""),
    (
        "user-agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Safari/537.36",
    ),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "zh-CN,zh;q=0.9,en;q=0.8"),
];
const APPLICATION: &str = "PHPSESSID=0123456789abcdef; theme=dark";
