//! Which language a browser is answered in.

use fluent_langneg::LanguageIdentifier;

use crate::config::settings::Locale;

/// The operator's choice if there is one, else the best of `Accept-Language` (RFC 9110 §12.5.4), else English.
///
/// Weights count, `q=0` excludes, ties keep their order. Chinese is told apart by script first and region second:
/// `Hant`, Taiwan, Hong Kong and Macao read traditional characters, everybody else simplified ones.
pub fn negotiate(accept_language: Option<&str>, configured: Option<Locale>) -> Locale {
    configured
        .or_else(|| accept_language.and_then(preferred))
        .unwrap_or(Locale::En)
}

fn preferred(accept_language: &str) -> Option<Locale> {
    let mut best = None;
    for (locale, weight) in accept_language.split(',').take(MAX_RANGES).filter_map(range) {
        if best.is_none_or(|(_, heaviest)| weight > heaviest) {
            best = Some((locale, weight));
        }
    }
    best.map(|(locale, _)| locale)
}

/// One range with its weight in thousandths; `None` for what is excluded, unknown or malformed.
fn range(text: &str) -> Option<(Locale, u16)> {
    let mut parts = text.split(';').map(str::trim);
    let locale = locale(parts.next()?)?;
    let weight = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let weight = weight.map_or(Some(1000), thousandths)?;
    (weight > 0).then_some((locale, weight))
}

fn locale(tag: &str) -> Option<Locale> {
    let tag: LanguageIdentifier = tag.parse().ok()?;
    match tag.language.as_str() {
        "zh" => Some(match (tag.script, tag.region) {
            (Some(script), _) if script.as_str() == "Hant" => Locale::ZhTw,
            (None, Some(region)) if matches!(region.as_str(), "TW" | "HK" | "MO") => Locale::ZhTw,
            _ => Locale::ZhCn,
        }),
        "yue" => Some(Locale::ZhTw),
        "en" => Some(Locale::En),
        "ja" => Some(Locale::Ja),
        _ => None,
    }
}

/// `qvalue = ( "0" [ "." 0*3DIGIT ] ) / ( "1" [ "." 0*3("0") ] )`
fn thousandths(text: &str) -> Option<u16> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if fraction.len() > 3 || !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let fraction: u16 = format!("{fraction:0<3}").parse().ok()?;
    match whole {
        "0" => Some(fraction),
        "1" if fraction == 0 => Some(1000),
        _ => None,
    }
}

/// More ranges than any browser sends.
const MAX_RANGES: usize = 32;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_language_decides() {
        let cases = [
            ("zh-CN,zh;q=0.9,en;q=0.8", Locale::ZhCn),
            ("zh", Locale::ZhCn),
            ("zh-SG", Locale::ZhCn),
            ("zh-Hans-HK", Locale::ZhCn),
            ("zh-TW", Locale::ZhTw),
            ("zh-HK,en;q=0.5", Locale::ZhTw),
            ("zh-MO", Locale::ZhTw),
            ("zh-Hant", Locale::ZhTw),
            ("zh-Hant-CN", Locale::ZhTw),
            ("yue-HK", Locale::ZhTw),
            ("en-GB,en;q=0.9,zh;q=0.8", Locale::En),
            ("en;q=0.1, zh", Locale::ZhCn),
            ("en;q=0.5,ja;q=0.500", Locale::En),
            ("ja-JP", Locale::Ja),
            ("fr-FR,fr;q=0.9,ja;q=0.2", Locale::Ja),
            ("zh;q=0,en;q=0.1", Locale::En),
            ("zh;q=2,ja;q=0.1", Locale::Ja),
            ("zh;q=0.1234,ja;q=0.1", Locale::Ja),
            ("ZH-hant-tw", Locale::ZhTw),
            ("fr", Locale::En),
            ("*", Locale::En),
            ("", Locale::En),
            (";;;,,,-,\u{0}", Locale::En),
        ];
        for (header, expected) in cases {
            assert_eq!(negotiate(Some(header), None), expected, "{header:?}");
        }
        assert_eq!(negotiate(None, None), Locale::En);
    }

    #[test]
    fn the_configured_language_wins() {
        assert_eq!(negotiate(Some("en"), Some(Locale::Ja)), Locale::Ja);
        assert_eq!(negotiate(None, Some(Locale::ZhTw)), Locale::ZhTw);
    }
}
