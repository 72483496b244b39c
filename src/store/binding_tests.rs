#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures_util::future::join_all;

use super::super::fixtures::{self, NOW, TestStore, scan};
use super::super::{NewUser, TicketState};
use super::*;

const ID: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";
const PHONE: &str = "+8613800138000";

fn handle() -> Vec<u8> {
    scan(ID, "o1").handle_hash
}

fn at(user_id: Option<&str>, now: i64) -> AttemptAt<'_> {
    AttemptAt {
        ticket: ID,
        user_id,
        method: "password",
        ticket_limit: 5,
        window_start: now - 3_600,
        now,
    }
}

/// A ticket whose browser chooses, and two users.
async fn choosing() -> TestStore {
    let store = fixtures::store().await;
    assert!(store.ticket_scan(&scan(ID, "o1")).await.unwrap());
    assert!(store.ticket_set_browser(ID, "{}").await.unwrap());
    assert!(store.ticket_mark_shown(ID, &handle(), None).await.unwrap());
    assert!(store.ticket_lease(ID, &handle(), "lease", NOW + 15, NOW).await.unwrap());
    let binding = Binding {
        choice: Some(47),
        phone: Some(PHONE),
        user_id: None,
        now: NOW + 1,
        expires_at: NOW + 601,
    };
    assert!(!store.ticket_bind(ID, "another lease", &binding).await.unwrap());
    assert!(store.ticket_bind(ID, "lease", &binding).await.unwrap());
    assert!(!store.ticket_bind(ID, "lease", &binding).await.unwrap(), "twice");
    fixtures::user(&store, "u_1").await;
    fixtures::user(&store, "u_2").await;
    store
}

async fn in_tx<T>(store: &Store, work: impl AsyncFnOnce(&mut WriteTx) -> T) -> T {
    let mut tx = store.begin().await.unwrap();
    let result = work(&mut tx).await;
    tx.commit().await.unwrap();
    result
}

async fn propose(store: &Store, user_id: &str, now: i64) -> bool {
    in_tx(store, async |tx| tx.ticket_propose(ID, user_id, now).await.unwrap()).await
}

async fn phones_kept(store: &Store) -> i64 {
    fixtures::number(store, "SELECT count(*) FROM tickets WHERE phone IS NOT NULL").await
}

fn bound<'a>(user_id: &'a str, accepted_by: Option<&'a [u8]>) -> Bound<'a> {
    Bound {
        user_id,
        accepted_by,
        phone_note: None,
        now: NOW + 30,
        expires_at: NOW + 90,
    }
}

#[tokio::test]
async fn a_ticket_in_bind_waits_as_long_as_it_was_told_and_keeps_the_number() {
    let store = choosing().await;
    let ticket = store.ticket(ID).await.unwrap().unwrap();
    assert_eq!((ticket.state, ticket.choice), (TicketState::Bind, Some(47)));
    assert_eq!((ticket.expires_at, ticket.lease.as_ref()), (NOW + 601, None));
    let kept = in_tx(&store, async |tx| tx.ticket_phone(ID).await.unwrap()).await;
    assert_eq!(kept.as_deref(), Some(PHONE));
    assert!(!format!("{ticket:?}").contains("1380"), "a number in a log");
}

#[tokio::test]
async fn of_fifty_attempts_at_once_five_may_be_looked_at() {
    let store = choosing().await;
    let attempts = (0..50).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.count_attempt(&at(Some("u_1"), NOW + 2)).await.unwrap() })
    });
    let mut counted: Vec<_> = join_all(attempts)
        .await
        .into_iter()
        .filter_map(Result::unwrap)
        .map(|attempt| (attempt.of_ticket, attempt.of_account))
        .collect();
    counted.sort_unstable();
    assert_eq!(counted, [(1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]);
}

