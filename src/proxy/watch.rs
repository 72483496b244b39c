//! How long a connection and an exchange on it may last, where Pingora sets no limit of its own.
//!
//! Pingora's timers start anew with every byte, so that a client who sends one now and then keeps a connection for ever;
//! an HTTP/2 connection is waited for without any; and a stream that was admitted once is never looked at again. Here
//! what runs is watched by a `Vigil`: for a head that does not come, for the end of the session that an exchange was
//! admitted by, and for a limit on all of it. What ends it drops it, and with it the connection (HTTP/1.1) or the stream
//! (HTTP/2). The hooks speak to the vigil of their own task.
//!
//! A timer costs about a microsecond to set, so there is one for a connection and not one for a request: it is only ever
//! moved forward in time by the request that needs it sooner, and one that goes off too early is set anew. A busy
//! connection pays for two settings a second.

use std::pin::{Pin, pin};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;
use tokio::time::{Instant, Sleep, sleep_until};
use tokio_util::task::task_tracker::TaskTrackerToken;
use tracing::{debug, info, warn};

/// The limits.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// For what precedes HTTP on a connection: the preamble of a proxy, and TLS.
    pub beginning: Duration,
    /// From the first byte of a connection to a complete request head, or to a finished HTTP/2 handshake.
    pub first: Duration,
    /// From the end of an answer to the next complete head.
    pub next: Duration,
    /// How long a connection is kept without a request, HTTP/1.1 (in whole seconds) or HTTP/2; Pingora's default is for
    /// ever.
    pub idle: Duration,
    /// How long a client may send nothing of a body, or take nothing of an answer.
    pub silence: Duration,
    /// For the whole body of a request that Menshen answers itself.
    pub body: Duration,
    /// How often the session of a stream is looked at.
    pub look: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            // Three round trips from anywhere, with a margin for a phone in a lift.
            beginning: Duration::from_secs(15),
            first: Duration::from_secs(30),
            next: IDLE + Duration::from_secs(30),
            idle: IDLE,
            silence: Duration::from_secs(60),
            body: Duration::from_secs(10),
            look: Duration::from_secs(1),
        }
    }
}

/// An application whose exchanges are watched.
#[derive(Debug)]
pub struct Watched<A> {
    app: Arc<A>,
    options: HttpServerOptions,
    patience: Patience,
}

impl<A> Watched<A> {
    /// Around an application.
    pub fn new(app: A, patience: Patience) -> Self {
        let mut options = HttpServerOptions::default();
        options.h2_idle_timeout = Some(patience.idle);
        Self {
            app: Arc::new(app),
            options,
            patience,
        }
    }

    /// The limits.
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Runs everything that happens on one connection. `fresh` is given up when the first request has arrived.
    pub async fn run_connection(&self, serving: impl Future<Output = ()>, fresh: TaskTrackerToken) {
        let vigil = Arc::new(Vigil::of_connection(self.patience, fresh));
        vigil.watch(serving).await;
    }
}

#[async_trait]
impl<A> HttpServerApp for Watched<A>
where
    A: HttpServerApp + Send + Sync + 'static,
{
    async fn process_new_http(
        self: &Arc<Self>,
        session: ServerSession,
        shutdown: &ShutdownWatch,
    ) -> Option<ReusedHttpStream> {
        let serving = self.app.process_new_http(session, shutdown);
        let (vigil, reused) = match VIGIL.try_with(Arc::clone) {
            Ok(of_connection) => {
                of_connection.await_head();
                let reused = serving.await;
                of_connection.exchange_is_over();
                (of_connection, reused)
            }
            // A stream of HTTP/2 runs in a task of its own, and its head is complete.
            Err(_) => {
                let of_stream = Arc::new(Vigil::of_stream(self.patience));
                let reused = Arc::clone(&of_stream).watch(serving).await.flatten();
                (of_stream, reused)
            }
        };
        match vigil.take_rest() {
            Some(rest) => {
                drop(vigil);
                rest.await;
                None
            }
            None => reused,
        }
    }

    /// Pingora asks for these when it begins an HTTP/2 handshake …
    fn h2_options(&self) -> Option<H2Options> {
        let _ = VIGIL.try_with(|vigil| vigil.handshake_begins());
        self.app.h2_options()
    }

    /// … and for these, among other times, when that is done.
    fn server_options(&self) -> Option<&HttpServerOptions> {
        let _ = VIGIL.try_with(|vigil| vigil.handshake_is_done());
        Some(&self.options)
    }

    async fn http_cleanup(&self) {
        self.app.http_cleanup().await;
    }
}

/// Says that the head of this task's request is complete.
pub fn head_arrived() {
    // Outside of a watched task nobody waits for it.
    let _ = VIGIL.try_with(|vigil| vigil.head_arrived());
}

