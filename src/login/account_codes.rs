//! The codes of a service account: one call to WeChat for each ticket, drawn by Menshen.
//!
//! An account has 100,000 of these calls a day, which is a code every second. So none is fetched ahead: a ticket is made
//! when its tab is shown, and asks then. The code ends when the ticket does. When more are asked for than there are, the
//! page offers another way in.

use std::sync::Arc;
use std::time::Duration;

use crate::login::codes::Picture;
use crate::login::error::LoginError;
use crate::login::limits::TooMany;
use crate::login::scene::{Scene, SceneKeys};
use crate::telemetry::clock::Clock;
use crate::wechat::{ServiceAccount, WechatError};

/// The codes of one `official-account-qr` connection.
#[derive(Debug, Clone)]
pub struct AccountCodes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: String,
    ticket_ttl: i64,
    scenes: Arc<SceneKeys>,
    wechat: ServiceAccount,
    clock: Clock,
    /// What codes hold, by scene: for the reload and for the page that did not wait.
    texts: moka::future::Cache<String, String>,
}

impl AccountCodes {
    /// For a connection.
    pub fn new(
        connection: &str,
        ticket_ttl: i64,
        scenes: Arc<SceneKeys>,
        wechat: ServiceAccount,
        clock: Clock,
    ) -> Self {
        let life = Duration::from_secs(u64::try_from(ticket_ttl).unwrap_or(120));
        let texts = moka::future::Cache::builder()
            .max_capacity(MOST_TEXTS)
            .time_to_live(life)
            .build();
        Self {
            inner: Arc::new(Inner {
                connection: connection.to_owned(),
                ticket_ttl,
                scenes,
                wechat,
                clock,
                texts,
            }),
        }
    }

    /// Whether these go on under another configuration.
    pub fn are_of(&self, connection: &str, ticket_ttl: i64, wechat: &ServiceAccount) -> bool {
        let inner = &self.inner;
        inner.connection == connection && inner.ticket_ttl == ticket_ttl && inner.wechat.is_same(wechat)
    }

    /// A scene with its code, for a new ticket.
    ///
    /// # Errors
    /// What keeps WeChat from giving one.
    pub async fn take(&self) -> Result<(Scene, Picture), LoginError> {
        let inner = &self.inner;
        let scene = inner
            .scenes
            .mint(&inner.connection, inner.clock.now())
            .map_err(|_| LoginError::Seal("no scene key is active"))?;
        // The call goes on when this request does not wait for it any more.
        let fetch = tokio::spawn({
            let (codes, scene) = (self.clone(), scene.clone());
            async move { codes.picture(&scene).await }
        });
        match tokio::time::timeout(PAGE_WAITS, fetch).await {
            Ok(Ok(picture)) => Ok((scene, picture?)),
            Ok(Err(_)) => Err(LoginError::Seal("the task that fetched a code was lost")),
            Err(_) => Ok((scene, Picture::Later)),
        }
    }

    /// The code of a scene of this connection.
    ///
    /// # Errors
    /// As for [`AccountCodes::take`]; [`LoginError::Expired`] when there is nothing left of the ticket's time.
    pub async fn picture(&self, scene: &Scene) -> Result<Picture, LoginError> {
        let inner = &self.inner;
        let left = scene.issued_at() + inner.ticket_ttl - inner.clock.now();
        let left = u64::try_from(left)
            .ok()
            .filter(|left| *left > 0)
            .ok_or(LoginError::Expired)?;
        let fetched: Result<String, Arc<WechatError>> = inner
            .texts
            .try_get_with(scene.as_str().to_owned(), async {
                inner.wechat.scene_code(scene.as_str(), left).await
            })
            .await;
        match fetched {
            Ok(text) => Ok(Picture::Link(text)),
            // Anybody opens pages: this is the answer to them, and no failure of WeChat's.
            Err(error) => Err(match *error {
                WechatError::RateLimited { retry_after, .. } => TooMany::until(retry_after).into(),
                _ => LoginError::wechat(&inner.connection, error),
            }),
        }
    }

    /// Whether WeChat has to be asked for the code of this scene.
    pub fn costs_a_call(&self, scene: &Scene) -> bool {
        !self.inner.texts.contains_key(scene.as_str())
    }
}

/// So long the first paint waits; then the page comes without the code and asks for it.
const PAGE_WAITS: Duration = Duration::from_millis(1_500);
/// Some fifty bytes each.
const MOST_TEXTS: u64 = 10_000;