#[tokio::test]
async fn an_account_counts_by_method_for_an_hour_from_the_first() {
    let store = choosing().await;
    let count = async |user_id, now| {
        store
            .execute(sqlx::query(
                "UPDATE tickets SET proof_failures = 0, expires_at = expires_at + 9000",
            ))
            .await
            .unwrap();
        store
            .count_attempt(&at(user_id, now))
            .await
            .unwrap()
            .unwrap()
            .of_account
    };
    assert_eq!(count(Some("u_1"), NOW).await, 1);
    assert_eq!(count(Some("u_1"), NOW + 3_599).await, 2);
    assert_eq!(count(Some("u_2"), NOW + 3_599).await, 1);
    assert_eq!(count(None, NOW + 3_599).await, 0);
    assert_eq!(count(Some("deleted meanwhile"), NOW + 3_599).await, 0);
    assert_eq!(
        count(Some("u_1"), NOW + 3_600).await,
        1,
        "an hour after the first it begins anew"
    );
    let other = AttemptAt {
        method: "bind_code",
        ..at(Some("u_1"), NOW + 3_601)
    };
    assert_eq!(store.count_attempt(&other).await.unwrap().unwrap().of_account, 1);
    in_tx(&store, async |tx| {
        tx.uncount_attempts(ID, "u_1", "password").await.unwrap();
    })
    .await;
    assert_eq!(count(Some("u_1"), NOW + 3_602).await, 1);
    // What no hour holds any more is forgotten.
    store.sweep_bindings(NOW, NOW + 9_999).await.unwrap();
    assert_eq!(fixtures::number(&store, "SELECT count(*) FROM proof_failures").await, 0);
}

#[tokio::test]
async fn only_a_ticket_that_waits_for_an_account_takes_an_attempt_or_an_account() {
    let store = choosing().await;
    assert_eq!(store.count_attempt(&at(None, NOW + 601)).await.unwrap(), None, "over");
    assert!(!propose(&store, "u_1", NOW + 601).await, "over");
    assert!(propose(&store, "u_1", NOW + 2).await);
    assert!(
        !propose(&store, "u_2", NOW + 2).await,
        "another account under the phone's eyes"
    );
    assert_eq!(store.count_attempt(&at(None, NOW + 2)).await.unwrap(), None);
}

#[tokio::test]
async fn only_the_handle_that_was_shown_the_account_accepts_it() {
    let store = choosing().await;
    let accept = async |user_id, handle_hash: &[u8]| {
        in_tx(&store, async |tx| {
            tx.ticket_bound(ID, &bound(user_id, Some(handle_hash))).await.unwrap()
        })
        .await
    };
    assert!(!accept("u_1", &handle()).await, "nothing was proven");
    assert!(propose(&store, "u_1", NOW + 2).await);
    assert!(!accept("u_1", &handle()).await, "not shown yet");
    // An answer that was on its way when the account was proven did not carry it.
    assert!(!store.ticket_mark_shown(ID, &handle(), None).await.unwrap());
    assert!(!accept("u_1", &handle()).await);
    assert!(store.ticket_mark_shown(ID, &handle(), Some("u_1")).await.unwrap());
    assert!(!accept("u_2", &handle()).await, "another account");
    assert!(!accept("u_1", b"an older handle").await);
    // Nobody makes a new account where one was proven.
    assert!(
        !in_tx(&store, async |tx| tx
            .ticket_bound(ID, &bound("u_2", None))
            .await
            .unwrap())
        .await
    );
    assert!(accept("u_1", &handle()).await);
    assert!(!accept("u_1", &handle()).await, "twice");
    let ticket = store.ticket(ID).await.unwrap().unwrap();
    assert_eq!(
        (ticket.state, ticket.user_id.as_deref()),
        (TicketState::Confirmed, Some("u_1"))
    );
    assert_eq!((ticket.expires_at, ticket.confirmed_at), (NOW + 90, Some(NOW + 30)));
    assert_eq!(phones_kept(&store).await, 0);
}

