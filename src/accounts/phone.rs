//! Phone numbers, in E.164.

use std::fmt;

use phonenumber::country::Id as Country;
use phonenumber::{Mode, Type};
use unicode_normalization::UnicodeNormalization;

use super::mask::MASK;

/// A phone number in E.164: `+`, a country code, at most 15 digits. Shown masked everywhere; whoever needs the number
/// itself says so with [`Phone::as_str`].
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Phone(String);

/// Not a phone number. The text is not repeated: it may be one with a slip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a phone number is written as in `+8613800138000`: `+`, country code, 7 to 15 digits in all")]
pub struct InvalidPhone;

/// Why what an operator wrote is no phone number, and what to write. The text is not repeated: it may be a number with a
/// slip.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PhoneProblem {
    /// Letters, an extension, nothing.
    #[error("the phone number is not written as in `+8613800138000`")]
    NoNumber,
    /// No country code, and no mobile number of mainland China.
    #[error(
        "the phone number has no country code and is no mobile number of mainland China: write it as in `+85261234567`"
    )]
    NoCountry,
    /// Nobody can have it.
    #[error("the phone number cannot be one of its country: check its digits and the country code after `+`")]
    Impossible,
}

impl Phone {
    /// What an operator wrote, in E.164. `+` or `00` begins a country code; without one it has to be a mobile number of
    /// mainland China. Spaces, dashes, dots, slashes and brackets are taken for what they are.
    ///
    /// # Errors
    /// [`PhoneProblem`].
    pub fn normalise(text: &str) -> Result<Self, PhoneProblem> {
        // Full-width digits come from the same people as the rest of the table.
        let text: String = text
            .nfkc()
            .filter(|letter| {
                !letter.is_whitespace() && !matches!(letter, '-' | '\u{2010}'..='\u{2015}' | '.' | '/' | '(' | ')')
            })
            .collect();
        let (international, digits) = match (text.strip_prefix('+'), text.strip_prefix("00")) {
            (Some(digits), _) | (None, Some(digits)) => (true, digits),
            (None, None) => (false, text.as_str()),
        };
        if digits.is_empty() || digits.len() > 20 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(PhoneProblem::NoNumber);
        }
        let (country, text, problem) = if international {
            (None, format!("+{digits}"), PhoneProblem::Impossible)
        } else {
            (Some(Country::CN), digits.to_owned(), PhoneProblem::NoCountry)
        };
        let number = phonenumber::parse(country, text).map_err(|_| problem)?;
        let good = if international {
            number.is_valid()
        } else {
            number.code().value() == MAINLAND_CHINA
                && number.number_type(&phonenumber::metadata::DATABASE) == Type::Mobile
        };
        if !good {
            return Err(problem);
        }
        Self::parse(&number.format().mode(Mode::E164).to_string()).map_err(|_| problem)
    }

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

const MAINLAND_CHINA: u16 = 86;

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

    #[test]
    fn what_operators_write_becomes_e164() {
        let table = [
            ("+8613800138000", "+8613800138000"),
            ("13800138000", "+8613800138000"),
            (" 138 0013-8000 ", "+8613800138000"),
            ("138.0013.8000", "+8613800138000"),
            ("１３８００１３８０００", "+8613800138000"),
            ("+86 (0)138 0013 8000", "+8613800138000"),
            ("0086 138 0013 8000", "+8613800138000"),
            ("8613800138000", "+8613800138000"),
            ("+86 10 6552 9988", "+861065529988"),
            ("+852 6123 4567", "+85261234567"),
            ("+886 912 345 678", "+886912345678"),
            ("+1 (650) 253-0000", "+16502530000"),
            ("+44 7912 345678", "+447912345678"),
            ("+39 02 3661 8300", "+390236618300"),
            ("＋65－8123－4567", "+6581234567"),
        ];
        for (text, expected) in table {
            let phone = Phone::normalise(text).map(|phone| phone.as_str().to_owned());
            assert_eq!(phone.as_deref(), Ok(expected), "{text:?}");
        }
    }

    #[test]
    fn what_could_be_two_numbers_or_none_is_refused_with_a_reason() {
        use PhoneProblem::{Impossible, NoCountry, NoNumber};
        let table = [
            ("", NoNumber),
            ("+", NoNumber),
            ("n/a", NoNumber),
            ("13800138000 ext. 5", NoNumber),
            ("+86+13800138000", NoNumber),
            ("1800FLOWERS", NoNumber),
            ("138001380001380013800", NoNumber),
            ("010 6552 9988", NoCountry),
            ("1380013800", NoCountry),
            ("138001380001", NoCountry),
            ("23800138000", NoCountry),
            ("6123 4567", NoCountry),
            ("6502530000", NoCountry),
            ("+86 1380013800", Impossible),
            ("+8612345678901", Impossible),
            ("+1 555", Impossible),
            ("+999 12345678", Impossible),
        ];
        for (text, expected) in table {
            assert_eq!(Phone::normalise(text).unwrap_err(), expected, "{text:?}");
        }
    }
}
