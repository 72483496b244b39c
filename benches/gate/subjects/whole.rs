//! The whole gate: what Pingora's hooks do between a request's head and the head that goes to the upstream, for a
//! request that a client's connection really brought.

use std::future::Future;
use std::hint::black_box;
use std::io::Cursor;
use std::sync::Arc;

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use menshen::proxy::front::Part;
use menshen::proxy::hooks::Hooks;
use menshen::proxy::watch::Patience;
use menshen::telemetry::metrics::Metrics;
use pingora::http::ResponseHeader;
use pingora::proxy::{ProxyHttp, Session};

use super::{BROWSER, Subject};
use crate::support::World;
use crate::support::world::SITE;

pub fn all(world: &World) -> Vec<Subject> {
    let cookie = &cookie(world);
    let head = request(world, "/reports/2026/q3", cookie).req_header().clone();
    vec![
        // Which Pingora makes for every request, with or without a gate.
        Subject::new("whole gate", "the clone of the head alone", move || {
            black_box(black_box(&head).clone());
        }),
        forwarded("a session, to the upstream", world, "/reports/2026/q3", cookie),
        forwarded("a public route, to the upstream", world, "/public/app.js", ""),
        returned(world, cookie),
        answered(world, "/page"),
    ]
}

/// Of somebody whose session this installation has sealed: a login by phone takes minutes under valgrind.
fn cookie(world: &World) -> String {
    let (snapshot, now) = (world.snapshot(), world.clock.now());
    let mut session = super::parts::session();
    session.expires_at = now + 86_400;
    session.renewed_at = now;
    session.known_at = now;
    let sealed = session.seal(&snapshot.keyring.sealing, NAME, SITE, now);
    format!("{NAME}={}", sealed.expect("a cookie"))
}

fn forwarded(name: &'static str, world: &World, path: &str, cookie: &str) -> Subject {
    let hooks = hooks(world);
    let mut session = request(world, path, cookie);
    Subject::new("whole gate", name, move || {
        let mut ctx = hooks.new_ctx();
        let answered = at_once(hooks.request_filter(&mut session, &mut ctx)).expect("no error");
        assert!(!answered, "the request is for the upstream");
        // Pingora's own clone.
        let mut upstream = session.req_header().clone();
        at_once(hooks.upstream_request_filter(&mut session, &mut upstream, &mut ctx)).expect("no error");
        black_box(upstream);
    })
}

fn returned(world: &World, cookie: &str) -> Subject {
    let hooks = hooks(world);
    let mut session = request(world, "/reports/2026/q3", cookie);
    let mut ctx = hooks.new_ctx();
    at_once(hooks.request_filter(&mut session, &mut ctx)).expect("no error");
    let mut answer = ResponseHeader::build(200, None).expect("a head");
    for (name, value) in [
        ("content-type", "text/html; charset=utf-8"),
        ("cache-control", "private, max-age=60"),
        ("content-length", "1024"),
    ] {
        answer.insert_header(name, value).expect("a header");
    }
    Subject::new("whole gate", "an answer, to the client", move || {
        let mut answer = answer.clone();
        at_once(hooks.response_filter(&mut session, &mut answer, &mut ctx)).expect("no error");
        black_box(answer);
    })
}

/// A click without a session. A connection has one answer to each head, so that the head is read as well.
fn answered(world: &World, path: &'static str) -> Subject {
    let hooks = hooks(world);
    let received = received(world, path, "");
    Subject::new("whole gate", "a login page, to the client", move || {
        let mut session = read(received.clone());
        let mut ctx = hooks.new_ctx();
        let answered = at_once(hooks.request_filter(&mut session, &mut ctx)).expect("no error");
        let status = session.response_written().map(|head| head.status.as_u16());
        assert_eq!((answered, status), (true, Some(401)));
        black_box(session);
    })
}

fn hooks(world: &World) -> Hooks {
    Hooks {
        snapshot: Arc::new(ArcSwap::from(world.snapshot())),
        metrics: Arc::new(Metrics::new().expect("metrics")),
        traces: None,
        part: Part {
            redirect_to_https: false,
            public_url_only: false,
        },
        patience: Patience::default(),
    }
}

fn request(world: &World, path: &str, cookie: &str) -> Session {
    read(received(world, path, cookie))
}

/// As it comes on a connection.
fn received(world: &World, path: &str, cookie: &str) -> Vec<u8> {
    let mut head = format!("GET {path} HTTP/1.1\r\n");
    for (name, value) in BROWSER {
        let authority = world.authority(SITE);
        let own = format!("{value}; {cookie}");
        let value = match name {
            "host" => &authority,
            "cookie" if !cookie.is_empty() => &own,
            _ => value,
        };
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    head.into_bytes()
}

fn read(head: Vec<u8>) -> Session {
    let mut session = Session::new_h1(Box::new(Cursor::new(head)));
    let read = session.as_downstream_mut().read_request().now_or_never();
    read.expect("the head is there").expect("a request");
    session
}

/// Nothing on this way waits for anything; if something did, every request would.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    future.now_or_never().expect("it waits for nothing")
}

const NAME: &str = "menshen";
