//! A phone number as WeChat vouches for it (getPhoneNumber).
//!
//! The answer is believed only with the watermark of this AppID and of now: a number recorded earlier or elsewhere
//! proves nothing. The number is built from country code and national number, because `phoneNumber` carries the
//! country code for numbers outside mainland China only.

use std::fmt;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;

use crate::wechat::answer::bad;
use crate::wechat::endpoint::Endpoint;
use crate::wechat::error::{BadAnswer, WatermarkFault, WechatError};

/// A phone number in E.164: `+` and 7 to 15 digits. `Display` and `Debug` mask it.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PhoneNumber(Box<str>);

/// Not a phone number in E.164.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a phone number like +8613800138000")]
pub struct PhoneNumberError;

/// The answer of getuserphonenumber.
#[derive(Deserialize)]
pub(crate) struct PhoneAnswer {
    phone_info: PhoneInfo,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct PhoneInfo {
    pure_phone_number: Box<str>,
    country_code: CountryCode,
    watermark: Watermark,
}

/// Documented as a number and as a text; both are seen.
#[derive(Deserialize)]
#[serde(untagged)]
enum CountryCode {
    Number(u16),
    Text(Box<str>),
}

#[derive(Deserialize)]
struct Watermark {
    timestamp: i64,
    appid: Box<str>,
}

impl PhoneNumber {
    /// The number in full. It is personal data: not for logs.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for PhoneNumber {
    type Err = PhoneNumberError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix('+').ok_or(PhoneNumberError)?;
        let plausible = DIGITS.contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if plausible {
            Ok(Self(text.into()))
        } else {
            Err(PhoneNumberError)
        }
    }
}

impl fmt::Display for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (shown_end, hidden) = if self.0.len() > 10 {
            (4, 4)
        } else {
            (2, self.0.len() - 5)
        };
        let end = self.0.len() - shown_end;
        let start = end - hidden;
        write!(f, "{}{:*<hidden$}{}", &self.0[..start], "", &self.0[end..])
    }
}

impl fmt::Debug for PhoneNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PhoneNumber({self})")
    }
}

impl PhoneAnswer {
    /// The number, if it was made for this app and now.
    pub(crate) fn verify(&self, app_id: &str, now: SystemTime) -> Result<PhoneNumber, WechatError> {
        let PhoneInfo {
            pure_phone_number,
            country_code,
            watermark,
        } = &self.phone_info;
        if *watermark.appid != *app_id {
            return Err(WechatError::Watermark(WatermarkFault::OtherApp));
        }
        let now = now
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX));
        let age = now.saturating_sub(watermark.timestamp);
        if !(-MAX_AHEAD..=MAX_AGE).contains(&age) {
            return Err(WechatError::Watermark(WatermarkFault::NotNow { age }));
        }
        let country = match country_code {
            CountryCode::Number(number) => number.to_string(),
            CountryCode::Text(text) => text.trim().trim_start_matches('+').to_owned(),
        };
        // An empty country code must not let the national number pass for an international one.
        if !(1..=3).contains(&country.len()) {
            return Err(bad(Endpoint::PhoneNumber, BadAnswer::Lacks("country code")));
        }
        format!("+{country}{}", pure_phone_number.trim())
            .parse()
            .map_err(|PhoneNumberError| bad(Endpoint::PhoneNumber, BadAnswer::Lacks("phone number")))
    }
}

/// Digits with the country code: E.164 allows 15; shorter than 7 is an emergency or service number.
const DIGITS: std::ops::RangeInclusive<usize> = 7..=15;

/// Seconds. A phone number code lives five minutes; as much again for clocks.
const MAX_AGE: i64 = 600;