#[tokio::test]
async fn the_number_is_gone_with_every_end() {
    let store = choosing().await;
    let from = [TicketState::Bind];
    assert!(
        store
            .ticket_end(ID, &from, TicketState::Cancelled, None, None, NOW + 9)
            .await
            .unwrap()
    );
    assert_eq!(phones_kept(&store).await, 0);

    let store = choosing().await;
    assert!(
        in_tx(&store, async |tx| tx
            .ticket_bound(ID, &bound("u_1", None))
            .await
            .unwrap())
        .await
    );
    assert_eq!(phones_kept(&store).await, 0);

    let store = choosing().await;
    store.sweep_bindings(NOW + 600, 0).await.unwrap();
    assert_eq!(phones_kept(&store).await, 1, "it still waits");
    store.sweep_bindings(NOW + 601, 0).await.unwrap();
    assert_eq!(phones_kept(&store).await, 0);
}

#[tokio::test]
async fn the_newest_live_code_proves_once() {
    let store = choosing().await;
    fixtures::bind_code(&store, "old", "u_1", "hash of old", NOW).await;
    fixtures::bind_code(&store, "new", "u_1", "hash of new", NOW + 9).await;
    fixtures::password(&store, "u_1", "hash of password").await;
    let code = async |now| {
        store
            .account_proofs("u_1", now)
            .await
            .unwrap()
            .bind_code
            .map(|code| code.id)
    };
    assert_eq!(code(NOW + 10).await.as_deref(), Some("new"));
    assert_eq!(
        store.account_proofs("u_1", NOW).await.unwrap().password_hash.as_deref(),
        Some("hash of password")
    );
    let spends = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { in_tx(&store, async |tx| tx.spend_bind_code("new", NOW + 11).await.unwrap()).await })
    });
    let won = join_all(spends)
        .await
        .into_iter()
        .filter(|won| *won.as_ref().unwrap())
        .count();
    assert_eq!(won, 1);
    assert_eq!(code(NOW + 12).await.as_deref(), Some("old"));
    assert_eq!(code(NOW + 3_600).await, None, "expired");
    assert!(!in_tx(&store, async |tx| tx.spend_bind_code("old", NOW + 3_600).await.unwrap()).await);
    let nobody = store.account_proofs("u_2", NOW).await.unwrap();
    assert!(nobody.bind_code.is_none() && nobody.password_hash.is_none() && !nobody.service);
}

#[tokio::test]
async fn an_address_names_a_user_if_it_is_only_theirs() {
    let store = fixtures::store().await;
    for (id, email) in [
        ("u_1", "Wang@Example.com"),
        ("u_2", "shared@example.com"),
        ("u_3", "SHARED@example.com"),
    ] {
        let new = NewUser {
            id: id.to_owned(),
            email: Some(email.to_owned()),
            created_at: NOW,
            ..NewUser::default()
        };
        store.insert_user(&new).await.unwrap();
    }
    let by = async |email| store.user_by_email(email).await.unwrap().map(|user| user.id);
    assert_eq!(by("wang@example.COM").await.as_deref(), Some("u_1"));
    assert_eq!(by("shared@example.com").await, None);
    assert_eq!(by("nobody@example.com").await, None);
    assert_eq!(by("").await, None);
}

#[tokio::test]
async fn bind_codes_that_ran_out_are_swept() {
    let store = fixtures::store().await;
    fixtures::user(&store, "u_1").await;
    fixtures::bind_code(&store, "b_1", "u_1", "hash", NOW).await;
    store.sweep_bindings(NOW + 3_599, 0).await.unwrap();
    assert_eq!(fixtures::bind_code_hashes(&store).await.len(), 1);
    store.sweep_bindings(NOW + 3_600, 0).await.unwrap();
    assert!(fixtures::bind_code_hashes(&store).await.is_empty());
}

