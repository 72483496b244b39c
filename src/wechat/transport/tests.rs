#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::io::Write;
use std::sync::Mutex;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;
use crate::wechat::answer::read_json;
use crate::wechat::clock::ManualClock;
use crate::wechat::fake::{self, FakeWechat, Reply, settings};

const SECRET: &str = "5ecre7";

/// Keeps the results of all exchanges.
#[derive(Default)]
struct Recorder(Mutex<Vec<(Endpoint, &'static str)>>);

impl Observer for Recorder {
    fn called(&self, endpoint: Endpoint, result: CallResult, _elapsed: Duration) {
        self.0.lock().unwrap().push((endpoint, result.label()));
    }
}

fn transport(settings: &Wechat) -> Transport {
    Transport::new(settings).unwrap()
}

async fn call(transport: &Transport) -> Result<Value, WechatError> {
    let query = [("secret", SECRET), ("js_code", SECRET), ("access_token", SECRET)];
    let call = Call::get(Endpoint::CodeToSession, &query);
    transport.call(&call, &transport.deadline(), read_json).await
}

async fn fail(transport: &Transport) -> TransportFailure {
    let error = call(transport).await.unwrap_err();
    for text in [format!("{error}"), format!("{error:?}"), error.remedy().into_owned()] {
        assert!(!text.contains(SECRET) && !text.contains("js_code"), "{text}");
    }
    match error {
        WechatError::Transport { failure, .. } => failure,
        other => panic!("{other}"),
    }
}

fn quick(base: &str) -> Wechat {
    Wechat {
        timeout: Duration::from_millis(300),
        ..settings(base)
    }
}

/// Accepts connections, reads a piece of the request, writes this and hangs up. Counts the connections.
async fn hang_up_after(answer: &'static [u8]) -> (String, Arc<Mutex<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let count = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            *counted.lock().unwrap() += 1;
            let _ = connection.read(&mut [0; 4096]).await;
            let _ = connection.write_all(answer).await;
        }
    });
    (base, count)
}

async fn closed_port() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    format!("http://{}", listener.local_addr().unwrap())
}

#[tokio::test]
async fn json_sent_as_text_is_json() {
    let fake = FakeWechat::start().await;
    fake.on(Endpoint::CodeToSession, |_, _| Reply::Json(json!({"openid": "o1"})));
    assert_eq!(call(&transport(&fake.settings())).await.unwrap()["openid"], "o1");
}

#[tokio::test]
async fn a_base_address_with_a_path_is_kept() {
    let mut settings = settings("https://proxy.example.com/wechat/");
    let address = |settings: &Wechat| transport(settings).address(Endpoint::CodeToSession).to_string();
    assert_eq!(
        address(&settings),
        "https://proxy.example.com/wechat/sns/jscode2session"
    );
    settings.api_base = "https://api.weixin.qq.com".parse().unwrap();
    assert_eq!(address(&settings), "https://api.weixin.qq.com/sns/jscode2session");
}

#[tokio::test]
async fn silence_is_a_time_out_without_an_answer() {
    let fake = FakeWechat::start().await;
    fake.on(Endpoint::CodeToSession, |_, _| Reply::Silence);
    assert_eq!(
        fail(&transport(&quick(&fake.base))).await,
        TransportFailure::TimedOut { answered: false }
    );
    assert_eq!(fake.asked(Endpoint::CodeToSession).len(), 1);
}