/// Lets this task's exchange go on for as long as `holds` says true.
pub fn lives_while(holds: impl Fn() -> bool + Send + 'static) {
    let _ = VIGIL.try_with(|vigil| vigil.lives_while(Box::new(holds)));
}

/// Ends this task's exchange after `limit`, counted from now.
pub fn lasts_at_most(limit: Duration) {
    let _ = VIGIL.try_with(|vigil| vigil.lasts_at_most(limit));
}

/// Leaves `rest` to be run when Pingora is through with this task's exchange, and has given back what that took. It is
/// bound to no session and no limit; the connection (HTTP/1.1) or the stream (HTTP/2) ends with it.
pub async fn goes_on(rest: Rest) {
    let mut rest = Some(rest);
    let _ = VIGIL.try_with(|vigil| vigil.lock().rest = rest.take());
    // Outside of a watched task nobody else would run it.
    if let Some(rest) = rest {
        rest.await;
    }
}

/// What an exchange goes on with.
pub type Rest = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is watched for on one connection, or on one stream of HTTP/2.
struct Vigil {
    patience: Patience,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    stage: Stage,
    /// When the next head must be complete, or the handshake done.
    expected: Option<Instant>,
    /// An exchange of this connection has begun.
    began: bool,
    /// What the exchange lives by, and when that is looked at next.
    holds: Option<(Box<dyn Fn() -> bool + Send>, Instant)>,
    /// When the exchange ends, whatever it does.
    limit: Option<Instant>,
    /// Runs when Pingora is through with the exchange.
    rest: Option<Rest>,
    /// Until the first request: who has connected only now is not to be sent away at a stop.
    fresh: Option<TaskTrackerToken>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Stage {
    /// Nobody knows yet which protocol it will be.
    #[default]
    Beginning,
    Handshake,
    AwaitingHead,
    Running,
}

/// Why what was watched is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Handshake,
    Head,
    Session,
    Limit,
}

impl Vigil {
    fn of_connection(patience: Patience, fresh: TaskTrackerToken) -> Self {
        let state = State {
            expected: Some(Instant::now() + patience.first),
            fresh: Some(fresh),
            ..State::default()
        };
        Self {
            patience,
            state: Mutex::new(state),
        }
    }

    fn of_stream(patience: Patience) -> Self {
        let state = State {
            stage: Stage::Running,
            ..State::default()
        };
        Self {
            patience,
            state: Mutex::new(state),
        }
    }

    /// Runs it as the vigil of its task; `None` when it was ended.
    async fn watch<T>(self: Arc<Self>, serving: impl Future<Output = T>) -> Option<T> {
        let serving = VIGIL.scope(Arc::clone(&self), serving);
        let mut serving = pin!(serving);
        let mut alarm = pin!(Alarm::default());
        std::future::poll_fn(move |cx| {
            if let Poll::Ready(served) = serving.as_mut().poll(cx) {
                return Poll::Ready(Some(served));
            }
            while let Some(due) = self.due() {
                if alarm.as_mut().rings(due, cx).is_pending() {
                    return Poll::Pending;
                }
                if let Some(end) = self.look(Instant::now()) {
                    end.tell();
                    return Poll::Ready(None);
                }
            }
            Poll::Pending
        })
        .await
    }

    fn await_head(&self) {
        let mut state = self.lock();
        let patience = if state.began {
            self.patience.next
        } else {
            self.patience.first
        };
        state.began = true;
        state.stage = Stage::AwaitingHead;
        state.expected = Some(Instant::now() + patience);
    }

    fn head_arrived(&self) {
        let mut state = self.lock();
        state.stage = Stage::Running;
        state.expected = None;
        drop(state.fresh.take());
    }

    fn exchange_is_over(&self) {
        let mut state = self.lock();
        state.holds = None;
        state.limit = None;
    }

    fn take_rest(&self) -> Option<Rest> {
        self.lock().rest.take()
    }

    fn handshake_begins(&self) {
        self.lock().stage = Stage::Handshake;
    }

    fn handshake_is_done(&self) {
        let mut state = self.lock();
        if state.stage == Stage::Handshake {
            state.stage = Stage::Running;
            state.expected = None;
            // From here on a stop is told to the client by GOAWAY, which says what was still taken.
            drop(state.fresh.take());
        }
    }

    fn lives_while(&self, holds: Box<dyn Fn() -> bool + Send>) {
        self.lock().holds = Some((holds, Instant::now() + self.patience.look));
    }

    fn lasts_at_most(&self, limit: Duration) {
        // Silence until then has its own answer, which gets time to be sent.
        self.lock().limit = Some(Instant::now() + limit + LAST_WORDS);
    }

