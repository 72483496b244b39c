//! Sessions that were made and never came back: how a login that leads nowhere is recognised.
//!
//! A browser that refuses the session cookie, or asks for it under another scheme or host, gets a new login page after
//! every login, and the person scans again and again. Whoever signs in three times within a minute from one browser,
//! without one of the sessions being used, is told the cause instead. A browser is told by what it cannot help sending:
//! its address and its kind. Kept in memory by the node that made the sessions; nothing depends on it but a page.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::session::token::SessionId;

/// The unused sessions of one node.
#[derive(Debug, Default)]
pub struct Unused {
    inner: Mutex<Inner>,
    /// How many, so that requests need no lock while there are none.
    count: AtomicUsize,
}

/// A browser without cookies.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Browser {
    /// Name of the site.
    pub site: String,
    /// Client address.
    pub address: IpAddr,
    /// Browser and operating system.
    pub device: String,
}

/// A login that came back without its session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Circle {
    /// Who signed in.
    pub user: String,
    /// The host that the session was made for.
    pub host: String,
    /// Nobody was told yet: the first page of this circle.
    pub is_new: bool,
}

#[derive(Debug, Default)]
struct Inner {
    browsers: HashMap<Browser, Vec<Made>>,
    sessions: HashMap<SessionId, Browser>,
}

#[derive(Debug)]
struct Made {
    session: SessionId,
    user: String,
    host: String,
    /// Unix seconds.
    at: i64,
    told: bool,
}

impl Unused {
    /// A session was made at `now` (Unix seconds).
    pub fn made(&self, browser: Browser, session: SessionId, user: &str, host: &str, now: i64) {
        let mut inner = self.lock();
        inner.browsers.entry(browser.clone()).or_default().push(Made {
            session,
            user: user.to_owned(),
            host: host.to_owned(),
            at: now,
            told: false,
        });
        inner.sessions.insert(session, browser);
        self.count.store(inner.sessions.len(), Ordering::Release);
    }

    /// A session came back: cookies work in its browser.
    pub fn used(&self, session: &SessionId) {
        if self.count.load(Ordering::Acquire) == 0 {
            return;
        }
        let mut inner = self.lock();
        if let Some(browser) = inner.sessions.remove(session) {
            for made in inner.browsers.remove(&browser).unwrap_or_default() {
                inner.sessions.remove(&made.session);
            }
        }
        self.count.store(inner.sessions.len(), Ordering::Release);
    }

    /// Whether this browser, which has no session at `now`, goes in circles.
    pub fn circle(&self, browser: &Browser, now: i64) -> Option<Circle> {
        if self.count.load(Ordering::Acquire) < LOGINS {
            return None;
        }
        let mut inner = self.lock();
        let made = inner.browsers.get_mut(browser)?;
        let last = made.last()?.user.clone();
        let recent = |made: &&mut Made| made.user == last && now - made.at <= WITHIN;
        let mut recent: Vec<&mut Made> = made.iter_mut().filter(recent).collect();
        if recent.len() < LOGINS {
            return None;
        }
        let newest = recent.pop()?;
        Some(Circle {
            is_new: !std::mem::replace(&mut newest.told, true),
            host: newest.host.clone(),
            user: last,
        })
    }

    /// Forgets what is older than a circle can be.
    pub fn sweep(&self, now: i64) {
        let mut inner = self.lock();
        let Inner { browsers, sessions } = &mut *inner;
        browsers.retain(|_, made| {
            made.retain(|made| now - made.at <= WITHIN);
            !made.is_empty()
        });
        sessions.retain(|session, browser| {
            let made = browsers.get(browser);
            made.is_some_and(|made| made.iter().any(|made| made.session == *session))
        });
        self.count.store(sessions.len(), Ordering::Release);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Logins of one person that make a circle …
const LOGINS: usize = 3;
/// … within so many seconds.
const WITHIN: i64 = 60;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn browser(device: &str) -> Browser {
        Browser {
            site: "Wiki".to_owned(),
            address: "203.0.113.9".parse().unwrap(),
            device: device.to_owned(),
        }
    }

    fn sign_in(unused: &Unused, device: &str, user: &str, now: i64) -> SessionId {
        let session = SessionId::random().unwrap();
        unused.made(browser(device), session, user, "wiki.test", now);
        session
    }

    #[test]
    fn three_unused_sessions_of_one_person_within_a_minute_are_a_circle() {
        // User and time of each login, the time of the next page, and whether that is a circle.
        type Logins = &'static [(&'static str, i64)];
        let cases: [(Logins, i64, bool); 6] = [
            (&[("a", 0), ("a", 20), ("a", 40)], 41, true),
            (&[("a", 0), ("a", 20)], 41, false),
            (&[("a", 0), ("a", 20), ("b", 40)], 41, false),
            (&[("a", 0), ("a", 20), ("a", 40)], 61, false),
            (&[("a", 0), ("b", 10), ("a", 20), ("a", 40)], 41, true),
            (&[("a", 0), ("a", 59), ("a", 60)], 60, true),
        ];
        for (logins, now, expected) in cases {
            let unused = Unused::default();
            for (user, at) in logins {
                sign_in(&unused, "Chrome", user, *at);
            }
            let circle = unused.circle(&browser("Chrome"), now);
            assert_eq!(circle.is_some(), expected, "{logins:?} {now}");
            assert_eq!(unused.circle(&browser("Firefox"), now), None);
        }
    }

    #[test]
    fn a_session_that_comes_back_ends_the_suspicion() {
        let unused = Unused::default();
        sign_in(&unused, "Chrome", "a", 0);
        let used = sign_in(&unused, "Chrome", "a", 10);
        sign_in(&unused, "Chrome", "a", 20);
        unused.used(&used);
        assert_eq!(unused.circle(&browser("Chrome"), 21), None);
        assert_eq!(unused.count.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn a_circle_is_new_once() {
        let unused = Unused::default();
        for at in 0..3 {
            sign_in(&unused, "Chrome", "a", at);
        }
        assert!(unused.circle(&browser("Chrome"), 3).unwrap().is_new);
        assert!(!unused.circle(&browser("Chrome"), 4).unwrap().is_new);
        sign_in(&unused, "Chrome", "a", 5);
        assert!(unused.circle(&browser("Chrome"), 6).unwrap().is_new);
    }

    #[test]
    fn nothing_is_kept_for_longer_than_a_minute() {
        let unused = Unused::default();
        for at in 0..3 {
            sign_in(&unused, "Chrome", "a", at);
        }
        unused.sweep(62);
        assert_eq!(unused.count.load(Ordering::Relaxed), 1);
        unused.sweep(63);
        let inner = unused.lock();
        assert!(inner.browsers.is_empty() && inner.sessions.is_empty());
    }
}
