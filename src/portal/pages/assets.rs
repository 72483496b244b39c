//! The files that pages refer to, embedded, under names that change with their content.
//!
//! They are served as they are written, less indentation and comment lines: a fifth of their size for a few lines of
//! code, where a bundler would be a second build.

use std::sync::LazyLock;

use aws_lc_rs::digest::{SHA256, digest};

use crate::config::settings::Locale;

use super::words::with_words;

/// Path below which the names of [`asset`] live.
pub const ASSET_PREFIX: &str = "/.menshen/assets/";

/// An embedded file. Its name changes with its content: `Cache-Control: public, max-age=31536000, immutable`.
#[derive(Debug, Clone, Copy)]
pub struct Asset {
    /// The file.
    pub bytes: &'static [u8],
    /// `Content-Type`.
    pub media_type: &'static str,
    /// `ETag`, with its quotes.
    pub etag: &'static str,
}

/// The file with this name, as the pages refer to it below [`ASSET_PREFIX`].
pub fn asset(name: &str) -> Option<Asset> {
    let file = FILES
        .iter()
        .chain(&*LOGIN_SCRIPTS)
        .find(|file| file.url.strip_prefix(ASSET_PREFIX) == Some(name))?;
    Some(Asset {
        bytes: file.text.as_bytes(),
        media_type: file.media_type,
        etag: &file.etag,
    })
}

pub(super) fn stylesheet_url() -> &'static str {
    &FILES[0].url
}

/// Of the login page, which says everything in one language.
pub(super) fn script_url(locale: Locale) -> &'static str {
    let place = Locale::ALL.iter().position(|other| *other == locale);
    &LOGIN_SCRIPTS[place.unwrap_or_default()].url
}

pub(super) fn icon_url() -> &'static str {
    &FILES[1].url
}

pub(super) fn account_stylesheet_url() -> &'static str {
    &FILES[2].url
}

pub(super) fn confirm_script_url() -> &'static str {
    &FILES[3].url
}

pub(super) fn confirm_stylesheet_url() -> &'static str {
    &FILES[4].url
}

pub(super) fn popup_script_url() -> &'static str {
    &FILES[5].url
}

struct File {
    text: String,
    media_type: &'static str,
    etag: String,
    url: String,
}

impl File {
    fn new(stem: &str, extension: &str, media_type: &'static str, source: &str) -> Self {
        let text = shorten(source);
        let sum = digest(&SHA256, text.as_bytes());
        let hash: String = sum
            .as_ref()
            .iter()
            .take(HASH_BYTES)
            .map(|byte| format!("{byte:02x}"))
            .collect();
        let url = format!("{ASSET_PREFIX}{stem}.{hash}.{extension}");
        Self {
            text,
            media_type,
            etag: format!("\"{hash}\""),
            url,
        }
    }
}

/// Drops indentation, empty lines, and lines that are one comment. The sources keep to what this needs: no text that
/// spans lines, no comment that shares a line with code and goes on in the next.
fn shorten(source: &str) -> String {
    let comment = |line: &&str| line.starts_with("//") || (line.starts_with("/*") && line.ends_with("*/"));
    let lines = source
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty() && !comment(line));
    let mut text = String::with_capacity(source.len());
    for line in lines {
        text.push_str(line);
        text.push('\n');
    }
    text
}

static FILES: LazyLock<[File; 6]> = LazyLock::new(|| {
    [
        File::new(
            "portal",
            "css",
            "text/css; charset=utf-8",
            include_str!("assets/portal.css"),
        ),
        File::new("mark", "svg", "image/svg+xml", include_str!("assets/mark.svg")),
        File::new(
            "account",
            "css",
            "text/css; charset=utf-8",
            include_str!("assets/account.css"),
        ),
        File::new(
            "confirm",
            "js",
            "text/javascript; charset=utf-8",
            include_str!("assets/confirm.js"),
        ),
        File::new(
            "confirm",
            "css",
            "text/css; charset=utf-8",
            include_str!("assets/confirm.css"),
        ),
        File::new(
            "popup",
            "js",
            "text/javascript; charset=utf-8",
            include_str!("assets/popup.js"),
        ),
    ]
});

/// In the order of the languages.
static LOGIN_SCRIPTS: LazyLock<[File; Locale::ALL.len()]> = LazyLock::new(|| {
    Locale::ALL.map(|locale| {
        File::new(
            &format!("login.{}", locale.tag()),
            "js",
            "text/javascript; charset=utf-8",
            &with_words(include_str!("assets/login.js"), locale),
        )
    })
});

/// 64 bits tell versions of one file apart.
const HASH_BYTES: usize = 8;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn an_asset_is_found_by_the_name_that_pages_use() {
        for (url, media_type) in [
            (stylesheet_url(), "text/css"),
            (script_url(Locale::ZhCn), "text/javascript"),
            (script_url(Locale::Ja), "text/javascript"),
            (icon_url(), "image/svg+xml"),
            (account_stylesheet_url(), "text/css"),
            (confirm_script_url(), "text/javascript"),
            (confirm_stylesheet_url(), "text/css"),
            (popup_script_url(), "text/javascript"),
        ] {
            let asset = asset(url.strip_prefix(ASSET_PREFIX).unwrap()).unwrap();
            assert!(asset.media_type.starts_with(media_type));
            assert!(!asset.bytes.is_empty());
            assert!(url.contains(asset.etag.trim_matches('"')));
        }
    }

    #[test]
    fn other_names_are_not_found() {
        for name in [
            "",
            "portal.css",
            "login.0000000000000000.js",
            "../mod.rs",
            "/.menshen/assets/",
            stylesheet_url(),
        ] {
            assert!(asset(name).is_none(), "{name}");
        }
    }

    #[test]
    fn shortening_keeps_the_code() {
        let source = "/* a comment */\n\n  a {\n    color: red; /* why */\n  }\n// note\nlet x = \"//\";\n";
        assert_eq!(shorten(source), "a {\ncolor: red; /* why */\n}\nlet x = \"//\";\n");
    }

    #[test]
    fn no_text_of_a_script_spans_lines() {
        let scripts = [include_str!("assets/login.js"), include_str!("assets/confirm.js")];
        for line in scripts.iter().flat_map(|script| script.lines()) {
            assert_eq!(line.matches('`').count() % 2, 0, "{line}");
        }
    }
}
