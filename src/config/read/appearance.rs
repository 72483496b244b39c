//! `[branding]`, `[log]`, `[audit]` and `[wechat]`.

use std::path::{Path, PathBuf};

use secrecy::SecretString;
use toml::de::DeValue;
use tracing_subscriber::EnvFilter;
use url::Url;

use super::super::mistake::Fault;
use super::super::reading::Reading;
use super::super::secret::read_secret;
use super::super::section::Section;
use super::super::settings::{Audit, Branding, Locale, Log, LogFormat, Wechat};
use super::super::values::{parse_http_url, parse_origin};
use super::policy::{DAY, SECOND};
use super::server::stand_in_url;

pub(super) fn read_branding(reading: &mut Reading<'_>, section: &Section<'_>) -> Branding {
    let locales = [
        ("auto", None),
        ("zh-CN", Some(Locale::ZhCn)),
        ("zh-TW", Some(Locale::ZhTw)),
        ("en", Some(Locale::En)),
        ("ja", Some(Locale::Ja)),
    ];
    let css = section.path(reading, "css");
    if let Some(path) = &css {
        check_css(reading, "branding.css", path);
    }
    Branding {
        title: section.text(reading, "title").unwrap_or_default(),
        logo: read_picture(reading, section, "logo", LARGEST_LOGO, true),
        background: read_picture(reading, section, "background", LARGEST_BACKGROUND, false),
        css,
        locale: section.choice(reading, "locale", &locales).flatten(),
    }
}

pub(super) fn read_log(reading: &mut Reading<'_>, section: &Section<'_>) -> Log {
    let level = section.parse(reading, "level", |text| match EnvFilter::try_new(text) {
        Ok(_) if !text.trim().is_empty() => Ok(text.to_owned()),
        _ => Err(Fault::new(
            format!("`{text}` is not a log filter"),
            "write error, warn, info, debug or trace, or a filter like \"info,menshen::store=debug\"",
        )),
    });
    Log {
        format: section
            .choice(
                reading,
                "format",
                &[("json", LogFormat::Json), ("text", LogFormat::Text)],
            )
            .unwrap_or(LogFormat::Json),
        level: level.unwrap_or_default(),
    }
}

pub(super) fn read_audit(reading: &mut Reading<'_>, section: &Section<'_>) -> Audit {
    Audit {
        keep: section.duration(reading, "keep", DAY..=DAY * 3_650),
    }
}

pub(super) fn read_wechat(reading: &mut Reading<'_>, section: &Section<'_>) -> Wechat {
    let mut base = |name| section.parse(reading, name, parse_origin).unwrap_or_else(stand_in_url);
    Wechat {
        api_base: base("api_base"),
        open_base: base("open_base"),
        mp_base: base("mp_base"),
        proxy: read_proxy(reading, section),
        timeout: section.duration(reading, "timeout", SECOND..=SECOND * 30),
    }
}

/// A logo or background: readable, of a type that browsers show, not too large.
pub(super) fn read_picture(
    reading: &mut Reading<'_>,
    section: &Section<'_>,
    name: &'static str,
    limit: u64,
    svg: bool,
) -> Option<PathBuf> {
    let path = section.path(reading, name)?;
    let key = section.key(name);
    let bytes = reading.read_file(&key, &path, limit)?;
    match picture_type(&bytes) {
        Some("svg") if !svg => {
            reading.error(
                &key,
                format!("`{}` is an SVG", path.display()),
                "use a PNG, JPEG or WebP file here",
            );
        }
        Some(_) => {}
        None => {
            let types = if svg {
                "PNG, JPEG, WebP or SVG"
            } else {
                "PNG, JPEG or WebP"
            };
            reading.error(
                &key,
                format!("`{}` is not a picture", path.display()),
                format!("use a {types} file"),
            );
        }
    }
    Some(path)
}

/// The type of a picture by its first bytes; the name is what somebody called it.
fn picture_type(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        return Some("png");
    }
    if bytes.starts_with(b"\xff\xd8\xff") {
        return Some("jpeg");
    }
    if bytes.starts_with(b"RIFF") && bytes.get(8..12) == Some(b"WEBP") {
        return Some("webp");
    }
    let text = std::str::from_utf8(bytes)
        .ok()?
        .trim_start_matches('\u{feff}')
        .trim_start();
    let begins_as_markup = text.starts_with("<svg") || text.starts_with("<?xml") || text.starts_with("<!");
    (begins_as_markup && text.contains("<svg")).then_some("svg")
}

fn check_css(reading: &mut Reading<'_>, key: &str, path: &Path) {
    let Some(bytes) = reading.read_file(key, path, LARGEST_CSS) else {
        return;
    };
    let Ok(text) = std::str::from_utf8(&bytes) else {
        reading.error(key, format!("`{}` is not UTF-8", path.display()), "save it as UTF-8");
        return;
    };
    if text.contains("@import") || text.contains("://") {
        reading.warn(
            key,
            format!(
                "`{}` fetches from elsewhere, which the login page's content policy refuses",
                path.display()
            ),
            "use colours, fonts of the system, and data: pictures",
        );
    }
}

/// The egress proxy. Messages repeat nothing of it, for it may hold a password.
fn read_proxy(reading: &mut Reading<'_>, section: &Section<'_>) -> Option<SecretString> {
    let text = section.read(reading, "proxy", |reading, node| match node.value {
        DeValue::String(text) if parse_http_url(text).is_ok() => Some(text.clone().into_owned()),
        _ => read_secret(reading, node),
    })?;
    let good = Url::parse(&text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
    if !good {
        reading.error(
            "wechat.proxy",
            "`wechat.proxy` is not the address of an HTTP proxy",
            "write \"http://proxy.example.com:3128\", with a name and password \"http://name:password@host:3128\"",
        );
        return None;
    }
    Some(SecretString::from(text))
}

/// It is part of every login page and of every code that Menshen draws.
pub(super) const LARGEST_LOGO: u64 = 256 << 10;
const LARGEST_BACKGROUND: u64 = 2 << 20;
const LARGEST_CSS: u64 = 256 << 10;

#[cfg(test)]
mod tests {
    use super::picture_type;

    #[test]
    fn pictures_are_known_by_their_first_bytes() {
        for (bytes, kind) in [
            (&b"\x89PNG\r\n\x1a\n...."[..], Some("png")),
            (b"\xff\xd8\xff\xe0", Some("jpeg")),
            (b"RIFF\0\0\0\0WEBPVP8 ", Some("webp")),
            (b"<svg xmlns='http://www.w3.org/2000/svg'/>", Some("svg")),
            (b"<?xml version='1.0'?>\n<svg/>", Some("svg")),
            (b"<!doctype html><p>no", None),
            (b"GIF89a", None),
            (b"", None),
        ] {
            assert_eq!(picture_type(bytes), kind);
        }
    }
}
