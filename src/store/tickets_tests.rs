#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures_util::future::join_all;

use super::super::fixtures::{self, NOW, TestStore, scan, session};
use super::*;

const ID: &str = "AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

fn handle(openid: &str) -> Vec<u8> {
    scan(ID, openid).handle_hash
}

fn rescan(openid: &str, handle: &str) -> Rescan {
    Rescan {
        app_id: "wx1".to_owned(),
        openid: openid.to_owned(),
        handle_hash: handle.as_bytes().to_vec(),
        entry: None,
        phone_address: "203.0.113.8".to_owned(),
        phone_agent: "later".to_owned(),
        now: NOW + 20,
        expires_at: NOW + 140,
    }
}

fn confirmation(user_id: &str) -> Confirmation {
    Confirmation {
        user_id: user_id.to_owned(),
        choice: Some(47),
        phone_note: Some("taken".to_owned()),
        confirmed_at: NOW + 30,
        expires_at: NOW + 90,
    }
}

async fn scanned() -> TestStore {
    let store = fixtures::store().await;
    assert!(store.ticket_scan(&scan(ID, "o1")).await.unwrap());
    store
}

async fn confirmed() -> TestStore {
    let store = scanned().await;
    fixtures::user(&store, "u_1").await;
    assert!(
        store
            .ticket_lease(ID, &handle("o1"), "lease", NOW + 40, NOW + 25)
            .await
            .unwrap()
    );
    assert!(store.ticket_confirm(ID, "lease", &confirmation("u_1")).await.unwrap());
    store
}

async fn read(store: &Store) -> Ticket {
    store.ticket(ID).await.unwrap().unwrap()
}

#[tokio::test]
async fn of_fifty_phones_that_scan_at_once_one_has_the_ticket() {
    let store = fixtures::store().await;
    let scans = (0..50).map(|phone| {
        let store = store.clone();
        tokio::spawn(async move { store.ticket_scan(&scan(ID, &format!("o{phone}"))).await.unwrap() })
    });
    let won: Vec<_> = join_all(scans).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    let winner = won.iter().position(|won| *won).unwrap();
    assert_eq!(read(&store).await.openid, format!("o{winner}"));
}

#[tokio::test]
async fn of_fifty_redemptions_at_once_one_makes_a_session() {
    let store = confirmed().await;
    let redemptions = (0..50).map(|browser| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .ticket_redeem(ID, NOW + 31, &session(&format!("s{browser}"), "u_1"))
                .await
                .unwrap()
        })
    });
    let won: Vec<_> = join_all(redemptions).await.into_iter().map(Result::unwrap).collect();
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    let winner = won.iter().position(|won| *won).unwrap();
    let ticket = read(&store).await;
    assert_eq!(
        (ticket.state, ticket.session_id),
        (TicketState::Redeemed, Some(format!("s{winner}")))
    );
    let sessions = store.sessions_of("u_1", NOW).await.unwrap();
    assert_eq!(
        sessions.iter().map(|session| session.id.clone()).collect::<Vec<_>>(),
        [format!("s{winner}")]
    );
    assert_eq!(store.user("u_1").await.unwrap().unwrap().last_login_at, Some(NOW + 31));
}

#[tokio::test]
async fn a_session_that_cannot_be_recorded_leaves_the_ticket_unspent() {
    let store = confirmed().await;
    store.insert_session(&session("s1", "u_1")).await.unwrap();
    let error = store
        .ticket_redeem(ID, NOW + 31, &session("s1", "u_1"))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::Conflict { what: "id" }), "{error:?}");
    assert_eq!(read(&store).await.state, TicketState::Confirmed);
    assert!(store.ticket_redeem(ID, NOW + 32, &session("s2", "u_1")).await.unwrap());
}

#[tokio::test]
async fn a_ticket_is_redeemed_in_time_for_its_own_enabled_user_only() {
    let store = confirmed().await;
    fixtures::user(&store, "u_2").await;
    assert!(
        !store.ticket_redeem(ID, NOW + 31, &session("s1", "u_2")).await.unwrap(),
        "another user"
    );
    assert!(
        !store.ticket_redeem(ID, NOW + 90, &session("s1", "u_1")).await.unwrap(),
        "too late"
    );
    assert!(store.set_disabled("u_1", true, "left", NOW + 31).await.unwrap());
    assert!(
        !store.ticket_redeem(ID, NOW + 31, &session("s1", "u_1")).await.unwrap(),
        "disabled"
    );
    assert_eq!(read(&store).await.state, TicketState::Confirmed);
    assert!(store.session("s1").await.unwrap().is_none());
}

