//! How long a connection and an exchange on it may last, where Pingora sets no limit of its own.
//!
//! Pingora's timers start anew with every byte, so that a client who sends one now and then keeps a connection for ever;
//! an HTTP/2 connection is waited for without any; and a stream that was admitted once is never looked at again. Here
//! each exchange runs beside what may end it: a head that does not come, the end of the session that it was admitted
//! by, or a limit for all of it. What ends it drops it, and with it the connection (HTTP/1.1) or the stream (HTTP/2). The hooks speak to their own
//! exchange through the task that runs both; the price is one timer for a request.

use std::future::pending;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use pingora::apps::{HttpServerApp, HttpServerOptions, ReusedHttpStream};
use pingora::protocols::http::ServerSession;
use pingora::protocols::http::v2::server::H2Options;
use pingora::server::ShutdownWatch;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};
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

    /// Runs everything that happens on one connection. Ends early when an HTTP/2 handshake does not. `fresh` is given up
    /// when the first request has arrived.
    pub async fn run_connection(&self, serving: impl Future<Output = ()>, fresh: TaskTrackerToken) {
        let connection = Arc::new(Connection::of(fresh));
        let mut serving = pin!(CONNECTION.scope(Arc::clone(&connection), serving));
        if timeout(self.patience.first, &mut serving).await.is_ok() {
            return;
        }
        if connection.shakes_hands.load(Ordering::Acquire) {
            debug!("HTTP/2 handshake took too long");
            return;
        }
        serving.await;
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
        let first = CONNECTION.try_with(|connection| !connection.began.swap(true, Ordering::AcqRel));
        let patience = match first {
            Ok(true) => self.patience.first,
            _ => self.patience.next,
        };
        let exchange = Arc::new(Exchange::default());
        let serving = EXCHANGE.scope(Arc::clone(&exchange), self.app.process_new_http(session, shutdown));
        exchange.run(serving, patience, self.patience.look).await
    }

    /// Pingora asks for these when it begins an HTTP/2 handshake …
    fn h2_options(&self) -> Option<H2Options> {
        note_handshake(true);
        self.app.h2_options()
    }

    /// … and for these, among other times, when that is done.
    fn server_options(&self) -> Option<&HttpServerOptions> {
        note_handshake(false);
        Some(&self.options)
    }

    async fn http_cleanup(&self) {
        self.app.http_cleanup().await;
    }
}

/// Says that the head of this task's request is complete.
pub fn head_arrived() {
    // Outside of a watched connection nobody waits for it.
    let _ = EXCHANGE.try_with(|exchange| exchange.head_arrived.store(true, Ordering::Release));
    let _ = CONNECTION.try_with(|connection| connection.is_used());
}

/// Lets this task's exchange go on for as long as `holds` says true.
pub fn lives_while(holds: impl Fn() -> bool + Send + Sync + 'static) {
    let _ = EXCHANGE.try_with(|exchange| {
        if exchange.holds.set(Box::new(holds)).is_ok() {
            exchange.bound.notify_one();
        }
    });
}

/// Ends this task's exchange after `limit`, counted from now.
pub fn lasts_at_most(limit: Duration) {
    let _ = EXCHANGE.try_with(|exchange| {
        if exchange.limit.set(limit).is_ok() {
            exchange.limited.notify_one();
        }
    });
}

/// What is known about a connection.
#[derive(Debug)]
struct Connection {
    began: AtomicBool,
    shakes_hands: AtomicBool,
    /// Until the first request: who has connected only now is not to be sent away at a stop.
    fresh: Mutex<Option<TaskTrackerToken>>,
}

impl Connection {
    fn of(fresh: TaskTrackerToken) -> Self {
        Self {
            began: AtomicBool::new(false),
            shakes_hands: AtomicBool::new(false),
            fresh: Mutex::new(Some(fresh)),
        }
    }

    fn is_used(&self) {
        drop(self.fresh.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

/// One request and its answer.
#[derive(Default)]
struct Exchange {
    head_arrived: AtomicBool,
    holds: OnceLock<Box<dyn Fn() -> bool + Send + Sync>>,
    bound: Notify,
    limit: OnceLock<Duration>,
    limited: Notify,
}

impl Exchange {
    async fn run<T>(&self, serving: impl Future<Output = Option<T>>, patience: Duration, look: Duration) -> Option<T> {
        let mut serving = pin!(serving);
        tokio::select! {
            biased;
            served = &mut serving => served,
            () = self.head_is_late(patience) => {
                debug!("no complete request head in time");
                None
            }
            () = self.session_ends(look) => {
                info!("an answer was cut, since its session has ended");
                None
            }
            () = self.time_is_over() => {
                warn!("an answer was cut after sites.upstream.total_timeout");
                None
            }
        }
    }

    async fn head_is_late(&self, patience: Duration) {
        sleep(patience).await;
        if self.head_arrived.load(Ordering::Acquire) {
            pending::<()>().await;
        }
    }

    async fn time_is_over(&self) {
        self.limited.notified().await;
        match self.limit.get() {
            // Silence until then has its own answer, which gets time to be sent.
            Some(limit) => sleep(*limit + LAST_WORDS).await,
            None => pending().await,
        }
    }

    async fn session_ends(&self, look: Duration) {
        self.bound.notified().await;
        let Some(holds) = self.holds.get() else {
            return pending().await;
        };
        while holds() {
            sleep(look).await;
        }
    }
}

fn note_handshake(shakes_hands: bool) {
    let _ = CONNECTION.try_with(|connection| {
        let shook = connection.shakes_hands.swap(shakes_hands, Ordering::AcqRel);
        // From here on a stop is told to the client by GOAWAY, which says what was still taken.
        if shook && !shakes_hands {
            connection.is_used();
        }
    });
}

tokio::task_local! {
    static CONNECTION: Arc<Connection>;
    static EXCHANGE: Arc<Exchange>;
}

/// For an error page to go out.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Browsers keep connections for longer, and most proxies for a minute.
const IDLE: Duration = Duration::from_secs(75);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use pingora::protocols::l4::stream::Stream as TcpStream;
    use pingora::services::listening::Service;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio::sync::watch;
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
            note_handshake(true);
            pending::<()>().await;
        };
        timeout(
            Duration::from_secs(5),
            app.run_connection(stuck, TaskTracker::new().token()),
        )
        .await
        .unwrap();
        let open = async {
            note_handshake(true);
            note_handshake(false);
            sleep(FIRST * 2).await;
        };
        let began = tokio::time::Instant::now();
        app.run_connection(open, TaskTracker::new().token()).await;
        assert!(began.elapsed() >= FIRST * 2);
    }
}
