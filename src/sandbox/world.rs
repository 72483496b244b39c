//! Who and what exists in the sandbox: its apps, its people, and the switches for what WeChat leaves open.
//!
//! An AppID of the sandbox begins with `wxsandbox`, which no real one does, so a gateway that is pointed here by mistake
//! can neither log in a real app's people nor leak a real app's secret into a working login.

use std::fmt;

use secrecy::SecretString;
use serde::Serialize;

use super::identifiers;
use super::push::{PushMode, PushSettings};

/// An AppID that only the sandbox knows.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct AppId(String);

/// What kind of account an app is; a token of the wrong kind is refused with 48001.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AppKind {
    /// A mini program.
    MiniProgram,
    /// A service account (服务号).
    ServiceAccount,
    /// A website application of the Open Platform.
    Website,
}

/// A text in the two languages of the sandbox's pages.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Bilingual {
    /// Simplified Chinese.
    pub zh: String,
    /// English.
    pub en: String,
}

/// One WeChat app.
#[derive(Debug, Clone)]
pub struct App {
    /// Its AppID.
    pub app_id: AppId,
    /// Its AppSecret: 32 hexadecimal digits.
    pub secret: SecretString,
    /// Its kind.
    pub kind: AppKind,
    /// The name that the phone shows.
    pub name: Bilingual,
    /// Verified by WeChat; the phone button of one that is not answers errno 102.
    pub verified: bool,
    /// Declared the phone number in its privacy guideline; the phone button of one that did not answers errno 112.
    pub phone_declared: bool,
    /// The pages of the released version, the home page first. Empty: not released.
    pub released_pages: Vec<String>,
    /// The Open Platform account that it is bound to. Without one nobody has a unionid here.
    pub open_platform: Option<String>,
    /// The hosts that browsers may be sent back to; the others, and for service accounts every port, are page error
    /// 10003. Empty: every address, which WeChat has not.
    pub callback_hosts: Vec<String>,
    /// Where a service account's messages are pushed to.
    pub push: Option<PushSettings>,
}

/// A phone number as WeChat keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PhoneNumber {
    /// Calling code without `+`.
    pub country_code: u16,
    /// The number without the calling code.
    pub number: String,
}

/// A person with a WeChat account.
#[derive(Debug, Clone, Serialize)]
pub struct Persona {
    /// Stable name for the control API and tests.
    pub id: String,
    /// What people call them.
    pub name: Bilingual,
    /// The number that is bound to their WeChat account.
    pub phone: PhoneNumber,
    /// WeChat refuses their logins with 40226.
    pub high_risk: bool,
    /// What the phone button answers instead of a code; 1400001 is "out of quota".
    pub phone_errno: Option<i64>,
}

/// Behaviour that differs between reports, or that nobody has established.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Quirks {
    /// A failed exchange spends the code: the second attempt is 40163. The harsher assumption is the default.
    pub burn_failed_codes: bool,
    /// `countryCode` as a number, as older documentation has it; otherwise a string.
    pub country_code_as_number: bool,
    /// What a phone code answers that belongs to another openid than the one sent. The documentation lists no code of
    /// its own for it.
    pub openid_mismatch: i64,
    /// Whether pages in WeChat's browser that ask for the profile are shown as snapshots.
    pub snapshot: Snapshot,
}

/// How WeChat shows a page that asks for `snsapi_userinfo` at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Snapshot {
    /// As a page, unless the address says `forceSnapShot=true`.
    Never,
    /// As a snapshot: a virtual account, `is_snapshotuser` 1.
    Marked,
    /// As a snapshot without the mark, as some have seen it at the first hit.
    Unmarked,
}

/// What a sandbox starts with.
#[derive(Debug, Clone)]
pub struct SandboxConfig {
    /// The apps.
    pub apps: Vec<App>,
    /// The people.
    pub personas: Vec<Persona>,
    /// Open questions, answered.
    pub quirks: Quirks,
}

/// The AppID does not begin with `wxsandbox`, or holds other characters than letters and digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an AppID of the sandbox is `wxsandbox` and up to 23 letters and digits")]
pub struct NotASandboxApp(());