    /// When to look next; `None` while nothing is watched for.
    fn due(&self) -> Option<Instant> {
        let state = self.lock();
        let look = state.holds.as_ref().map(|(_, next)| *next);
        [state.expected, look, state.limit].into_iter().flatten().min()
    }

    /// What has come to its end.
    fn look(&self, now: Instant) -> Option<End> {
        let mut state = self.lock();
        let state = &mut *state;
        if state.expected.is_some_and(|expected| expected <= now) {
            match state.stage {
                Stage::Handshake => return Some(End::Handshake),
                Stage::AwaitingHead => return Some(End::Head),
                // TLS and preamble have a limit of their own.
                Stage::Beginning | Stage::Running => state.expected = None,
            }
        }
        if state.limit.is_some_and(|limit| limit <= now) {
            return Some(End::Limit);
        }
        if let Some((holds, next)) = &mut state.holds
            && *next <= now
        {
            if !holds() {
                return Some(End::Session);
            }
            *next = now + self.patience.look;
        }
        None
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl End {
    fn tell(self) {
        match self {
            Self::Handshake => debug!("HTTP/2 handshake took too long"),
            Self::Head => debug!("no complete request head in time"),
            Self::Session => info!("an answer was cut, since its session has ended"),
            Self::Limit => warn!("an answer was cut after sites.upstream.total_timeout"),
        }
    }
}

/// A timer that is set only when it is needed sooner than it would go off.
#[derive(Default)]
struct Alarm(Option<Pin<Box<Sleep>>>);

impl Alarm {
    /// Ready at `due` or, when it was set for an earlier moment, then.
    fn rings(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<()> {
        let sleep = self.0.get_or_insert_with(|| Box::pin(sleep_until(due)));
        if sleep.is_elapsed() || sleep.deadline() > due {
            sleep.as_mut().reset(due);
        }
        sleep.as_mut().poll(cx)
    }
}

tokio::task_local! {
    static VIGIL: Arc<Vigil>;
}

/// For an error page to go out.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Browsers keep connections for longer, and most proxies for a minute.
const IDLE: Duration = Duration::from_secs(75);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use std::future::pending;
    use std::sync::atomic::{AtomicBool, Ordering};

    use pingora::protocols::l4::stream::Stream as TcpStream;
    use pingora::services::listening::Service;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::watch;
    use tokio::time::{sleep, timeout};
    use tokio_util::task::TaskTracker;

    use super::*;

    const FIRST: Duration = Duration::from_millis(300);

    fn short() -> Patience {
        Patience {
            first: FIRST,
            next: FIRST,
            look: Duration::from_millis(20),
            ..Patience::default()
        }
    }

    /// Reads heads and answers; to `/stream` it never does.
    struct Answering {
        session_holds: Arc<AtomicBool>,
    }

    #[async_trait]
    impl HttpServerApp for Answering {
        async fn process_new_http(
            self: &Arc<Self>,
            mut session: ServerSession,
            _shutdown: &ShutdownWatch,
        ) -> Option<ReusedHttpStream> {
            session.read_request().await.ok().filter(|read| *read)?;
            head_arrived();
            if session.req_header().uri.path() == "/stream" {
                let holds = Arc::clone(&self.session_holds);
                lives_while(move || holds.load(Ordering::Acquire));
                pending::<()>().await;
            }
            session.respond_error(418).await.ok()?;
            None
        }
    }

    struct Served {
        client: tokio::net::TcpStream,
        session_holds: Arc<AtomicBool>,
        _shutdown: watch::Sender<bool>,
    }

    async fn connect() -> Served {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
            .await
            .unwrap();
        let (stream, _) = listener.accept().await.unwrap();
        let (shutdown, stopping) = watch::channel(false);
        let session_holds = Arc::new(AtomicBool::new(true));
        let app = Answering {
            session_holds: Arc::clone(&session_holds),
        };
        let app = Arc::new(Watched::new(app, short()));
        tokio::spawn(async move {
            let stream: TcpStream = stream.into();
            let serving = Service::handle_event(Box::new(stream), Arc::clone(&app), stopping);
            app.run_connection(serving, TaskTracker::new().token()).await;
        });
        Served {
            client,
            session_holds,
            _shutdown: shutdown,
        }
    }

    async fn read_to_end(client: &mut (impl AsyncReadExt + Unpin)) -> String {
        let mut read = Vec::new();
        // A reset is an end as well.
        let ended = timeout(Duration::from_secs(5), client.read_to_end(&mut read)).await;
        assert!(ended.is_ok(), "the connection stays open");
        String::from_utf8_lossy(&read).into_owned()
    }

    #[tokio::test]
    async fn a_head_that_comes_drop_by_drop_ends_the_connection() {
        let Served { client, _shutdown, .. } = connect().await;
        let (mut reading, mut writing) = client.into_split();
        let trickle = tokio::spawn(async move {
            writing.write_all(b"GET / HTTP/1.1\r\nX: ").await.unwrap();
            while writing.write_all(b"a").await.is_ok() {
                sleep(Duration::from_millis(20)).await;
            }
        });
        assert_eq!(read_to_end(&mut reading).await, "");
        timeout(Duration::from_secs(5), trickle).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn a_complete_head_is_answered_and_a_long_answer_goes_on() {
        let mut served = connect().await;
        served
            .client
            .write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        assert!(read_to_end(&mut served.client).await.starts_with("HTTP/1.1 418"));

        let mut served = connect().await;
        served
            .client
            .write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        let ended = timeout(FIRST * 3, served.client.read_u8()).await;
        assert!(ended.is_err(), "cut although its session holds: {ended:?}");
    }

    #[tokio::test]
    async fn an_answer_is_cut_when_its_session_ends() {
        let mut served = connect().await;
        served
            .client
            .write_all(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
            .await
            .unwrap();
        served.session_holds.store(false, Ordering::Release);
        assert_eq!(read_to_end(&mut served.client).await, "");
    }

    /// What the vigil of a connection does to exchanges that follow each other on it.
    async fn on_one_connection<T>(exchanges: impl Future<Output = T>) -> Option<T> {
        let vigil = Arc::new(Vigil::of_connection(short(), TaskTracker::new().token()));
        timeout(Duration::from_secs(60), vigil.watch(exchanges))
            .await
            .expect("nobody watches")
    }

    fn answered() {
        VIGIL.with(|vigil| {
            vigil.await_head();
            vigil.head_arrived();
            // Would cut whatever it is not taken off from.
            vigil.lives_while(Box::new(|| false));
            vigil.exchange_is_over();
        });
    }

    #[tokio::test(start_paused = true)]
    async fn what_bound_one_exchange_does_not_bind_the_next_and_the_next_is_watched_too() {
        // The first one's timer goes off while nothing is watched for, and while the second one runs.
        let ended = on_one_connection(async {
            answered();
            VIGIL.with(|vigil| vigil.await_head());
            sleep(FIRST / 2).await;
            head_arrived();
            sleep(FIRST * 3).await;
            lives_while(|| false);
            pending::<()>().await;
        })
        .await;
        assert!(ended.is_none(), "the second exchange outlived its session");
        let served = on_one_connection(async {
            answered();
            VIGIL.with(|vigil| vigil.await_head());
            head_arrived();
            sleep(FIRST * 10).await;
        })
        .await;
        assert!(served.is_some(), "cut by what the first exchange was bound to");
    }

    #[tokio::test(start_paused = true)]
    async fn the_next_head_is_waited_for_no_longer_after_an_exchange_with_a_session() {
        let began = tokio::time::Instant::now();
        let ended = on_one_connection(async {
            answered();
            VIGIL.with(|vigil| vigil.await_head());
            pending::<()>().await;
        })
        .await;
        assert!(ended.is_none() && began.elapsed() < FIRST * 2, "{:?}", began.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_limit_ends_its_own_exchange_only() {
        let limited = on_one_connection(async {
            VIGIL.with(|vigil| vigil.await_head());
            head_arrived();
            lasts_at_most(FIRST);
            pending::<()>().await;
        });
        assert!(limited.await.is_none(), "no end after its limit");
        let next = on_one_connection(async {
            VIGIL.with(|vigil| vigil.await_head());
            head_arrived();
            lasts_at_most(FIRST);
            VIGIL.with(|vigil| vigil.exchange_is_over());
            answered();
            VIGIL.with(|vigil| vigil.await_head());
            head_arrived();
            sleep(FIRST + LAST_WORDS * 3).await;
        });
        assert!(
            next.await.is_some(),
            "the next exchange was cut by the limit of the one before"
        );
    }

    #[tokio::test]
    async fn a_handshake_that_does_not_end_is_cut_and_one_that_did_is_not() {
        let (_shutdown, _) = watch::channel(false);
        let app = Watched::new(
            Answering {
                session_holds: Arc::default(),
            },
            short(),
        );
        let stuck = async {
            VIGIL.with(|vigil| vigil.handshake_begins());
            pending::<()>().await;
        };
        timeout(
            Duration::from_secs(5),
            app.run_connection(stuck, TaskTracker::new().token()),
        )
        .await
        .unwrap();
        let open = async {
            VIGIL.with(|vigil| {
                vigil.handshake_begins();
                vigil.handshake_is_done();
            });
            sleep(FIRST * 2).await;
        };
        let began = tokio::time::Instant::now();
        app.run_connection(open, TaskTracker::new().token()).await;
        assert!(began.elapsed() >= FIRST * 2);
    }
}
