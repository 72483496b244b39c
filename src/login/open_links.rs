//! Links by which a page on a phone opens the mini program.
//!
//! One link serves every ticket of a connection, with the ticket's scene appended: an account makes 500,000 a day, and a
//! page view must cost none of them. It is asked for when the first page on a phone wants one, renewed in the background
//! long before WeChat ends it, by one task at a time. Each node has its own. While WeChat makes none, the page shows the
//! code, and WeChat is left alone for a while.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::config::settings::{Connection, ConnectionKind, MiniprogramQr, MobileOpen};
use crate::login::Login;
use crate::login::browser_half::BrowserHalf;
use crate::login::carried_half::carry;
use crate::login::error::LoginError;
use crate::login::scene::Scene;
use crate::telemetry::clock::Clock;
use crate::wechat::{LinkKind, LinkRequest, MiniProgram, OpenLink};

/// The link of one connection.
#[derive(Debug, Clone)]
pub struct OpenLinks {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: String,
    kind: MiniprogramQr,
    request: LinkRequest,
    wechat: MiniProgram,
    clock: Clock,
    kept: Mutex<Kept>,
    /// Held by whoever asks WeChat.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Debug, Default)]
struct Kept {
    link: Option<OpenLink>,
    /// When it was asked for, in Unix seconds.
    made: i64,
    /// When WeChat last made none.
    failed: Option<i64>,
}

/// What is to be done about a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Use it.
    Good,
    /// Use it, and have another made meanwhile.
    Ageing,
    /// Have one made.
    Missing,
    /// Do without: WeChat has just refused.
    Resting,
}

impl Standing {
    /// By the age of the link, if there is one, and by how long ago WeChat refused.
    fn of(age: Option<i64>, failed_ago: Option<i64>) -> Self {
        let rests = failed_ago.is_some_and(|ago| (0..RESTS).contains(&ago));
        match age {
            // A clock that was set back: nobody knows how old it is.
            Some(age) if (0..RENEWED_AFTER).contains(&age) => Self::Good,
            Some(age) if (0..USED_UNTIL).contains(&age) => {
                if rests {
                    Self::Good
                } else {
                    Self::Ageing
                }
            }
            _ if rests => Self::Resting,
            _ => Self::Missing,
        }
    }
}

impl OpenLinks {
    /// For a connection whose pages open WeChat; `None` for any other.
    pub fn new(connection: &Connection, wechat: MiniProgram, clock: Clock) -> Option<Self> {
        let ConnectionKind::MiniprogramQr(kind) = &connection.kind else {
            return None;
        };
        let request = Self::request(connection)?;
        Some(Self {
            inner: Arc::new(Inner {
                connection: connection.id.clone(),
                kind: kind.clone(),
                request,
                wechat,
                clock,
                kept: Mutex::default(),
                turn: tokio::sync::Mutex::default(),
            }),
        })
    }

    /// What WeChat is asked for, where pages of this connection open WeChat.
    pub fn request(connection: &Connection) -> Option<LinkRequest> {
        let ConnectionKind::MiniprogramQr(kind) = &connection.kind else {
            return None;
        };
        Some(LinkRequest {
            kind: match kind.mobile {
                MobileOpen::None => return None,
                MobileOpen::UrlLink => LinkKind::Url,
                MobileOpen::Scheme => LinkKind::Scheme,
            },
            page: kind.page.clone(),
            env_version: kind.env_version.as_str(),
            days: DAYS,
        })
    }

    /// Whether these are the links of this connection: they then go on under another configuration.
    pub fn are_of(&self, connection: &Connection, wechat: &MiniProgram) -> bool {
        let inner = &self.inner;
        inner.connection == connection.id
            && matches!(&connection.kind, ConnectionKind::MiniprogramQr(kind) if *kind == inner.kind)
            && inner.wechat.is_same(wechat)
    }

