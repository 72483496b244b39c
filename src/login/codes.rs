//! The codes on the page: WeChat's own, from a small pool, or a link code that needs nobody.
//!
//! A code of WeChat's costs a call of some hundred milliseconds under a cap of 5,000 a minute for the whole account. So
//! codes are fetched ahead while people come, each for a scene that is minted with it; a pooled code older than a quarter
//! of its life is thrown away, because the person who gets it should have time left, and nobody refills an idle pool.
//! A picture that is asked for again (a reload, another node) is fetched again for the same scene.
//!
//! Where a link prefix is known, nobody waits for a WeChat that does not answer: the page that waited too long gets the
//! link, and so do those after it, until a fetch in the background succeeds again.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tracing::{debug, warn};

use crate::config::settings::{Connection, ConnectionKind, MiniprogramQr, QrKind};
use crate::login::error::LoginError;
use crate::login::scene::{Scene, SceneKeys};
use crate::telemetry::clock::Clock;
use crate::telemetry::traces;
use crate::wechat::{CodeImage, MiniProgram, UnlimitedCode, WechatError};

/// What the page shows.
#[derive(Debug, Clone)]
pub enum Picture {
    /// An image that WeChat drew.
    Wechat(CodeImage),
    /// The text of an ordinary code, to be drawn by the page.
    Link(String),
    /// WeChat takes its time: the page asks for the picture by itself.
    Later,
}

/// The codes of one connection.
#[derive(Debug, Clone)]
pub struct Codes {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    connection: String,
    kind: MiniprogramQr,
    ticket_ttl: i64,
    scenes: Arc<SceneKeys>,
    wechat: MiniProgram,
    clock: Clock,
    pool: Mutex<Pool>,
    /// Pictures by scene, for the reload and for the page that did not wait.
    pictures: moka::future::Cache<String, CodeImage>,
    /// When WeChat last failed to draw in time; 0 since it succeeded.
    failed_at: AtomicI64,
}

#[derive(Debug, Default)]
struct Pool {
    ready: VecDeque<Scene>,
    /// When codes were taken lately.
    taken: VecDeque<i64>,
    refilling: bool,
}

impl Codes {
    /// For a `miniprogram-qr` connection; `None` for any other.
    pub fn new(
        connection: &Connection,
        ticket_ttl: i64,
        scenes: Arc<SceneKeys>,
        wechat: MiniProgram,
        clock: Clock,
    ) -> Option<Self> {
        let ConnectionKind::MiniprogramQr(kind) = &connection.kind else {
            return None;
        };
        let life = Duration::from_secs(u64::try_from(ticket_ttl).unwrap_or(120));
        let pictures = moka::future::Cache::builder()
            .max_capacity(MOST_PICTURES)
            .time_to_live(life)
            .build();
        Some(Self {
            inner: Arc::new(Inner {
                connection: connection.id.clone(),
                kind: kind.clone(),
                ticket_ttl,
                scenes,
                wechat,
                clock,
                pool: Mutex::default(),
                pictures,
                failed_at: AtomicI64::new(0),
            }),
        })
    }

    /// Whether these are the codes of this connection: its pool then goes on under another configuration.
    pub fn are_of(&self, connection: &Connection, ticket_ttl: i64, wechat: &MiniProgram) -> bool {
        let inner = &self.inner;
        inner.connection == connection.id
            && matches!(&connection.kind, ConnectionKind::MiniprogramQr(kind) if *kind == inner.kind)
            && inner.ticket_ttl == ticket_ttl
            && inner.wechat.is_same(wechat)
    }

    /// A scene with its picture, for a new ticket.
    ///
    /// # Errors
    /// What keeps WeChat from drawing, where no link prefix is configured to fall back to.
    pub async fn take(&self) -> Result<(Scene, Picture), LoginError> {
        if let QrKind::Link { prefix } = &self.inner.kind.qr {
            let scene = self.inner.mint()?;
            let link = format!("{prefix}{}", scene.as_str());
            return Ok((scene, Picture::Link(link)));
        }
        let scene = match self.inner.pooled() {
            Some(scene) => scene,
            None => self.inner.mint()?,
        };
        self.refill();
        if let Some(link) = self.inner.link_meanwhile(&scene) {
            return Ok((scene, Picture::Link(link)));
        }
        // The fetch goes on when this request does not wait for it any more.
        let fetch = tokio::spawn({
            let (codes, scene) = (self.clone(), scene.clone());
            traces::along(async move { codes.picture(&scene).await })
        });
        match tokio::time::timeout(PAGE_WAITS, fetch).await {
            Ok(Ok(picture)) => Ok((scene, picture?)),
            Ok(Err(_)) => Err(LoginError::Seal("the task that fetched a code was lost")),
            Err(_) => {
                self.inner.note_failure();
                let link = self.inner.link_meanwhile(&scene);
                Ok((scene, link.map_or(Picture::Later, Picture::Link)))
            }
        }
    }

