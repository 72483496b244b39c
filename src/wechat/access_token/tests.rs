#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::sync::atomic::AtomicUsize;

use futures_util::future::join_all;
use tokio::sync::Barrier;

use super::*;
use crate::wechat::clock::ManualClock;
use crate::wechat::error::{Outcome, Refusal};
use crate::wechat::fake::{APP_ID, APP_SECRET, FakeWechat, Reply, error, token};

async fn start() -> (FakeWechat, Arc<ManualClock>, AccessTokens) {
    let fake = FakeWechat::start().await;
    let clock = ManualClock::at(1_790_000_000);
    let tokens = AccessTokens::new(fake.transport(clock.clone()), APP_ID, SecretString::from(APP_SECRET));
    (fake, clock, tokens)
}

fn fetches(fake: &FakeWechat) -> usize {
    fake.asked(Endpoint::StableToken).len()
}

fn forced(fake: &FakeWechat) -> Vec<bool> {
    fake.asked(Endpoint::StableToken)
        .iter()
        .map(|asked| asked.json()["force_refresh"].as_bool().unwrap())
        .collect()
}

async fn current(tokens: &AccessTokens) -> Result<String, WechatError> {
    tokens
        .current(&tokens.transport.deadline())
        .await
        .map(|token| token.expose().to_owned())
}

fn refused<T>(code: i64) -> Result<T, WechatError> {
    Err(WechatError::Refused(Refusal {
        endpoint: Endpoint::PhoneNumber,
        code,
        rid: None,
        address: None,
    }))
}

/// A call that accepts every token but these.
async fn call(tokens: &AccessTokens, bad: &[&str]) -> Result<String, WechatError> {
    tokens
        .call(&tokens.transport.deadline(), async |token| {
            if bad.contains(&token.expose()) {
                refused(40001)
            } else {
                Ok(token.expose().to_owned())
            }
        })
        .await
}

#[tokio::test]
async fn the_request_is_the_stable_one_and_forces_nothing() {
    let (fake, _, tokens) = start().await;
    assert_eq!(current(&tokens).await.unwrap(), "token-1");
    let asked = &fake.asked(Endpoint::StableToken)[0];
    assert_eq!(
        (asked.method.as_str(), asked.content_type.as_deref()),
        ("POST", Some("application/json"))
    );
    assert!(asked.query.is_empty());
    assert_eq!(
        asked.json(),
        serde_json::json!({
            "grant_type": "client_credential", "appid": APP_ID, "secret": APP_SECRET, "force_refresh": false
        })
    );
}

#[tokio::test]
async fn fifty_callers_fetch_one_token() {
    let (fake, _, tokens) = start().await;
    let all = join_all((0..50).map(|_| current(&tokens))).await;
    assert!(all.iter().all(|token| token.as_ref().unwrap() == "token-1"));
    assert_eq!(fetches(&fake), 1);
}

#[tokio::test]
async fn fifty_callers_share_one_failure() {
    let (fake, _, tokens) = start().await;
    fake.on(Endpoint::StableToken, |_, _| Reply::Now(503, "text/html", "".into()));
    let all = join_all((0..50).map(|_| current(&tokens))).await;
    assert!(
        all.iter()
            .all(|result| result.as_ref().unwrap_err().outcome() == Outcome::Unavailable)
    );
    // One caller's attempts: at 0, 0.5, 1.5 and 3.5 s of 5.
    assert_eq!(fetches(&fake), 4);
}

#[tokio::test]
async fn a_busy_wechat_is_asked_again_within_the_time_limit() {
    let (fake, clock, tokens) = start().await;
    fake.on(Endpoint::StableToken, |_, nth| {
        if nth < 2 { error(-1) } else { token("late", 7200) }
    });
    assert_eq!(current(&tokens).await.unwrap(), "late");
    assert_eq!(clock.elapsed(), Duration::from_millis(1500));
}