#[tokio::test]
async fn everything_that_a_phone_said_comes_back() {
    let store = confirmed().await;
    let expected = Ticket {
        id: ID.to_owned(),
        connection: "staff".to_owned(),
        state: TicketState::Confirmed,
        app_id: "wx1".to_owned(),
        openid: "o1".to_owned(),
        unionid: None,
        browser: None,
        shown: false,
        handle_hash: handle("o1"),
        entry: Some(1047),
        user_id: Some("u_1".to_owned()),
        choice: Some(47),
        phone_note: Some("taken".to_owned()),
        error: None,
        reason: None,
        phone_address: "203.0.113.7".to_owned(),
        phone_agent: "MicroMessenger".to_owned(),
        created_at: NOW - 10,
        scanned_at: NOW,
        confirmed_at: Some(NOW + 30),
        ended_at: None,
        expires_at: NOW + 90,
        session_id: None,
        lease: None,
        lease_until: None,
        proof_failures: 0,
    };
    assert_eq!(read(&store).await, expected);
    assert_eq!(store.ticket_by_handle(&handle("o1")).await.unwrap(), Some(expected));
}

#[tokio::test]
async fn the_same_person_scans_again_and_the_old_handle_dies() {
    let store = scanned().await;
    assert!(store.ticket_set_browser(ID, "{}").await.unwrap());
    assert!(store.ticket_mark_shown(ID, &handle("o1"), None).await.unwrap());
    assert!(store.ticket_rescan(ID, &rescan("o1", "new")).await.unwrap());
    let ticket = read(&store).await;
    assert_eq!(
        (ticket.shown, ticket.expires_at, ticket.entry),
        (false, NOW + 140, Some(1047)),
        "opened again, it is what it was"
    );
    let by_link = Rescan {
        entry: Some(1194),
        ..rescan("o1", "new")
    };
    assert!(store.ticket_rescan(ID, &by_link).await.unwrap());
    assert_eq!(read(&store).await.entry, Some(1194));
    assert_eq!((ticket.phone_address.as_str(), ticket.scanned_at), ("203.0.113.8", NOW));
    assert!(store.ticket_by_handle(&handle("o1")).await.unwrap().is_none());
    assert!(store.ticket_by_handle(b"new").await.unwrap().is_some());
    assert!(!store.ticket_mark_shown(ID, &handle("o1"), None).await.unwrap());
    assert!(
        !store
            .ticket_lease(ID, &handle("o1"), "lease", NOW + 40, NOW + 25)
            .await
            .unwrap()
    );
}

#[tokio::test]
async fn nobody_else_scans_again_and_nobody_does_when_it_is_over() {
    let store = scanned().await;
    assert!(
        !store.ticket_rescan(ID, &rescan("o2", "new")).await.unwrap(),
        "another person"
    );
    let other_app = Rescan {
        app_id: "wx2".to_owned(),
        ..rescan("o1", "new")
    };
    assert!(
        !store.ticket_rescan(ID, &other_app).await.unwrap(),
        "the same openid of another app"
    );
    let late = Rescan {
        now: NOW + 120,
        ..rescan("o1", "new")
    };
    assert!(!store.ticket_rescan(ID, &late).await.unwrap(), "too late");
    assert!(
        store
            .ticket_end(ID, &[TicketState::Scanned], TicketState::Cancelled, None, None, NOW + 5)
            .await
            .unwrap()
    );
    assert!(
        !store.ticket_rescan(ID, &rescan("o1", "new")).await.unwrap(),
        "cancelled"
    );
}

#[tokio::test]
async fn scanning_again_after_the_confirmation_does_not_prolong_it() {
    let store = confirmed().await;
    assert!(
        store
            .ticket_rescan(
                ID,
                &Rescan {
                    now: NOW + 40,
                    ..rescan("o1", "new")
                }
            )
            .await
            .unwrap()
    );
    assert_eq!(read(&store).await.expires_at, NOW + 90);
}

