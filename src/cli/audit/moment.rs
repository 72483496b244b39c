//! Moments as operators write them.

use std::time::Duration;

use time::format_description::well_known::Rfc3339;
use time::macros::format_description;
use time::{Date, OffsetDateTime, Time};

use crate::config;

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::cli) enum Moment {
    /// Unix seconds.
    At(i64),
    /// So long ago.
    Ago(Duration),
}

impl Moment {
    /// In Unix seconds.
    pub(in crate::cli) fn at(self, now: i64) -> i64 {
        match self {
            Self::At(at) => at,
            Self::Ago(ago) => now.saturating_sub(i64::try_from(ago.as_secs()).unwrap_or(i64::MAX)),
        }
    }
}

/// RFC 3339, a date (its beginning in UTC), or a duration back from now.
pub(in crate::cli) fn parse(text: &str) -> Result<Moment, String> {
    if let Ok(moment) = OffsetDateTime::parse(text, &Rfc3339) {
        return Ok(Moment::At(moment.unix_timestamp()));
    }
    if let Ok(date) = Date::parse(text, format_description!("[year]-[month]-[day]")) {
        return Ok(Moment::At(date.with_time(Time::MIDNIGHT).assume_utc().unix_timestamp()));
    }
    if let Ok(ago) = config::duration(text) {
        return Ok(Moment::Ago(ago));
    }
    Err("write a moment as 2026-09-21T14:00:00+08:00, a date as 2026-09-21, or how long ago as 90s, 2h, 7d".to_owned())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn moments_are_written_in_three_ways() {
        let now = 1_790_000_000;
        let table = [
            ("2026-09-21T14:13:20Z", Some(now)),
            ("2026-09-21T22:13:20+08:00", Some(now)),
            ("2026-09-21", Some(1_789_948_800)),
            ("2h", Some(now - 7200)),
            ("90s", Some(now - 90)),
            ("0s", Some(now)),
            ("2026-09-31", None),
            ("2026-09-21 14:13", None),
            ("yesterday", None),
            ("-2h", None),
            ("", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text).ok().map(|moment| moment.at(now)), expected, "{text:?}");
        }
    }
}
