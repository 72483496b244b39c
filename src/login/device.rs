//! Browser and system of a user agent, in words that a person recognises.
//!
//! A label on a screen and in the list of sign-ins, never a decision: it is text that the client chose. User agents
//! have been frozen to family and system since the User-Agent reduction, so a short ordered table says all there is to
//! say; a database of ten thousand devices would say no more.

use serde::{Deserialize, Serialize};

/// What a person would call the thing in front of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// `Chrome`, `Safari`, `WeChat` …; empty when unknown.
    pub browser: String,
    /// `Windows`, `macOS`, `Android` …; empty when unknown.
    pub os: String,
    /// `desktop`, `phone`, `tablet`; `terminal` and `application` are no browsers.
    pub kind: DeviceKind,
    /// Both in one line; never empty.
    pub text: String,
}

/// Size of the thing, or what it is instead of a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceKind {
    /// A computer.
    Desktop,
    /// A phone.
    Phone,
    /// A tablet.
    Tablet,
    /// A program that shows its code in a terminal, or wherever else it can.
    Terminal,
    /// An application on the very phone that confirms.
    Application,
}

impl Device {
    /// Reads a `User-Agent`.
    pub fn of(user_agent: &str) -> Self {
        let has = |part: &str| user_agent.contains(part);
        let first =
            |table: &[(&str, &'static str)]| table.iter().find(|(mark, _)| has(mark)).map_or("", |(_, name)| *name);
        let (browser, os) = (first(BROWSERS), first(SYSTEMS));
        let kind = if has("iPad") || (has("Android") && !has("Mobile")) || has("Tablet") {
            DeviceKind::Tablet
        } else if has("iPhone") || has("Mobile") {
            DeviceKind::Phone
        } else {
            DeviceKind::Desktop
        };
        let text = match (browser, os) {
            ("", "") => "?".to_owned(),
            (name, "") | ("", name) => name.to_owned(),
            (browser, os) => format!("{browser} · {os}"),
        };
        Self {
            browser: browser.to_owned(),
            os: os.to_owned(),
            kind,
            text,
        }
    }

    /// A program instead of a browser. The words are for lists of sign-ins; a phone has its own.
    pub fn program(kind: DeviceKind, user_agent: &str) -> Self {
        let os = Self::of(user_agent).os;
        let name = match kind {
            DeviceKind::Application => "Application",
            _ => "Terminal",
        };
        Self {
            browser: String::new(),
            text: if os.is_empty() {
                name.to_owned()
            } else {
                format!("{name} · {os}")
            },
            os,
            kind,
        }
    }

    /// Whether a user agent is WeChat's own browser, on a phone or on a desktop.
    pub fn is_wechat(user_agent: &str) -> bool {
        user_agent.contains("MicroMessenger")
    }
}

/// The first mark that occurs wins: whoever builds on another's engine also carries its mark.
const BROWSERS: &[(&str, &str)] = &[
    ("MicroMessenger", "WeChat"),
    ("DingTalk", "DingTalk"),
    ("Lark/", "Lark"),
    ("QQBrowser", "QQ Browser"),
    ("UCBrowser", "UC Browser"),
    ("HuaweiBrowser", "Huawei Browser"),
    ("MiuiBrowser", "Mi Browser"),
    ("SamsungBrowser", "Samsung Internet"),
    ("VivoBrowser", "Vivo Browser"),
    ("HeyTapBrowser", "OPPO Browser"),
    ("Edg/", "Edge"),
    ("EdgA/", "Edge"),
    ("EdgiOS/", "Edge"),
    ("OPR/", "Opera"),
    ("Vivaldi/", "Vivaldi"),
    ("Firefox/", "Firefox"),
    ("FxiOS/", "Firefox"),
    ("CriOS/", "Chrome"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("Trident/", "Internet Explorer"),
    ("curl/", "curl"),
];

/// HarmonyOS before Android, iOS before macOS, for the same reason.
const SYSTEMS: &[(&str, &str)] = &[
    ("HarmonyOS", "HarmonyOS"),
    ("OpenHarmony", "HarmonyOS"),
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("CrOS", "ChromeOS"),
    ("Windows", "Windows"),
    ("Macintosh", "macOS"),
    ("Linux", "Linux"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn common_user_agents_are_named() {
        let cases = [
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
                "Chrome · Windows",
                DeviceKind::Desktop,
            ),
            (
                "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0",
                "Edge · Windows",
                DeviceKind::Desktop,
            ),
            (
                "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15",
                "Safari · macOS",
                DeviceKind::Desktop,
            ),
            (
                "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0",
                "Firefox · Linux",
                DeviceKind::Desktop,
            ),
            (
                "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.50",
                "WeChat · iOS",
                DeviceKind::Phone,
            ),
            (
                "Mozilla/5.0 (Linux; Android 15; Pixel 9) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36",
                "Chrome · Android",
                DeviceKind::Phone,
            ),
            (
                "Mozilla/5.0 (Linux; Android 15; SM-X910) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36",
                "Chrome · Android",
                DeviceKind::Tablet,
            ),
            ("", "?", DeviceKind::Desktop),
            ("<script>alert(1)</script>", "?", DeviceKind::Desktop),
        ];
        for (agent, text, kind) in cases {
            let device = Device::of(agent);
            assert_eq!((device.text.as_str(), device.kind), (text, kind), "{agent}");
        }
    }
}