impl AppId {
    /// Accepts an AppID of the sandbox.
    ///
    /// # Errors
    /// [`NotASandboxApp`] for everything that could be somebody's real AppID.
    pub fn new(text: impl Into<String>) -> Result<Self, NotASandboxApp> {
        let text = text.into();
        let own = text.strip_prefix(APP_ID_PREFIX);
        if own.is_some_and(|own| (1..=23).contains(&own.len()) && own.bytes().all(|byte| byte.is_ascii_alphanumeric()))
        {
            Ok(Self(text))
        } else {
            Err(NotASandboxApp(()))
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for AppId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl fmt::Display for AppId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

impl App {
    /// A verified and released mini program with one page and a secret made on the spot.
    pub fn mini_program(app_id: AppId) -> Self {
        Self {
            app_id,
            secret: SecretString::from(identifiers::random_hex(16)),
            kind: AppKind::MiniProgram,
            name: Bilingual::new("门神登录", "Menshen Login"),
            verified: true,
            phone_declared: true,
            released_pages: vec![LOGIN_PAGE.to_owned()],
            open_platform: None,
            callback_hosts: Vec::new(),
            push: None,
        }
    }

    /// The original id (原始 ID) by which an application opens it.
    pub fn original_id(&self) -> String {
        identifiers::original_id(self.app_id.as_str())
    }

    /// A website application with approved login and a new secret.
    pub fn website(app_id: AppId) -> Self {
        Self {
            kind: AppKind::Website,
            name: Bilingual::new("门神网站", "Menshen Website"),
            released_pages: Vec::new(),
            ..Self::mini_program(app_id)
        }
    }

    /// A verified service account with a new secret, whose messages go to the connection `follow` of the gateway.
    pub fn service_account(app_id: AppId) -> Self {
        Self {
            kind: AppKind::ServiceAccount,
            name: Bilingual::new("门神服务号", "Menshen Service"),
            released_pages: Vec::new(),
            push: Some(PushSettings::new(PUSH_PATH, PushMode::Safe)),
            ..Self::mini_program(app_id)
        }
    }
}

impl Bilingual {
    /// Both texts.
    pub fn new(zh: &str, en: &str) -> Self {
        Self {
            zh: zh.to_owned(),
            en: en.to_owned(),
        }
    }
}

impl PhoneNumber {
    /// A number of the numbering plan `country_code`.
    pub fn new(country_code: u16, number: &str) -> Self {
        Self {
            country_code,
            number: number.to_owned(),
        }
    }

    /// As E.164 writes it.
    pub fn e164(&self) -> String {
        format!("+{}{}", self.country_code, self.number)
    }

    /// As WeChat's own dialog shows it: the middle is hidden.
    pub fn masked(&self) -> String {
        let shown = 3.min(self.number.len());
        let tail = self.number.len().saturating_sub(4).max(shown);
        let (head, rest) = (self.number.get(..shown), self.number.get(tail..));
        format!(
            "+{} {}****{}",
            self.country_code,
            head.unwrap_or_default(),
            rest.unwrap_or_default()
        )
    }
}

impl Persona {
    /// An ordinary person.
    pub fn new(id: &str, name: Bilingual, phone: PhoneNumber) -> Self {
        Self {
            id: id.to_owned(),
            name,
            phone,
            high_risk: false,
            phone_errno: None,
        }
    }
}

impl Default for Quirks {
    fn default() -> Self {
        Self {
            burn_failed_codes: true,
            country_code_as_number: false,
            openid_mismatch: 40_029,
            snapshot: Snapshot::Never,
        }
    }
}

impl Default for SandboxConfig {
    fn default() -> Self {
        let person =
            |id, zh, en, code, number| Persona::new(id, Bilingual::new(zh, en), PhoneNumber::new(code, number));
        Self {
            apps: vec![
                App::mini_program(AppId(format!("{APP_ID_PREFIX}0000000001"))),
                App::website(AppId(WEBSITE_APP.to_owned())),
                App::service_account(AppId(SERVICE_APP.to_owned())),
            ],
            personas: vec![
                person("wangxiaoming", "王小明", "Wang Xiaoming", 86, "13800138000"),
                person("lilei", "李雷", "Li Lei", 86, "13900139000"),
                // From the range that Ofcom keeps for fiction.
                person("hanmeimei", "韩梅梅", "Han Meimei", 44, "7700900123"),
                Persona {
                    high_risk: true,
                    ..person("zhangsan", "张三", "Zhang San", 86, "13700137000")
                },
                Persona {
                    phone_errno: Some(PHONE_QUOTA_ERRNO),
                    ..person("sunyue", "孙悦", "Sun Yue", 86, "13600136000")
                },
            ],
            quirks: Quirks::default(),
        }
    }
}

/// The website application of a default sandbox.
pub const WEBSITE_APP: &str = "wxsandboxwebsite";
/// The service account of a default sandbox.
pub const SERVICE_APP: &str = "wxsandboxservice";
/// Where the default service account pushes its messages to: the connection `follow`.
pub const PUSH_PATH: &str = "/.menshen/connections/follow/push";
/// The AppID of the sample application (`/application`), as the mini program sees it.
pub const APPLICATION_APP: &str = "wxsandboxapplication";
/// The page of the default app.
pub const LOGIN_PAGE: &str = "pages/login/login";
/// What the phone button answers when the account has no paid verifications left.
pub const PHONE_QUOTA_ERRNO: i64 = 1_400_001;

const APP_ID_PREFIX: &str = "wxsandbox";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn only_app_ids_that_no_real_account_has_are_accepted() {
        assert!(AppId::new("wxsandbox0000000001").is_ok());
        for real in [
            "wx1234567890abcdef",
            "wxsandbox",
            "wxsandbox-1",
            "xwxsandbox1",
            "",
            "wxsandbox000000000000000000000000",
        ] {
            assert!(AppId::new(real).is_err(), "{real}");
        }
    }

    #[test]
    fn a_phone_number_is_masked_in_the_middle() {
        assert_eq!(PhoneNumber::new(86, "13800138000").masked(), "+86 138****8000");
        assert_eq!(PhoneNumber::new(1, "12").masked(), "+1 12****");
        assert_eq!(PhoneNumber::new(44, "7700900123").e164(), "+447700900123");
    }

    #[test]
    fn the_secret_is_not_in_the_debug_output() {
        use secrecy::ExposeSecret;
        let app = App::mini_program(AppId::new("wxsandbox1").unwrap());
        assert_eq!(app.secret.expose_secret().len(), 32);
        assert!(!format!("{app:?}").contains(app.secret.expose_secret()));
    }
}