/// A ticket whose phone is about to be shown the account of `u_1`, who holds the session `s1`.
async fn connecting() -> TestStore {
    let store = fixtures::store().await;
    fixtures::user(&store, "u_1").await;
    fixtures::user(&store, "u_2").await;
    store.insert_session(&fixtures::session("s1", "u_1")).await.unwrap();
    assert!(store.ticket_scan(&scan(ID, "o1")).await.unwrap());
    assert!(store.ticket_set_browser(ID, "{}").await.unwrap());
    assert!(store.ticket_mark_shown(ID, &handle(), None).await.unwrap());
    assert!(store.ticket_lease(ID, &handle(), "lease", NOW + 15, NOW).await.unwrap());
    let binding = Binding {
        choice: Some(47),
        phone: Some(PHONE),
        user_id: Some("u_1"),
        now: NOW + 1,
        expires_at: NOW + 121,
    };
    assert!(store.ticket_bind(ID, "lease", &binding).await.unwrap());
    store
}

fn holding<'a>(user_id: &'a str, session_id: &'a str, now: i64) -> Holding<'a> {
    Holding {
        user_id,
        session_id,
        now,
    }
}

async fn connected(store: &Store, holding: Holding<'_>) -> bool {
    in_tx(store, async |tx| tx.ticket_connected(ID, holding).await.unwrap()).await
}

#[tokio::test]
async fn a_phone_agrees_to_connect_only_after_it_was_shown_to_whom() {
    let store = connecting().await;
    let agree = async |user_id, handle: &[u8]| store.ticket_agree(ID, &bound(user_id, Some(handle))).await.unwrap();
    assert!(!agree("u_1", &handle()).await, "not shown yet");
    assert!(store.ticket_mark_shown(ID, &handle(), Some("u_1")).await.unwrap());
    assert!(!agree("u_2", &handle()).await);
    assert!(!agree("u_1", b"another handle").await);
    assert!(!store.ticket_agree(ID, &bound("u_1", None)).await.unwrap());
    assert!(agree("u_1", &handle()).await);
    assert!(!agree("u_1", &handle()).await, "twice");
    assert_eq!(phones_kept(&store).await, 1, "the number is needed at the end");
}

#[tokio::test]
async fn a_ticket_connects_once_for_the_session_that_asked_and_in_time() {
    let store = connecting().await;
    assert!(
        !connected(&store, holding("u_1", "s1", NOW + 31)).await,
        "the phone has not agreed"
    );
    assert!(store.ticket_mark_shown(ID, &handle(), Some("u_1")).await.unwrap());
    assert!(store.ticket_agree(ID, &bound("u_1", Some(&handle()))).await.unwrap());
    store.insert_session(&fixtures::session("s2", "u_2")).await.unwrap();
    for (user_id, session_id, at) in [
        ("u_1", "s2", NOW + 31),
        ("u_2", "s2", NOW + 31),
        ("u_1", "unknown", NOW + 31),
        ("u_1", "s1", NOW + 90),
    ] {
        assert!(
            !connected(&store, holding(user_id, session_id, at)).await,
            "{user_id} {session_id} {at}"
        );
    }
    let attempts = (0..20).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { connected(&store, holding("u_1", "s1", NOW + 31)).await })
    });
    let won = join_all(attempts)
        .await
        .into_iter()
        .filter(|won| *won.as_ref().unwrap())
        .count();
    assert_eq!(won, 1);
    let ticket = store.ticket(ID).await.unwrap().unwrap();
    assert_eq!((ticket.state, ticket.session_id), (TicketState::Redeemed, None));
    assert_eq!(phones_kept(&store).await, 0);
}

#[tokio::test]
async fn a_session_that_has_ended_connects_nothing() {
    let store = connecting().await;
    assert!(store.ticket_mark_shown(ID, &handle(), Some("u_1")).await.unwrap());
    assert!(store.ticket_agree(ID, &bound("u_1", Some(&handle()))).await.unwrap());
    assert!(store.end_session("s1", "logout", NOW + 30).await.unwrap());
    assert!(!connected(&store, holding("u_1", "s1", NOW + 31)).await);
    assert_eq!(store.ticket(ID).await.unwrap().unwrap().state, TicketState::Confirmed);
}
