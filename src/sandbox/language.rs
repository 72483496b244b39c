//! The language of a page: Chinese or English.

use axum::http::{HeaderMap, header};

/// A language that the sandbox's pages speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Language {
    /// Simplified Chinese.
    Chinese,
    /// English.
    English,
}

impl Language {
    /// What `chosen` (a `lang` parameter) names, else what the browser prefers, else Chinese.
    pub(super) fn of(chosen: Option<&str>, headers: &HeaderMap) -> Self {
        let preferred = headers
            .get(header::ACCEPT_LANGUAGE)
            .and_then(|value| value.to_str().ok());
        chosen
            .and_then(Self::named)
            .or_else(|| preferred.and_then(Self::preferred))
            .unwrap_or(Self::Chinese)
    }

    /// The tag for `<html lang>`.
    pub(super) fn tag(self) -> &'static str {
        match self {
            Self::Chinese => "zh-CN",
            Self::English => "en",
        }
    }

    /// Takes the text of this language.
    pub(super) fn pick<T>(self, chinese: T, english: T) -> T {
        match self {
            Self::Chinese => chinese,
            Self::English => english,
        }
    }

    fn named(tag: &str) -> Option<Self> {
        match tag
            .trim()
            .split('-')
            .next()
            .unwrap_or_default()
            .to_ascii_lowercase()
            .as_str()
        {
            "zh" => Some(Self::Chinese),
            "en" => Some(Self::English),
            _ => None,
        }
    }

    fn preferred(accept_language: &str) -> Option<Self> {
        let mut best: Option<(f32, Self)> = None;
        for entry in accept_language.split(',').take(16) {
            let (tag, parameters) = entry.split_once(';').unwrap_or((entry, ""));
            let Some(language) = Self::named(tag) else { continue };
            let weight = parameters
                .trim()
                .strip_prefix("q=")
                .map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
            if weight > 0.0 && best.is_none_or(|(before, _)| weight > before) {
                best = Some((weight, language));
            }
        }
        best.map(|(_, language)| language)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn the_choice_wins_over_the_browser_and_the_weight_over_the_order() {
        let cases = [
            (Some("en"), "zh-CN", Language::English),
            (Some("fr"), "en-GB", Language::English),
            (None, "en-US,en;q=0.9,zh-CN;q=0.8", Language::English),
            (None, "en;q=0.3, zh;q=0.8", Language::Chinese),
            (None, "fr, en;q=0.1", Language::English),
            (None, "en;q=0", Language::Chinese),
            (None, "", Language::Chinese),
        ];
        for (chosen, accepted, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT_LANGUAGE, accepted.parse().unwrap());
            assert_eq!(Language::of(chosen, &headers), expected, "{chosen:?} {accepted}");
        }
    }
}