#[tokio::test]
async fn the_browser_says_once_what_is_shown_and_shown_it_must_be() {
    let store = scanned().await;
    assert!(
        !store.ticket_mark_shown(ID, &handle("o1"), None).await.unwrap(),
        "nothing to show yet"
    );
    assert!(store.ticket_set_browser(ID, r#"{"site":"Wiki"}"#).await.unwrap());
    assert!(!store.ticket_set_browser(ID, r#"{"site":"Bank"}"#).await.unwrap());
    assert!(!store.ticket_mark_shown(ID, b"another", None).await.unwrap());
    assert!(store.ticket_mark_shown(ID, &handle("o1"), None).await.unwrap());
    let ticket = read(&store).await;
    assert_eq!(
        (ticket.browser.as_deref(), ticket.shown),
        (Some(r#"{"site":"Wiki"}"#), true)
    );
}

#[tokio::test]
async fn of_fifty_confirmations_at_once_one_goes_on() {
    let store = scanned().await;
    let leases = (0..50).map(|attempt| {
        let store = store.clone();
        tokio::spawn(async move {
            store
                .ticket_lease(ID, &handle("o1"), &format!("l{attempt}"), NOW + 15, NOW + 5)
                .await
                .unwrap()
        })
    });
    let won = join_all(leases)
        .await
        .into_iter()
        .filter(|won| *won.as_ref().unwrap())
        .count();
    assert_eq!(won, 1);
}

#[tokio::test]
async fn a_lease_is_free_again_when_it_is_given_up_or_runs_out() {
    let store = scanned().await;
    let lease = |name, until, now| {
        store.ticket_lease(
            ID,
            b"handle of o1 on AQAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            name,
            until,
            now,
        )
    };
    assert!(lease("a", NOW + 15, NOW + 5).await.unwrap());
    assert!(!lease("b", NOW + 16, NOW + 6).await.unwrap());
    store.ticket_release(ID, "b").await.unwrap();
    assert!(
        !lease("b", NOW + 16, NOW + 6).await.unwrap(),
        "released by somebody else"
    );
    store.ticket_release(ID, "a").await.unwrap();
    assert!(lease("b", NOW + 16, NOW + 6).await.unwrap());
    assert!(lease("c", NOW + 30, NOW + 16).await.unwrap(), "ran out");
    assert!(
        !store.ticket_confirm(ID, "b", &confirmation("u_1")).await.unwrap(),
        "no longer the holder"
    );
    assert!(store.ticket_confirm(ID, "c", &confirmation("u_1")).await.unwrap());
    assert!(
        !store.ticket_confirm(ID, "c", &confirmation("u_1")).await.unwrap(),
        "a second time"
    );
    assert!(!lease("d", NOW + 60, NOW + 50).await.unwrap(), "confirmed already");
}

#[tokio::test]
async fn a_confirmation_in_progress_may_finish_but_none_begins_too_late() {
    let store = scanned().await;
    assert!(
        !store
            .ticket_lease(ID, &handle("o1"), "late", NOW + 130, NOW + 120)
            .await
            .unwrap()
    );
    assert!(
        store
            .ticket_lease(ID, &handle("o1"), "lease", NOW + 129, NOW + 119)
            .await
            .unwrap()
    );
    let expire = || store.ticket_end(ID, &[TicketState::Scanned], TicketState::Expired, None, None, NOW + 121);
    assert!(!expire().await.unwrap());
    assert!(read(&store).await.is_leased(NOW + 121));
    assert!(!read(&store).await.is_leased(NOW + 129));
    let at = |confirmed_at| Confirmation {
        confirmed_at,
        expires_at: confirmed_at + 60,
        ..confirmation("u_1")
    };
    assert!(!store.ticket_confirm(ID, "lease", &at(NOW + 129)).await.unwrap());
    assert!(store.ticket_confirm(ID, "lease", &at(NOW + 122)).await.unwrap());
}

#[tokio::test]
async fn a_ticket_ends_from_the_named_states_only_and_once() {
    use TicketState::{Bind, Cancelled, Confirmed, Expired, Failed, Redeemed, Scanned};
    let store = confirmed().await;
    let end = |from: &'static [TicketState], to, error| store.ticket_end(ID, from, to, error, Some("why"), NOW + 35);
    assert!(!end(&[], Cancelled, None).await.unwrap());
    assert!(!end(&[Scanned, Bind], Cancelled, None).await.unwrap());
    assert!(!end(&[Scanned, Confirmed], Expired, None).await.unwrap(), "not yet");
    assert!(
        end(&[Scanned, Bind, Confirmed], Failed, Some("wrong_number"))
            .await
            .unwrap()
    );
    let ticket = read(&store).await;
    assert_eq!((ticket.state, ticket.error.as_deref()), (Failed, Some("wrong_number")));
    assert_eq!(
        (ticket.reason.as_deref(), ticket.ended_at),
        (Some("why"), Some(NOW + 35))
    );
    assert!(
        !end(&[Scanned, Bind, Confirmed, Redeemed], Cancelled, None)
            .await
            .unwrap()
    );
    assert!(!store.ticket_redeem(ID, NOW + 36, &session("s1", "u_1")).await.unwrap());
}

#[tokio::test]
async fn not_me_and_redemption_at_once_leave_one_of_them_standing() {
    for round in 0..10 {
        let store = confirmed().await;
        let end = store.ticket_end(
            ID,
            &[TicketState::Confirmed],
            TicketState::Cancelled,
            None,
            Some("not_me"),
            NOW + 31,
        );
        let new = session("s1", "u_1");
        let redeem = store.ticket_redeem(ID, NOW + 31, &new);
        let (ended, redeemed) = if round % 2 == 0 {
            futures_util::join!(end, redeem)
        } else {
            let (b, a) = futures_util::join!(redeem, end);
            (a, b)
        };
        let (ended, redeemed) = (ended.unwrap(), redeemed.unwrap());
        assert!(ended ^ redeemed, "ended {ended}, redeemed {redeemed}");
        assert_eq!(store.session("s1").await.unwrap().is_some(), redeemed);
    }
}

#[tokio::test]
async fn a_ticket_cancelled_before_any_scan_cannot_be_scanned() {
    let store = fixtures::store().await;
    let ended = EndedTicket {
        id: ID.to_owned(),
        connection: "staff".to_owned(),
        state: TicketState::Cancelled,
        error: None,
        reason: Some("declined".to_owned()),
        created_at: NOW - 10,
        now: NOW,
        expires_at: NOW + 110,
    };
    assert!(store.ticket_end_pending(&ended).await.unwrap());
    assert!(!store.ticket_end_pending(&ended).await.unwrap());
    assert!(!store.ticket_scan(&scan(ID, "o1")).await.unwrap());
    let ticket = read(&store).await;
    assert_eq!(
        (ticket.state, ticket.openid.as_str(), ticket.handle_hash.len()),
        (TicketState::Cancelled, "", 0)
    );
    let other = EndedTicket {
        id: "another".to_owned(),
        ..ended
    };
    assert!(
        store.ticket_end_pending(&other).await.unwrap(),
        "two tickets without a handle collide"
    );
    assert!(
        store.ticket_by_handle(b"").await.unwrap().is_none(),
        "an empty handle finds a ticket"
    );
}

#[tokio::test]
async fn a_pending_end_does_not_touch_a_scanned_ticket() {
    let store = scanned().await;
    let ended = EndedTicket {
        id: ID.to_owned(),
        connection: "staff".to_owned(),
        state: TicketState::Failed,
        error: Some("entry_refused".to_owned()),
        reason: None,
        created_at: NOW - 10,
        now: NOW,
        expires_at: NOW + 110,
    };
    assert!(!store.ticket_end_pending(&ended).await.unwrap());
    assert_eq!(read(&store).await.state, TicketState::Scanned);
}

#[tokio::test]
async fn sweeping_takes_what_is_long_over_and_nothing_else() {
    let store = confirmed().await;
    assert!(store.ticket_scan(&scan("another", "o2")).await.unwrap());
    assert!(store.ticket_redeem(ID, NOW + 50, &session("s1", "u_1")).await.unwrap());
    assert_eq!(store.sweep_tickets(NOW + 90).await.unwrap(), 0);
    assert_eq!(store.sweep_tickets(NOW + 91).await.unwrap(), 1);
    assert!(store.ticket("another").await.unwrap().is_some());
    assert!(store.session("s1").await.unwrap().is_some());
}

#[tokio::test]
async fn a_login_by_an_identity_that_is_taken_away_before_it_is_redeemed_comes_to_nothing() {
    for (openid, ended) in [("o1", true), ("o2", false)] {
        let store = confirmed().await;
        let mut tx = store.begin().await.unwrap();
        tx.delete_identity("u_1", "wx1", openid, NOW + 31).await.unwrap();
        tx.commit().await.unwrap();
        let session = session("s1", "u_1");
        assert_eq!(
            store.ticket_redeem(ID, NOW + 32, &session).await.unwrap(),
            !ended,
            "{openid}"
        );
        let state = if ended {
            TicketState::Cancelled
        } else {
            TicketState::Redeemed
        };
        assert_eq!(read(&store).await.state, state);
    }
}

#[tokio::test]
async fn a_phone_and_a_unionid_are_added_once_by_whoever_scanned() {
    let store = fixtures::store().await;
    let unknown = NewTicket {
        phone_address: String::new(),
        phone_agent: String::new(),
        unionid: None,
        ..scan(ID, "o1")
    };
    assert!(store.ticket_scan(&unknown).await.unwrap());
    let add = async |handle: &[u8], address: &str| store.ticket_set_phone(ID, handle, address, "WeChat").await.unwrap();
    assert!(!add(b"another handle", "203.0.113.7").await);
    assert!(add(&handle("o1"), "203.0.113.7").await);
    assert!(!add(&handle("o1"), "203.0.113.8").await, "it stays the first");
    assert!(!store.ticket_set_unionid(ID, "o2", "u2").await.unwrap());
    assert!(store.ticket_set_unionid(ID, "o1", "u1").await.unwrap());
    assert!(!store.ticket_set_unionid(ID, "o1", "u3").await.unwrap());
    let row = read(&store).await;
    assert_eq!((&*row.phone_address, &*row.phone_agent), ("203.0.113.7", "WeChat"));
    assert_eq!(row.unionid.as_deref(), Some("u1"));
}
