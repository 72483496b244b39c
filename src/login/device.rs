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
        Self::named(browser.to_owned(), os.to_owned(), kind)
    }

    /// With both names in one line.
    pub fn named(browser: String, os: String, kind: DeviceKind) -> Self {
        let name = match kind {
            DeviceKind::Application => "Application",
            DeviceKind::Terminal => "Terminal",
            DeviceKind::Desktop | DeviceKind::Phone | DeviceKind::Tablet => &*browser,
        };
        let text = match (name, &*os) {
            ("", "") => "?".to_owned(),
            (name, "") | ("", name) => name.to_owned(),
            (name, os) => format!("{name} · {os}"),
        };
        Self {
            browser,
            os,
            kind,
            text,
        }
    }

    /// A program instead of a browser. The words are for lists of sign-ins; a phone has its own.
    pub fn program(kind: DeviceKind, user_agent: &str) -> Self {
        Self::named(String::new(), Self::of(user_agent).os, kind)
    }
}

/// Where a page is shown, as far as that decides how the mini program is reached from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Surroundings {
    /// A screen that a phone can scan.
    Screen,
    /// A browser on the phone itself, which cannot scan its own screen: WeChat is opened by a link.
    PhoneBrowser,
    /// WeChat's own browser on a phone: a code is pressed.
    WechatOnPhone,
    /// WeChat's own browser on a computer: a screen like others, but WeChat's web login works there.
    WechatOnComputer,
}

impl Surroundings {
    /// Reads a `User-Agent`. An iPad that calls itself a Macintosh is a screen, which a phone can scan.
    pub fn of(user_agent: &str) -> Self {
        let handheld = matches!(Device::of(user_agent).kind, DeviceKind::Phone | DeviceKind::Tablet);
        match (is_wechat(user_agent), handheld) {
            (true, true) => Self::WechatOnPhone,
            (true, false) => Self::WechatOnComputer,
            (false, true) => Self::PhoneBrowser,
            (false, false) => Self::Screen,
        }
    }

    /// Whether WeChat's web login works here.
    pub fn is_wechat(self) -> bool {
        matches!(self, Self::WechatOnPhone | Self::WechatOnComputer)
    }
}

/// WeCom carries WeChat's mark and has neither its web login nor its recognition of codes.
fn is_wechat(user_agent: &str) -> bool {
    user_agent.contains("MicroMessenger") && !user_agent.contains("wxwork")
}

/// The first mark that occurs wins: whoever builds on another's engine also carries its mark.
const BROWSERS: &[(&str, &str)] = &[
    ("wxwork", "WeCom"),
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

    /// User agents as they are sent, shortened at no mark.
    #[test]
    #[rustfmt::skip]
    fn the_way_to_the_mini_program_follows_from_where_the_page_is() {
        use Surroundings::{PhoneBrowser, Screen, WechatOnComputer, WechatOnPhone};
        let cases = [
            // Chrome, Edge, Safari, Firefox on computers.
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36 Edg/142.0.0.0", Screen),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/26.0 Safari/605.1.15", Screen),
            ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", Screen),
            ("Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/138.0.0.0 Safari/537.36", Screen),
            // Safari on an iPhone, Chrome there, an iPad that says so.
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/18.5 Mobile/15E148 Safari/604.1", PhoneBrowser),
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) CriOS/142.0.7444.46 Mobile/15E148 Safari/604.1", PhoneBrowser),
            ("Mozilla/5.0 (iPad; CPU OS 16_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/16.6 Mobile/15E148 Safari/604.1", PhoneBrowser),
            // Android: Chrome, Huawei, Xiaomi, vivo, QQ, UC, a tablet.
            ("Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36", PhoneBrowser),
            ("Mozilla/5.0 (Linux; Android 12; HarmonyOS; ALN-AL00; HMSCore 6.15.0.302) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.5735.196 HuaweiBrowser/16.0.6.301 Mobile Safari/537.36", PhoneBrowser),
            ("Mozilla/5.0 (Linux; U; Android 14; zh-cn; 23127PN0CC Build/UKQ1.230804.001) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/118.0.0.0 Mobile Safari/537.36 XiaoMi/MiuiBrowser/19.7.40320", PhoneBrowser),
            ("Mozilla/5.0 (Linux; Android 14; V2309A; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/123.0.6312.118 Mobile Safari/537.36 VivoBrowser/24.5.10.0", PhoneBrowser),
            ("Mozilla/5.0 (Linux; U; Android 13; zh-cn; PEXM00 Build/TP1A.220905.001) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/109.0.5414.86 MQQBrowser/15.5 Mobile Safari/537.36", PhoneBrowser),
            ("Mozilla/5.0 (Linux; Android 15; SM-X910) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Safari/537.36", PhoneBrowser),
            // HarmonyOS 5, which is no Android any more.
            ("Mozilla/5.0 (Phone; OpenHarmony 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1 Mobile HuaweiBrowser/5.0.4.300", PhoneBrowser),
            // WeChat on iOS, Android and HarmonyOS 5.
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 MicroMessenger/8.0.59(0x18003b2e) NetType/WIFI Language/zh_CN", WechatOnPhone),
            ("Mozilla/5.0 (Linux; Android 14; 23127PN0CC Build/UKQ1.230804.001; wv) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 Chrome/130.0.6723.103 Mobile Safari/537.36 XWEB/1300289 MMWEBSDK/20241202 MMWEBID/5123 MicroMessenger/8.0.56.2800(0x28003856) WeChat/arm64 Weixin NetType/WIFI Language/zh_CN ABI/arm64", WechatOnPhone),
            ("Mozilla/5.0 (Phone; OpenHarmony 5.0) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/114.0.0.0 Safari/537.36 ArkWeb/4.1.6.1 Mobile MicroMessenger/1.0.6 NetType/WIFI Language/zh_CN", WechatOnPhone),
            // WeChat on Windows and macOS, before and since its versions are built from one source.
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/107.0.0.0 Safari/537.36 MicroMessenger/7.0.20.1781(0x6700143B) NetType/WIFI MiniProgramEnv/Windows WindowsWechat/WMPF WindowsWechat(0x63090c11)XWEB/11275", WechatOnComputer),
            ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/132.0.0.0 Safari/537.36 NetType/WIFI MicroMessenger/7.0.20.1781(0x6700143B) WindowsWechat(0x63090a13) UnifiedPCWindowsWechat(0xf254032b) XWEB/13655 Flue", WechatOnComputer),
            ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/119.0.0.0 Safari/537.36 MicroMessenger/6.8.0(0x16080000) NetType/WIFI MacWechat/3.8.10(0x13080a11) XWEB/1227 Flue", WechatOnComputer),
            // WeCom is not WeChat.
            ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Mobile/15E148 wxwork/4.1.36 MicroMessenger/7.0.1 Language/zh ColorScheme/Light", PhoneBrowser),
            ("Mozilla/5.0 (Windows NT 10.0; WOW64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/108.0.5359.220 Safari/537.36 wxwork/4.1.36 (MicroMessenger/6.2) WindowsWechat MailPlugin_Electron WeMail embeddisk wwmver/3.26.36.631", Screen),
            ("curl/8.5.0", Screen),
            ("", Screen),
        ];
        for (agent, expected) in cases {
            assert_eq!(Surroundings::of(agent), expected, "{agent}");
        }
    }
}