#[tokio::test]
async fn a_slow_drip_is_a_time_out_within_the_answer() {
    let fake = FakeWechat::start().await;
    fake.on(Endpoint::CodeToSession, |_, _| Reply::Drip);
    assert_eq!(
        fail(&transport(&quick(&fake.base))).await,
        TransportFailure::TimedOut { answered: true }
    );
    assert_eq!(fake.asked(Endpoint::CodeToSession).len(), 1);
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let fake = FakeWechat::start().await;
    fake.on(Endpoint::CodeToSession, |_, _| Reply::Endless);
    let error = call(&transport(&fake.settings())).await.unwrap_err();
    assert!(
        matches!(
            error,
            WechatError::BadAnswer {
                reason: BadAnswer::TooLarge { limit: 65_536 },
                ..
            }
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let (fake, elsewhere) = (FakeWechat::start().await, FakeWechat::start().await);
    let target = format!("{}/sns/jscode2session", elsewhere.base);
    fake.on(Endpoint::CodeToSession, move |_, _| Reply::Redirect(target.clone()));
    let error = call(&transport(&fake.settings())).await.unwrap_err();
    assert!(
        matches!(
            error,
            WechatError::BadAnswer {
                reason: BadAnswer::Redirect { status: 302 },
                ..
            }
        ),
        "{error}"
    );
    assert!(elsewhere.asked(Endpoint::CodeToSession).is_empty());
}

#[tokio::test]
async fn a_connection_that_never_was_is_tried_twice_and_says_so() {
    let recorder = Arc::new(Recorder::default());
    let transport = transport(&settings(&closed_port().await)).observed_by(recorder.clone());
    let failure = fail(&transport).await;
    assert!(!failure.request_left(), "{failure:?}");
    assert_eq!(
        *recorder.0.lock().unwrap(),
        [(Endpoint::CodeToSession, "not_connected"); 2]
    );
}

#[tokio::test]
async fn a_failed_tls_handshake_sent_nothing() {
    let fake = FakeWechat::start().await;
    let failure = fail(&transport(&settings(&fake.base.replace("http:", "https:")))).await;
    assert!(!failure.request_left(), "{failure:?}");
}

#[tokio::test]
async fn a_connection_that_breaks_before_the_answer_is_not_tried_again() {
    let (base, count) = hang_up_after(b"").await;
    let failure = fail(&transport(&settings(&base))).await;
    assert!(
        matches!(failure, TransportFailure::Broken { answered: false, .. }),
        "{failure:?}"
    );
    assert!(failure.request_left());
    assert_eq!(*count.lock().unwrap(), 1);
}

#[tokio::test]
async fn a_kept_connection_that_breaks_does_not_send_a_code_twice() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let base = format!("http://{}", listener.local_addr().unwrap());
    let requests = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&requests);
    tokio::spawn(async move {
        while let Ok((mut connection, _)) = listener.accept().await {
            let mut buffer = [0; 4096];
            while matches!(connection.read(&mut buffer).await, Ok(length) if length > 0) {
                *counted.lock().unwrap() += 1;
                if *counted.lock().unwrap() > 1 {
                    break;
                }
                let _ = connection
                    .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
                    .await;
            }
        }
    });
    let transport = transport(&settings(&base));
    assert!(call(&transport).await.is_ok());
    let failure = fail(&transport).await;
    assert!(
        matches!(failure, TransportFailure::Broken { answered: false, .. }),
        "{failure:?}"
    );
    assert_eq!(*requests.lock().unwrap(), 2);
}

#[tokio::test]
async fn an_answer_that_breaks_off_is_not_used() {
    let (base, count) = hang_up_after(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"openid\":\"o1\"}").await;
    let failure = fail(&transport(&settings(&base))).await;
    assert!(
        matches!(failure, TransportFailure::Broken { answered: true, .. }),
        "{failure:?}"
    );
    assert_eq!(*count.lock().unwrap(), 1);
}

#[tokio::test]
async fn calls_go_through_the_egress_proxy() {
    let proxy = FakeWechat::start().await;
    proxy.on(Endpoint::CodeToSession, |_, _| {
        Reply::Json(json!({"openid": "by proxy"}))
    });
    let settings = Wechat {
        proxy: Some(proxy.base.clone().into()),
        ..settings("http://wechat.invalid")
    };
    assert_eq!(call(&transport(&settings)).await.unwrap()["openid"], "by proxy");
}

#[test]
fn a_proxy_that_is_no_address_is_refused_without_showing_it() {
    let settings = Wechat {
        proxy: Some("http://user:pa55word@:::".to_owned().into()),
        ..settings("http://a.invalid")
    };
    let error = Transport::new(&settings).unwrap_err();
    assert_eq!(error, TransportError::Proxy);
    assert!(!format!("{error} {error:?}").contains("pa55word"));
}

#[tokio::test]
async fn a_patient_call_waits_longer_each_time_and_stops_in_time() {
    let fake = FakeWechat::start().await;
    fake.on(Endpoint::UnlimitedCode, |_, _| fake::error(-1));
    let clock = ManualClock::at(1_790_000_000);
    let transport = fake.transport(clock.clone());
    let call = Call::post(Endpoint::UnlimitedCode, &[], &json!({})).unwrap();
    let result = transport
        .call_patiently(&call, &transport.deadline(), read_json::<Value>)
        .await;
    assert_eq!(result.unwrap_err().code(), Some(-1));
    assert_eq!(fake.asked(Endpoint::UnlimitedCode).len(), 4);
    assert_eq!(clock.elapsed(), Duration::from_millis(500 + 1000 + 2000));
}

/// A log that everything is written to, at the finest level.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn no_log_line_of_any_level_shows_a_secret() {
    let fake = FakeWechat::start().await;
    fake.on(Endpoint::CodeToSession, |_, nth| match nth {
        0 => Reply::Json(json!({"openid": "o1", "session_key": SECRET})),
        1 => Reply::Json(json!({"errcode": 40125, "errmsg": format!("bad secret {SECRET} rid: 1-2-3")})),
        _ => Reply::Now(500, "text/plain", SECRET.into()),
    });
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .finish();
    // Of this thread, and so of every task of this test: the HTTP client's own connections too.
    let guard = tracing::subscriber::set_default(subscriber);
    let reachable = transport(&fake.settings());
    for _ in 0..3 {
        let _ = call(&reachable).await;
    }
    let _ = call(&transport(&settings(&closed_port().await))).await;
    drop(guard);
    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(
        log.contains("called WeChat") && log.contains("40125") && log.contains("1-2-3"),
        "{log}"
    );
    assert!(!log.contains(SECRET), "{log}");
}