/// Seconds that WeChat's clock may be ahead of this machine's.
const MAX_AHEAD: i64 = 300;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    const APP: &str = "wx4f4bc4dec97d474b";

    fn verify(country: &str, number: &str, app: &str, timestamp: i64, now: u64) -> Result<PhoneNumber, WechatError> {
        let answer: PhoneAnswer = serde_json::from_str(&format!(
            r#"{{"errcode":0,"errmsg":"ok","phone_info":{{"phoneNumber":"x","purePhoneNumber":"{number}",
                "countryCode":{country},"watermark":{{"timestamp":{timestamp},"appid":"{app}"}},"new_field":1}}}}"#
        ))
        .unwrap();
        answer.verify(APP, UNIX_EPOCH + Duration::from_secs(now))
    }

    #[test]
    fn the_number_is_built_from_country_code_and_national_number() {
        let number =
            |country, number| verify(country, number, APP, 1000, 1000).map(|number| number.as_str().to_owned());
        assert_eq!(number(r#""86""#, "13800138000").unwrap(), "+8613800138000");
        assert_eq!(number("86", "13800138000").unwrap(), "+8613800138000");
        assert_eq!(number(r#""+852""#, "51234567").unwrap(), "+85251234567");
        for (country, national) in [
            (r#""""#, "13800138000"),
            ("86", ""),
            ("86", "138-0013-8000"),
            ("0", "13800138000"),
            ("86", "1380013800000000"),
        ] {
            assert!(
                matches!(number(country, national), Err(WechatError::BadAnswer { .. })),
                "{country} {national}"
            );
        }
    }

    #[test]
    fn a_number_of_another_app_or_another_time_is_refused() {
        let check = |app, timestamp, now| match verify("86", "13800138000", app, timestamp, now) {
            Ok(_) => None,
            Err(WechatError::Watermark(fault)) => Some(fault),
            Err(other) => panic!("{other}"),
        };
        assert_eq!(check("wxother", 1000, 1000), Some(WatermarkFault::OtherApp));
        assert_eq!(check("", 1000, 1000), Some(WatermarkFault::OtherApp));
        assert_eq!(check("WX4F4BC4DEC97D474B", 1000, 1000), Some(WatermarkFault::OtherApp));
        assert_eq!(check(APP, 1000, 1600), None);
        assert_eq!(check(APP, 1000, 1601), Some(WatermarkFault::NotNow { age: 601 }));
        assert_eq!(check(APP, 1300, 1000), None);
        assert_eq!(check(APP, 1301, 1000), Some(WatermarkFault::NotNow { age: -301 }));
        assert!(check(APP, i64::MIN, 1000).is_some());
    }

    #[test]
    fn a_number_is_masked_wherever_it_is_printed() {
        let masked = |number: &str| number.parse::<PhoneNumber>().unwrap().to_string();
        assert_eq!(masked("+8613800138000"), "+86138****8000");
        assert_eq!(masked("+85251234567"), "+852****4567");
        assert_eq!(masked("+6512345678"), "+65****5678");
        assert_eq!(masked("+123456789"), "+12*****89");
        assert_eq!(masked("+1234567"), "+12***67");
        assert_eq!(
            format!("{:?}", "+8613800138000".parse::<PhoneNumber>().unwrap()),
            "PhoneNumber(+86138****8000)"
        );
    }

    #[test]
    fn only_e164_is_a_phone_number() {
        for wrong in [
            "",
            "+",
            "8613800138000",
            "+86 13800138000",
            "+0123456789",
            "+123456",
            "+1234567890123456",
            "+８6138",
        ] {
            assert!(wrong.parse::<PhoneNumber>().is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn masking_hides_at_least_three_digits_and_keeps_the_length(number in r"\+[1-9][0-9]{6,14}") {
            let shown = number.parse::<PhoneNumber>().unwrap().to_string();
            prop_assert_eq!(shown.len(), number.len());
            prop_assert!(shown.matches('*').count() >= 3);
            prop_assert!(shown.bytes().zip(number.bytes()).all(|(a, b)| a == b || a == b'*'));
        }
    }
}