    /// The picture of a scene of this connection.
    ///
    /// # Errors
    /// As for [`Codes::take`].
    pub async fn picture(&self, scene: &Scene) -> Result<Picture, LoginError> {
        let fallback = match &self.inner.kind.qr {
            QrKind::Link { prefix } => return Ok(Picture::Link(format!("{prefix}{}", scene.as_str()))),
            QrKind::Wxacode { fallback } => fallback,
        };
        if let Some(image) = self.inner.pictures.get(scene.as_str()).await {
            return Ok(Picture::Wechat(image));
        }
        if let Some(link) = self.inner.link_meanwhile(scene) {
            return Ok(Picture::Link(link));
        }
        match self.inner.fetch(scene).await {
            Ok(image) => Ok(Picture::Wechat(image)),
            Err(error) => match fallback {
                Some(prefix) => {
                    warn!(connection = self.inner.connection, %error, "no code from WeChat, falling back to a link code");
                    Ok(Picture::Link(format!("{prefix}{}", scene.as_str())))
                }
                None => Err(LoginError::wechat(&self.inner.connection, error)),
            },
        }
    }

    /// The text of an ordinary code for a scene, where a link prefix is configured: for who cannot show a picture.
    pub fn link(&self, scene: &Scene) -> Option<String> {
        let prefix = self.inner.kind.qr.link_prefix();
        prefix.map(|prefix| format!("{prefix}{}", scene.as_str()))
    }

    /// Whether the picture of this scene has to be fetched from WeChat.
    pub fn costs_a_call(&self, scene: &Scene) -> bool {
        matches!(self.inner.kind.qr, QrKind::Wxacode { .. }) && !self.inner.pictures.contains_key(scene.as_str())
    }

    /// Fetches ahead as many codes as were taken lately, in the background.
    fn refill(&self) {
        {
            let mut pool = self.inner.lock();
            if pool.refilling {
                return;
            }
            pool.refilling = true;
        }
        let codes = self.clone();
        tokio::spawn(async move {
            while codes.inner.wants_more() {
                let Ok(scene) = codes.inner.mint() else { break };
                if let Err(error) = codes.inner.fetch(&scene).await {
                    debug!(connection = codes.inner.connection, %error, "code not fetched ahead");
                    break;
                }
                codes.inner.lock().ready.push_back(scene);
            }
            codes.inner.lock().refilling = false;
        });
    }
}

impl Inner {
    fn lock(&self) -> std::sync::MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn mint(&self) -> Result<Scene, LoginError> {
        self.scenes
            .mint(&self.connection, self.clock.now())
            .map_err(|_| LoginError::Seal("no scene key is active"))
    }

    /// The oldest pooled scene that is still young; the others are thrown away.
    fn pooled(&self) -> Option<Scene> {
        let now = self.clock.now();
        let mut pool = self.lock();
        pool.taken.push_back(now);
        self.forget(&mut pool, now);
        pool.ready.pop_front()
    }

    /// Whether fewer are ready than will be taken in the time that a pooled code is good for.
    fn wants_more(&self) -> bool {
        let now = self.clock.now();
        let mut pool = self.lock();
        self.forget(&mut pool, now);
        pool.ready.len() < pool.taken.len().min(MOST_READY)
    }

    fn forget(&self, pool: &mut Pool, now: i64) {
        let young = self.ticket_ttl / 4;
        pool.ready.retain(|scene| scene.issued_at() + young > now);
        while pool.taken.front().is_some_and(|taken| taken + young <= now) {
            pool.taken.pop_front();
        }
    }

    fn note_failure(&self) {
        self.failed_at.store(self.clock.now(), Ordering::Relaxed);
    }

    /// The link for a scene, while WeChat has lately failed and a prefix is known.
    fn link_meanwhile(&self, scene: &Scene) -> Option<String> {
        let QrKind::Wxacode { fallback: Some(prefix) } = &self.kind.qr else {
            return None;
        };
        let failing = self.failed_at.load(Ordering::Relaxed) + TRUSTED_AGAIN > self.clock.now();
        failing.then(|| format!("{prefix}{}", scene.as_str()))
    }

    async fn fetch(&self, scene: &Scene) -> Result<CodeImage, Arc<WechatError>> {
        let request = UnlimitedCode {
            scene: scene.as_str().to_owned(),
            page: self.kind.page.clone(),
            check_path: self.kind.env_version.as_str() == "release",
            env_version: self.kind.env_version.as_str(),
            width: WIDTH,
        };
        let fetched = self
            .pictures
            .try_get_with(scene.as_str().to_owned(), async {
                self.wechat.unlimited_code(&request).await
            })
            .await;
        match &fetched {
            Ok(_) => self.failed_at.store(0, Ordering::Relaxed),
            Err(_) => self.note_failure(),
        }
        fetched
    }
}

/// So long the first paint waits for the picture; then the page comes without and asks for it.
const PAGE_WAITS: Duration = Duration::from_millis(1_500);
/// Seconds after a failure until a page waits for WeChat again.
const TRUSTED_AGAIN: i64 = 10;
/// Pixels: sharp at 200 points on a dense screen.
const WIDTH: u32 = 430;
/// Codes fetched ahead per connection.
const MOST_READY: usize = 16;
/// Some 50 KB each.
const MOST_PICTURES: u64 = 512;
