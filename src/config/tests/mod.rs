//! Loading as an operator meets it: whole files, exact places, exact words.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod certificates;
mod loading;
mod mistakes;
mod samples;

use std::path::Path;

use super::surroundings::fake::Fake;
use super::{Loaded, Mistake, parse};

/// The smallest file that can be used; each part can be replaced.
const SERVER: &str = "[server]\npublic_url = \"http://127.0.0.1:8080\"\nsecret = { env = \"SECRET\" }\n";
const CONNECTION: &str = "[[connections]]
id = \"staff\"
kind = \"miniprogram-qr\"
app_id = \"wx0123456789abcdef\"
app_secret = { env = \"APP_SECRET\" }
";
const SITE: &str = "[[sites]]\nhosts = [\"wiki.example.com\"]\nupstreams = [\"http://10.0.0.5:8080\"]\n";

fn surroundings() -> Fake {
    Fake::default()
        .with_variable("SECRET", "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I")
        .with_variable("APP_SECRET", "0123456789abcdef0123456789abcdef")
}

fn load(source: &str) -> Result<Loaded, Vec<Mistake>> {
    parse(Path::new("/etc/menshen/menshen.toml"), source, &surroundings())
}

/// Loads the small file with `text` in place of one of its parts, which `text` begins like.
fn load_with_part(text: &str) -> Result<Loaded, Vec<Mistake>> {
    load(&with_part(text))
}

fn with_part(text: &str) -> String {
    let part = |start: &str, part: &str| {
        if text.contains(start) {
            String::new()
        } else {
            format!("\n{part}")
        }
    };
    format!(
        "{text}{}{}{}",
        part("[server]", SERVER),
        part("[[connections]]", CONNECTION),
        part("[[sites]]", SITE)
    )
}

/// Everything that was said, in the order of the file.
fn said(result: &Result<Loaded, Vec<Mistake>>) -> String {
    let (Ok(Loaded { warnings: mistakes, .. }) | Err(mistakes)) = result;
    let lines = mistakes.iter().map(
        |Mistake {
             line,
             column,
             severity,
             message,
             remedy,
             ..
         }| { format!("{line}:{column} {severity}: {message}\n    → {remedy}\n") },
    );
    lines.collect()
}
