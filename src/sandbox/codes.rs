//! Login codes (`wx.login`) and phone codes (the phone button): one use, five minutes, one app.

use std::collections::HashMap;

use super::error::WechatError;
use super::identifiers;
use super::world::AppId;

/// Which button made a code. The two are not interchangeable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// From `wx.login`, for `/sns/jscode2session`.
    Login,
    /// From the phone button, for `/wxa/business/getuserphonenumber`.
    Phone,
}

/// Every code that has been issued in the last while.
#[derive(Debug, Default)]
pub(super) struct Codes(HashMap<String, Code>);

#[derive(Debug)]
struct Code {
    kind: Kind,
    app: AppId,
    persona: String,
    issued: u64,
    used: bool,
}

impl Codes {
    /// Makes a code for a person at an app.
    pub(super) fn issue(&mut self, kind: Kind, app: &AppId, persona: &str, now: u64) -> String {
        self.0.retain(|_, code| now < code.issued + REMEMBERED);
        let text = match kind {
            Kind::Login => format!("0{}", identifiers::random_text(23)),
            Kind::Phone => identifiers::random_hex(32),
        };
        let code = Code {
            kind,
            app: app.clone(),
            persona: persona.to_owned(),
            issued: now,
            used: false,
        };
        self.0.insert(text.clone(), code);
        text
    }

    /// Whose code this is, if it may be exchanged by `app` now. Does not spend it.
    ///
    /// # Errors
    /// 40029 when unknown, of the other kind or too old; 40163 when a login code was used, which for a phone code is
    /// 40029 as well; 40029 for another app's login code and 40013 for another app's phone code.
    pub(super) fn examine(&self, text: &str, kind: Kind, app: &AppId, now: u64) -> Result<&str, WechatError> {
        let code = self
            .0
            .get(text)
            .filter(|code| code.kind == kind)
            .ok_or(WechatError::CODE)?;
        match kind {
            _ if code.app != *app && kind == Kind::Phone => Err(WechatError::APP_ID),
            _ if code.app != *app => Err(WechatError::CODE),
            Kind::Login if code.used => Err(WechatError::CODE_USED),
            Kind::Phone if code.used => Err(WechatError::CODE),
            _ if now >= code.issued + LIFETIME => Err(WechatError::CODE),
            _ => Ok(&code.persona),
        }
    }

    /// Spends a code, if it is one of this kind.
    pub(super) fn spend(&mut self, text: &str, kind: Kind) {
        if let Some(code) = self.0.get_mut(text).filter(|code| code.kind == kind) {
            code.used = true;
        }
    }
}

/// Seconds that a code lives.
pub(super) const LIFETIME: u64 = 300;
/// How long a spent code is still told from one that never was.
const REMEMBERED: u64 = 86_400;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    const START: u64 = 1_700_000_000;

    fn app(number: u8) -> AppId {
        AppId::new(format!("wxsandbox{number}")).unwrap()
    }

    #[test]
    fn a_code_is_good_once_for_its_app_its_kind_and_five_minutes() {
        let cases: [(Kind, Kind, u8, bool, u64, i64); 9] = [
            (Kind::Login, Kind::Login, 1, false, 299, 0),
            (Kind::Login, Kind::Login, 1, false, 300, 40029),
            (Kind::Login, Kind::Login, 1, true, 1, 40163),
            (Kind::Login, Kind::Login, 2, false, 1, 40029),
            (Kind::Login, Kind::Phone, 1, false, 1, 40029),
            (Kind::Phone, Kind::Phone, 1, false, 299, 0),
            (Kind::Phone, Kind::Phone, 1, true, 1, 40029),
            (Kind::Phone, Kind::Phone, 2, false, 1, 40013),
            (Kind::Phone, Kind::Login, 1, false, 1, 40029),
        ];
        for (issued_as, asked_as, by, used, after, expected) in cases {
            let mut codes = Codes::default();
            let text = codes.issue(issued_as, &app(1), "lilei", START);
            if used {
                codes.spend(&text, issued_as);
            }
            let found = codes.examine(&text, asked_as, &app(by), START + after);
            let found = found
                .map(|persona| assert_eq!(persona, "lilei"))
                .err()
                .map_or(0, |error| error.0);
            assert_eq!(found, expected, "{issued_as:?} {asked_as:?} {by} {used} {after}");
        }
    }

    #[test]
    fn a_code_is_not_spent_by_the_other_endpoint() {
        let mut codes = Codes::default();
        let text = codes.issue(Kind::Login, &app(1), "lilei", START);
        codes.spend(&text, Kind::Phone);
        assert!(codes.examine(&text, Kind::Login, &app(1), START).is_ok());
    }
}