    /// The link, if there is one or WeChat makes one soon enough.
    async fn link(&self) -> Option<OpenLink> {
        match self.inner.standing() {
            Standing::Good => self.inner.kept(),
            Standing::Ageing => {
                // Whoever finds somebody at it leaves them to it.
                if self.inner.turn.try_lock().is_ok() {
                    tokio::spawn(Arc::clone(&self.inner).renew());
                }
                self.inner.kept()
            }
            Standing::Resting => None,
            Standing::Missing => {
                // The call goes on when this page does not wait for it any more.
                let made = tokio::spawn(Arc::clone(&self.inner).renew());
                let _ = tokio::time::timeout(PAGE_WAITS, made).await;
                self.inner.kept()
            }
        }
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> Option<OpenLink> {
        self.lock().link.clone()
    }

    fn standing(&self) -> Standing {
        let now = self.clock.now();
        let kept = self.lock();
        let age = kept.link.as_ref().map(|_| now - kept.made);
        Standing::of(age, kept.failed.map(|failed| now - failed))
    }

    async fn renew(self: Arc<Self>) {
        let _turn = self.turn.lock().await;
        // Whoever waited for their turn finds it done.
        if !matches!(self.standing(), Standing::Missing | Standing::Ageing) {
            return;
        }
        let now = self.clock.now();
        let made = self.wechat.open_link(&self.request).await;
        let mut kept = self.lock();
        match made {
            Ok(link) => {
                *kept = Kept {
                    link: Some(link),
                    made: now,
                    failed: None,
                };
            }
            Err(error) => {
                if Standing::of(Some(now - kept.made), None) == Standing::Missing {
                    kept.link = None;
                }
                kept.failed = Some(now);
                drop(kept);
                let _ = LoginError::wechat(&self.connection, error);
            }
        }
    }
}

impl Login {
    /// What opens WeChat with this ticket, for a page on the same phone; `None` where the connection has no links, or
    /// WeChat makes none.
    pub async fn open_url(&self, connection: &str, scene: &Scene, half: &BrowserHalf) -> Option<String> {
        let links = self.open_links.get(connection)?;
        if half.bind_to.is_some() {
            return None;
        }
        let link = links.link().await?;
        let scene_only = [("scene", scene.as_str())];
        let carried = carry(&self.ring, &half.facts(), scene, self.clock.now());
        let whole = carried.and_then(|half| link.with(&[scene_only[0], ("half", &half)]));
        // A half that is too long for a link is brought by the page, once it is seen again.
        whole.or_else(|| link.with(&scene_only))
    }
}

/// As long as WeChat allows.
const DAYS: u8 = 30;
const DAY: i64 = 86_400;
/// Seconds. Ten days are time enough for whatever keeps WeChat from making another.
const RENEWED_AFTER: i64 = 20 * DAY;
/// Seconds: the last link that is handed out still opens for as long as any ticket waits.
const USED_UNTIL: i64 = DAYS as i64 * DAY - 3_600;
/// Seconds that WeChat is left alone after it made none.
const RESTS: i64 = 60;
/// So long a page waits for the first link; then it shows the code.
const PAGE_WAITS: Duration = Duration::from_millis(1_500);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_renewed_long_before_it_ends_and_never_used_after() {
        use Standing::{Ageing, Good, Missing, Resting};
        let cases = [
            (None, None, Missing),
            (None, Some(0), Resting),
            (None, Some(59), Resting),
            (None, Some(60), Missing),
            (None, Some(-5), Missing),
            (Some(0), None, Good),
            (Some(20 * DAY - 1), None, Good),
            (Some(20 * DAY), None, Ageing),
            (Some(20 * DAY), Some(10), Good),
            (Some(20 * DAY), Some(60), Ageing),
            (Some(30 * DAY - 3_601), None, Ageing),
            (Some(30 * DAY - 3_600), None, Missing),
            (Some(30 * DAY - 3_600), Some(1), Resting),
            (Some(-1), None, Missing),
        ];
        for (age, failed_ago, expected) in cases {
            assert_eq!(Standing::of(age, failed_ago), expected, "{age:?} {failed_ago:?}");
        }
    }
}
