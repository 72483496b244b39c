//! Phone numbers, in E.164.

use std::fmt;

use super::mask::MASK;

/// A phone number in E.164: `+`, a country code, at most 15 digits. Shown masked everywhere; whoever needs the number
/// itself says so with [`Phone::as_str`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Phone(String);

/// Not a phone number. The text is not repeated: it may be one with a slip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a phone number is written as in `+8613800138000`: `+`, country code, 7 to 15 digits in all")]
pub struct InvalidPhone;

impl Phone {
    /// Checks for `+[1-9][0-9]{6,14}` (ITU-T E.164, 15 digits at most).
    ///
    /// # Errors
    /// [`InvalidPhone`].
    pub fn parse(text: &str) -> Result<Self, InvalidPhone> {
        let digits = text.strip_prefix('+').ok_or(InvalidPhone)?;
        let plausible = (7..=15).contains(&digits.len())
            && !digits.starts_with('0')
            && digits.bytes().all(|byte| byte.is_ascii_digit());
        if plausible {
            Ok(Self(text.to_owned()))
        } else {
            Err(InvalidPhone)
        }
    }

    /// The number itself.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// `+86138****8000`: recognisable for its owner, useless to others. At least four digits are hidden, whatever the
    /// length.
    #[must_use]
    pub fn masked(&self) -> String {
        let visible = self.0.len() - MASK.len();
        let tail = (visible / 2).min(4);
        let head = (visible - tail).min(6);
        format!("{}{MASK}{}", &self.0[..head], &self.0[self.0.len() - tail..])
    }
}

impl fmt::Debug for Phone {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Phone({})", self.masked())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn only_e164_is_a_phone_number() {
        for number in ["+8613800138000", "+1234567", "+123456789012345"] {
            assert_eq!(Phone::parse(number).unwrap().as_str(), number);
        }
        let wrong = [
            "",
            "+",
            "13800138000",
            "008613800138000",
            "+013800138000",
            "+123456",
            "+1234567890123456",
            "+86 13800138000",
            "+86-13800138000",
            "+861380013800x",
            "+８６13800138000",
            "+8613800138000\n",
        ];
        for text in wrong {
            assert!(Phone::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn a_masked_number_hides_at_least_four_digits() {
        let table = [
            ("+8613800138000", "+86138****8000"),
            ("+15551234567", "+155****4567"),
            ("+4915123456789", "+49151****6789"),
            ("+123456789012345", "+12345****2345"),
            ("+1234567", "+1****67"),
        ];
        for (number, expected) in table {
            let phone = Phone::parse(number).unwrap();
            assert_eq!(phone.masked(), expected);
            assert!(!format!("{phone:?}").contains(&number[1..]));
        }
        for length in 7..=15 {
            let number = format!("+{}", &"123456789012345"[..length]);
            let shown = Phone::parse(&number).unwrap().masked();
            let digits = shown.bytes().filter(u8::is_ascii_digit).count();
            assert!(length - digits >= 4, "{shown} of {number}");
        }
    }
}