#[tokio::test]
async fn a_token_is_renewed_five_minutes_before_its_end() {
    let (fake, clock, tokens) = start().await;
    fake.on(Endpoint::StableToken, |_, nth| token(&format!("token-{nth}"), 7200));
    assert_eq!(current(&tokens).await.unwrap(), "token-0");
    clock.advance(Duration::from_secs(6839));
    assert_eq!(current(&tokens).await.unwrap(), "token-0");
    clock.advance(Duration::from_secs(62));
    assert_eq!(current(&tokens).await.unwrap(), "token-1");
    assert_eq!(forced(&fake), [false, false]);
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_used_to_its_end() {
    let (fake, clock, tokens) = start().await;
    current(&tokens).await.unwrap();
    fake.on(Endpoint::StableToken, |_, _| Reply::Now(503, "text/html", "".into()));
    clock.advance(Duration::from_secs(6950));
    assert_eq!(current(&tokens).await.unwrap(), "token-1");
    let after_first_try = fetches(&fake);
    assert_eq!(current(&tokens).await.unwrap(), "token-1");
    assert_eq!(fetches(&fake), after_first_try, "asked again at once");
    clock.advance(Duration::from_secs(300));
    assert_eq!(current(&tokens).await.unwrap_err().outcome(), Outcome::Unavailable);
}

#[tokio::test]
async fn a_token_near_its_end_is_not_fetched_in_a_loop() {
    let (fake, clock, tokens) = start().await;
    fake.on(Endpoint::StableToken, |_, _| token("old", 1));
    for _ in 0..20 {
        assert_eq!(current(&tokens).await.unwrap(), "old");
    }
    assert_eq!(fetches(&fake), 1);
    clock.advance(Duration::from_secs(11));
    current(&tokens).await.unwrap();
    assert_eq!(fetches(&fake), 2);
}

#[test]
fn a_token_is_renewed_early_but_never_at_once() {
    let seconds = |life, jitter| renew_after(Duration::from_secs(life), Duration::from_secs(jitter)).as_secs();
    assert_eq!(seconds(7200, 0), 6900);
    assert_eq!(seconds(7200, 60), 6840);
    assert_eq!(seconds(345, 0), 45);
    assert_eq!(seconds(345, 60), 30);
    assert_eq!(seconds(100, 30), 30);
    assert_eq!(seconds(40, 0), 20);
    assert_eq!(seconds(1, 60), 10);
    for _ in 0..100 {
        assert!(jitter() <= JITTER);
    }
}

#[tokio::test]
async fn a_refusal_of_the_installation_rests_the_token_call() {
    let (fake, clock, tokens) = start().await;
    fake.on(Endpoint::StableToken, |_, _| error(40164));
    let first = current(&tokens).await.unwrap_err();
    assert_eq!((first.code(), first.outcome()), (Some(40164), Outcome::Misconfigured));
    for _ in 0..10 {
        let error = current(&tokens).await.unwrap_err();
        assert!(matches!(error, WechatError::Paused { .. }), "{error}");
        assert_eq!(error.remedy(), first.remedy());
    }
    assert_eq!(fetches(&fake), 1);
    fake.on(Endpoint::StableToken, |_, _| token("repaired", 7200));
    clock.advance(Duration::from_secs(60));
    assert_eq!(current(&tokens).await.unwrap(), "repaired");
}

#[tokio::test]
async fn a_spent_day_quota_is_probed_every_ten_minutes() {
    let (fake, clock, tokens) = start().await;
    fake.on(Endpoint::StableToken, |_, _| error(45009));
    for _ in 0..12 {
        assert!(matches!(
            current(&tokens).await.unwrap_err().outcome(),
            Outcome::Busy { .. }
        ));
        clock.advance(Duration::from_secs(100));
    }
    assert_eq!(fetches(&fake), 2);
}

#[tokio::test]
async fn a_refused_token_is_replaced_and_the_call_made_once_more() {
    let (fake, _, tokens) = start().await;
    fake.on(Endpoint::StableToken, |_, nth| token(&format!("token-{nth}"), 7200));
    assert_eq!(call(&tokens, &["token-0"]).await.unwrap(), "token-1");
    assert_eq!(forced(&fake), [false, false]);
}

#[tokio::test]
async fn a_call_is_never_made_a_third_time() {
    let (fake, _, tokens) = start().await;
    fake.on(Endpoint::StableToken, |_, nth| token(&format!("token-{nth}"), 7200));
    for code in [40001, 40014, 42001] {
        let attempts = AtomicUsize::new(0);
        let result = tokens
            .call(&tokens.transport.deadline(), async |_| {
                attempts.fetch_add(1, Ordering::Relaxed);
                refused::<()>(code)
            })
            .await;
        assert_eq!(result.unwrap_err().code(), Some(code));
        assert_eq!(attempts.into_inner(), 2, "{code}");
    }
}

#[tokio::test]
async fn any_other_refusal_is_not_answered_with_a_new_token() {
    let (fake, _, tokens) = start().await;
    for code in [-1, 40013, 40029, 45011, 48001, 31337] {
        let attempts = AtomicUsize::new(0);
        let result = tokens
            .call(&tokens.transport.deadline(), async |_| {
                attempts.fetch_add(1, Ordering::Relaxed);
                refused::<()>(code)
            })
            .await;
        assert_eq!(result.unwrap_err().code(), Some(code));
        assert_eq!(attempts.into_inner(), 1, "{code}");
    }
    assert_eq!(fetches(&fake), 1);
}

#[tokio::test]
async fn callers_whose_token_was_refused_together_replace_it_once() {
    let (fake, _, tokens) = start().await;
    fake.on(Endpoint::StableToken, |_, nth| token(&format!("token-{nth}"), 7200));
    current(&tokens).await.unwrap();
    let barrier = Barrier::new(10);
    let deadline = tokens.transport.deadline();
    let attempt = async |token: AccessToken| {
        if token.expose() == "token-0" {
            barrier.wait().await;
            return refused(40001);
        }
        Ok(token.expose().to_owned())
    };
    let results = join_all((0..10).map(|_| tokens.call(&deadline, attempt))).await;
    assert!(results.iter().all(|result| result.as_ref().unwrap() == "token-1"));
    assert_eq!(fetches(&fake), 2);
}

#[tokio::test]
async fn a_late_refusal_of_an_old_token_does_not_drop_the_new_one() {
    let (fake, _, tokens) = start().await;
    fake.on(Endpoint::StableToken, |_, nth| token(&format!("token-{nth}"), 7200));
    let deadline = tokens.transport.deadline();
    let old = tokens.current(&deadline).await.unwrap();
    let new = tokens.replace(&old, &deadline).await.unwrap();
    assert_eq!(new.expose(), "token-1");
    assert_eq!(tokens.replace(&old, &deadline).await.unwrap().expose(), "token-1");
    assert_eq!(current(&tokens).await.unwrap(), "token-1");
    assert_eq!(fetches(&fake), 2);
}

#[tokio::test]
async fn a_new_token_is_forced_only_when_the_refused_one_comes_back_and_only_so_often() {
    let (fake, clock, tokens) = start().await;
    fake.on(Endpoint::StableToken, {
        let mut made = 1;
        move |asked, _| {
            made += usize::from(asked.json()["force_refresh"] == true);
            token(&format!("token-{made}"), 7200)
        }
    });
    assert_eq!(call(&tokens, &["token-1"]).await.unwrap(), "token-2");
    assert_eq!(forced(&fake), [false, false, true]);

    let held = call(&tokens, &["token-2"]).await.unwrap_err();
    let Outcome::Busy {
        retry_after: Some(retry_after),
    } = held.outcome()
    else {
        panic!("{held}")
    };
    assert_eq!(retry_after, Duration::from_secs(30));
    assert_eq!(forced(&fake), [false, false, true, false]);

    clock.advance(Duration::from_secs(30));
    assert_eq!(call(&tokens, &["token-2"]).await.unwrap(), "token-3");
    assert_eq!(forced(&fake), [false, false, true, false, false, true]);
}

#[tokio::test]
async fn a_spent_force_ration_does_not_stop_normal_fetches() {
    let (fake, clock, tokens) = start().await;
    fake.on(Endpoint::StableToken, |asked, _| {
        if asked.json()["force_refresh"] == true {
            error(45009)
        } else {
            token("token-1", 7200)
        }
    });
    assert_eq!(call(&tokens, &["token-1"]).await.unwrap_err().code(), Some(45009));
    assert_eq!(current(&tokens).await.unwrap(), "token-1");
    clock.advance(Duration::from_secs(60));
    let held = call(&tokens, &["token-1"]).await.unwrap_err();
    assert!(matches!(held, WechatError::TokenHeld { .. }), "{held}");
    assert_eq!(forced(&fake).iter().filter(|forced| **forced).count(), 1);
}

#[tokio::test]
async fn callers_whose_token_comes_back_again_try_together() {
    let (fake, clock, tokens) = start().await;
    // WeChat hands out what it refuses, and the ration was just used.
    fake.on(Endpoint::StableToken, |_, _| token("token-1", 7200));
    let spent = call(&tokens, &["token-1"]).await.unwrap_err();
    assert!(spent.rejects_token(), "{spent}");
    assert_eq!(forced(&fake), [false, false, true]);
    clock.advance(Duration::from_secs(10));
    let barrier = Barrier::new(20);
    let deadline = tokens.transport.deadline();
    let attempt = async |_| {
        barrier.wait().await;
        refused::<()>(40001)
    };
    let results = join_all((0..20).map(|_| tokens.call(&deadline, attempt))).await;
    for result in results {
        let held = result.unwrap_err();
        assert!(matches!(held, WechatError::TokenHeld { .. }), "{held}");
    }
    assert_eq!(forced(&fake), [false, false, true, false], "each asked for itself");
}

#[tokio::test]
async fn an_operators_fault_that_shows_when_forcing_rests_the_call_too() {
    let (fake, _, tokens) = start().await;
    fake.on(Endpoint::StableToken, |asked, _| {
        if asked.json()["force_refresh"] == true {
            error(40164)
        } else {
            token("token-1", 7200)
        }
    });
    assert_eq!(call(&tokens, &["token-1"]).await.unwrap_err().code(), Some(40164));
    assert_eq!(tokens.breaker().resting()[0].code, 40164);
}

#[test]
fn twenty_forced_renewals_a_day_are_the_most() {
    let mut guard = ForceGuard::default();
    let start = Instant::now();
    let at = |seconds| start + Duration::from_secs(seconds);
    assert_eq!(guard.admit(at(0)), Ok(()));
    assert_eq!(guard.admit(at(29)), Err(Duration::from_secs(1)));
    for nth in 1..20 {
        assert_eq!(guard.admit(at(nth * 30)), Ok(()), "{nth}");
    }
    assert_eq!(guard.admit(at(3600)), Err(Duration::from_secs(86_400 - 3600)));
    assert_eq!(guard.admit(at(86_400)), Ok(()));
    assert_eq!(guard.admit(at(86_400 + 29)), Err(Duration::from_secs(1)));
}

#[tokio::test]
async fn what_cannot_be_a_token_is_not_one() {
    let (fake, _, tokens) = start().await;
    let long = "a".repeat(3000);
    for text in ["", "a b", "a\nb", "令牌", &long] {
        let text = text.to_owned();
        fake.on(Endpoint::StableToken, move |_, _| token(&text, 7200));
        assert!(matches!(current(&tokens).await, Err(WechatError::BadAnswer { .. })));
    }
    fake.on(Endpoint::StableToken, |_, _| token("token", -5));
    assert!(matches!(current(&tokens).await, Err(WechatError::BadAnswer { .. })));
}

#[tokio::test]
async fn tokens_and_secrets_are_in_no_debug_output() {
    let (_fake, _, tokens) = start().await;
    current(&tokens).await.unwrap();
    let shown = format!("{tokens:?} {:?}", tokens.held.load());
    assert!(!shown.contains("token-1") && !shown.contains(APP_SECRET), "{shown}");
}
