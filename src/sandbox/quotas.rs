//! How often an app may call: per minute, per day, and the few times a month that an operator may start again.
//!
//! Days and months are those of Beijing. Where WeChat publishes no limit, the one here is an invention that no honest
//! client reaches, so that `quota/get` has something to tell.

use std::collections::HashMap;

use time::OffsetDateTime;
use time::macros::offset;

use super::endpoint::Endpoint;
use super::error::WechatError;

/// The counters of one app.
#[derive(Debug, Default)]
pub(super) struct Quotas {
    days: HashMap<Endpoint, Counter>,
    minutes: HashMap<Endpoint, Counter>,
    people: HashMap<String, Counter>,
    clears: Counter,
}

/// What is left of a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Allowance {
    pub(super) daily_limit: u64,
    pub(super) used: u64,
    pub(super) per_minute: u64,
}

#[derive(Debug, Default, Clone, Copy)]
struct Counter {
    period: u64,
    count: u64,
}

impl Quotas {
    /// Counts one call of `endpoint`.
    ///
    /// # Errors
    /// 45009 when the day is used up, and for mini-program codes when the minute is; else 45011 for the minute.
    pub(super) fn spend(&mut self, endpoint: Endpoint, now: u64) -> Result<(), WechatError> {
        if !self
            .days
            .entry(endpoint)
            .or_default()
            .spend(day_of(now), daily_limit(endpoint))
        {
            return Err(WechatError::DAY_LIMIT);
        }
        if !self
            .minutes
            .entry(endpoint)
            .or_default()
            .spend(now / 60, per_minute(endpoint))
        {
            let code = if endpoint == Endpoint::WxaCode {
                WechatError::DAY_LIMIT
            } else {
                WechatError::MINUTE_LIMIT
            };
            return Err(code);
        }
        Ok(())
    }

    /// Counts one login of a person.
    ///
    /// # Errors
    /// 45011 above 100 a minute.
    pub(super) fn spend_login(&mut self, persona: &str, now: u64) -> Result<(), WechatError> {
        let within = self
            .people
            .entry(persona.to_owned())
            .or_default()
            .spend(now / 60, LOGINS_PER_PERSON);
        if within { Ok(()) } else { Err(WechatError::MINUTE_LIMIT) }
    }

    /// What `quota/get` tells about an endpoint.
    pub(super) fn allowance(&self, endpoint: Endpoint, now: u64) -> Allowance {
        let used = self
            .days
            .get(&endpoint)
            .filter(|day| day.period == day_of(now))
            .map_or(0, |day| day.count);
        Allowance {
            daily_limit: daily_limit(endpoint),
            used,
            per_minute: per_minute(endpoint),
        }
    }

    /// Starts the day again.
    ///
    /// # Errors
    /// 48006 after ten times in a month.
    pub(super) fn clear(&mut self, now: u64) -> Result<(), WechatError> {
        if !self.clears.spend(month_of(now), CLEARS_PER_MONTH) {
            return Err(WechatError::CLEARS_USED_UP);
        }
        self.days.clear();
        Ok(())
    }
}

impl Counter {
    /// Counts, unless the period is used up.
    fn spend(&mut self, period: u64, limit: u64) -> bool {
        if self.period != period {
            *self = Self { period, count: 0 };
        }
        let within = self.count < limit;
        self.count += u64::from(within);
        within
    }
}

/// The day in Beijing that `now` falls in.
pub(super) fn day_of(now: u64) -> u64 {
    (now + 8 * 3600) / 86_400
}

fn month_of(now: u64) -> u64 {
    let moment = i64::try_from(now)
        .ok()
        .and_then(|now| OffsetDateTime::from_unix_timestamp(now).ok());
    moment.map_or(0, |moment| {
        let moment = moment.to_offset(offset!(+8));
        u64::from(moment.year().unsigned_abs()) * 12 + u64::from(u8::from(moment.month()))
    })
}

fn daily_limit(endpoint: Endpoint) -> u64 {
    match endpoint {
        Endpoint::Token => 2_000,
        Endpoint::StableToken => 500_000,
        Endpoint::AccountCode => 100_000,
        _ => 5_000_000,
    }
}

fn per_minute(endpoint: Endpoint) -> u64 {
    match endpoint {
        Endpoint::StableToken => 10_000,
        Endpoint::WxaCode => 5_000,
        _ => 50_000,
    }
}

const LOGINS_PER_PERSON: u64 = 100;
const CLEARS_PER_MONTH: u64 = 10;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    /// 2023-11-15 06:00:00 in Beijing.
    const START: u64 = 1_699_999_200;

    fn spend(quotas: &mut Quotas, endpoint: Endpoint, times: u64, now: u64) {
        for _ in 0..times {
            quotas.spend(endpoint, now).unwrap();
        }
    }

    #[test]
    fn the_5001st_code_of_a_minute_is_45009_and_the_next_minute_is_free() {
        let mut quotas = Quotas::default();
        spend(&mut quotas, Endpoint::WxaCode, 5_000, START);
        assert_eq!(quotas.spend(Endpoint::WxaCode, START), Err(WechatError(45009)));
        assert_eq!(quotas.spend(Endpoint::WxaCode, START + 60), Ok(()));
    }

    #[test]
    fn legacy_tokens_end_after_2000_a_day_until_the_quota_is_cleared() {
        let mut quotas = Quotas::default();
        spend(&mut quotas, Endpoint::Token, 2_000, START);
        assert_eq!(quotas.spend(Endpoint::Token, START + 3600), Err(WechatError(45009)));
        assert_eq!(quotas.allowance(Endpoint::Token, START).used, 2_000);
        quotas.clear(START).unwrap();
        assert_eq!(quotas.spend(Endpoint::Token, START), Ok(()));
        spend(&mut quotas, Endpoint::Token, 1_999, START);
        assert_eq!(quotas.spend(Endpoint::Token, START + 86_400), Ok(()));
    }

    #[test]
    fn the_quota_is_cleared_ten_times_a_month() {
        let mut quotas = Quotas::default();
        for _ in 0..10 {
            quotas.clear(START).unwrap();
        }
        assert_eq!(quotas.clear(START + 86_400), Err(WechatError(48006)));
        assert_eq!(quotas.clear(START + 31 * 86_400), Ok(()));
    }

    #[test]
    fn a_person_logs_in_a_hundred_times_a_minute_and_nobody_else_pays_for_it() {
        let mut quotas = Quotas::default();
        for _ in 0..100 {
            quotas.spend_login("lilei", START).unwrap();
        }
        assert_eq!(quotas.spend_login("lilei", START), Err(WechatError(45011)));
        assert_eq!(quotas.spend_login("hanmeimei", START), Ok(()));
        assert_eq!(quotas.spend_login("lilei", START + 60), Ok(()));
    }
}
