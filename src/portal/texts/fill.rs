//! Fills the placeholders of a text.

use std::fmt::Write as _;

/// A placeholder with its value. The value is plain text, whatever it holds: it is inserted once, never searched for
/// further placeholders, and escaped by the template that shows the result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Slot<'a> {
    /// `{host}`
    Host(&'a str),
    /// `{name}`: of a person, masked.
    Name(&'a str),
    /// `{number}`: read digit by digit.
    Number(u8),
    /// `{seconds}`
    Seconds(u64),
    /// `{site}`
    Site(&'a str),
    /// `{time}`: seconds, shown as minutes and seconds.
    Time(u64),
}

impl Slot<'_> {
    fn key(self) -> &'static str {
        match self {
            Self::Host(_) => "host",
            Self::Name(_) => "name",
            Self::Number(_) => "number",
            Self::Seconds(_) => "seconds",
            Self::Site(_) => "site",
            Self::Time(_) => "time",
        }
    }

    fn write(self, out: &mut String) {
        // Writing to a String cannot fail.
        let _ = match self {
            Self::Host(text) | Self::Name(text) | Self::Site(text) => out.write_str(text),
            Self::Number(number) => write!(out, "{} {}", number / 10, number % 10),
            Self::Seconds(seconds) => write!(out, "{seconds}"),
            Self::Time(seconds) => write!(out, "{}:{:02}", seconds / 60, seconds % 60),
        };
    }
}

/// The text with its placeholders replaced. One without a value stays as it is, which the tests of the catalogue exclude.
pub fn fill(text: &str, slots: &[Slot<'_>]) -> String {
    let mut out = String::with_capacity(text.len() + 32);
    let mut rest = text;
    while let Some(start) = rest.find('{') {
        let (before, from) = rest.split_at(start);
        out.push_str(before);
        let slot = from.find('}').and_then(|end| {
            let slot = slots.iter().find(|slot| slot.key() == &from[1..end])?;
            Some((slot, end))
        });
        if let Some((slot, end)) = slot {
            let at = out.len();
            slot.write(&mut out);
            if meet(out[..at].chars().next_back(), out[at..].chars().next()) {
                out.insert(at, ' ');
            }
            rest = &from[end + 1..];
            if meet(rest.chars().next(), out.chars().next_back()) {
                out.push(' ');
            }
        } else {
            out.push('{');
            rest = &from[1..];
        }
    }
    out.push_str(rest);
    out
}

/// Whether a Chinese or Japanese character of the text stands beside a Latin one of a value: a space goes between.
fn meet(text: Option<char>, value: Option<char>) -> bool {
    let ideograph = |c: char| matches!(c, '\u{3040}'..='\u{30ff}' | '\u{3400}'..='\u{9fff}');
    text.is_some_and(ideograph) && value.is_some_and(|c| c.is_ascii_alphanumeric())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_value_is_inserted() {
        let cases: [(&str, &[Slot<'_>], &str); 11] = [
            ("Sign in to {site}", &[Slot::Site("Wiki")], "Sign in to Wiki"),
            ("{number}", &[Slot::Number(47)], "4 7"),
            ("{time} left", &[Slot::Time(65)], "1:05 left"),
            ("in {seconds} s", &[Slot::Seconds(9)], "in 9 s"),
            (
                "{name} at {host}",
                &[Slot::Host("a.b"), Slot::Name("王**")],
                "王** at a.b",
            ),
            ("{unknown} {", &[Slot::Site("x")], "{unknown} {"),
            ("登录{site}", &[Slot::Site("Wiki")], "登录 Wiki"),
            ("登录{site}", &[Slot::Site("知识库")], "登录知识库"),
            ("{site}にログイン", &[Slot::Site("Wiki")], "Wiki にログイン"),
            ("地址：{host}。", &[Slot::Host("a.b")], "地址：a.b。"),
            ("{{site}}", &[Slot::Site("x")], "{x}"),
        ];
        for (text, slots, expected) in cases {
            assert_eq!(fill(text, slots), expected);
        }
    }

    #[test]
    fn a_value_that_looks_like_a_placeholder_is_not_filled_again() {
        assert_eq!(
            fill("{name}, {host}", &[Slot::Name("{host}"), Slot::Host("h")]),
            "{host}, h"
        );
    }
}
