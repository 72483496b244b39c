//! What is measured: named closures, so that time, allocations and instructions are those of the same calls.

mod parts;
mod tickets;
mod whole;

pub use parts::session;
pub use tickets::Tickets;

use crate::support::World;
use crate::support::world::PUBLIC_HOST;

/// One call, again and again.
pub struct Subject {
    pub group: &'static str,
    pub name: &'static str,
    pub call: Box<dyn FnMut()>,
}

impl Subject {
    fn new(group: &'static str, name: &'static str, call: impl FnMut() + 'static) -> Self {
        Self {
            group,
            name,
            call: Box::new(call),
        }
    }
}

/// A gateway whose codes are links, and which gives out as many pages as are asked for.
pub async fn world() -> World {
    World::plan()
        .set("connections.0.qr", "link")
        .set("connections.0.link_prefix", format!("http://{PUBLIC_HOST}/m/"))
        .set("limits.login_pages", "100000000/min")
        .start()
        .await
}

/// All of them; the gate as a whole comes last.
pub fn all(world: &World) -> Vec<Subject> {
    let mut subjects = parts::all();
    subjects.extend(whole::all(world));
    subjects
}

/// What Chrome sends with a click.
pub const BROWSER: [(&str, &str); 15] = [
    ("host", "s42.example.com"),
    ("connection", "keep-alive"),
    ("cache-control", "max-age=0"),
    ("sec-ch-ua", "\"Chromium\";v=\"149\", \"Not)A;Brand\";v=\"24\""),
    ("sec-ch-ua-mobile", "?0"),
    ("sec-ch-ua-platform", "\"Windows\""),
    ("upgrade-insecure-requests", "1"),
    (
        "user-agent",
        "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/149.0.0.0 Safari/537.36",
    ),
    (
        "accept",
        "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
    ),
    ("sec-fetch-site", "same-origin"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
    ("accept-encoding", "gzip, deflate, br, zstd"),
    ("accept-language", "zh-CN,zh;q=0.9,en;q=0.8"),
    ("cookie", "PHPSESSID=0123456789abcdef; theme=dark"),
];
