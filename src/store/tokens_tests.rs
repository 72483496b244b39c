#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use futures_util::future::join_all;

use super::super::fixtures::{self, NOW, TestStore, scan, session};
use super::super::{Confirmation, TicketState};
use super::*;

const DAY: i64 = 86_400;

fn token(id: &str, kind: TokenKind) -> TokenRow {
    let of_login = kind != TokenKind::Api;
    TokenRow {
        id: id.to_owned(),
        kind,
        hash: format!("hash of {id}").into_bytes(),
        user_id: "u_1".to_owned(),
        label: Some("deploy".to_owned()),
        sites: Some(vec!["wiki.example.com".to_owned()]),
        connection: of_login.then(|| "staff".to_owned()),
        session_id: of_login.then(|| "s1".to_owned()),
        auth_time: NOW,
        created_at: NOW,
        expires_at: Some(NOW + 1000),
        last_used_at: None,
        used_at: None,
        revoked_at: None,
    }
}

async fn find(store: &Store, id: &str) -> Option<TokenRow> {
    store.token_by_hash(format!("hash of {id}").as_bytes()).await.unwrap()
}

/// A user with a session and these tokens.
async fn with_tokens(tokens: &[(&str, TokenKind)]) -> TestStore {
    let store = fixtures::store().await;
    fixtures::user(&store, "u_1").await;
    store.insert_session(&session("s1", "u_1")).await.unwrap();
    for (id, kind) in tokens {
        assert!(store.issue_token(&token(id, *kind)).await.unwrap());
    }
    store
}

#[tokio::test]
async fn a_token_comes_back_as_it_was_recorded() {
    let store = with_tokens(&[("t_1", TokenKind::Api)]).await;
    assert_eq!(find(&store, "t_1").await, Some(token("t_1", TokenKind::Api)));
    let every_site = TokenRow {
        sites: None,
        expires_at: None,
        label: None,
        ..token("t_2", TokenKind::Api)
    };
    assert!(store.issue_token(&every_site).await.unwrap());
    assert_eq!(find(&store, "t_2").await, Some(every_site));
    assert_eq!(find(&store, "t_3").await, None);
}

#[tokio::test]
async fn nobody_gets_a_token_who_is_disabled_or_not_there() {
    let store = with_tokens(&[("t_1", TokenKind::Api)]).await;
    assert!(store.set_disabled("u_1", true, "left", NOW).await.unwrap());
    assert!(!store.issue_token(&token("t_2", TokenKind::Api)).await.unwrap());
    let stranger = TokenRow {
        user_id: "u_9".to_owned(),
        ..token("t_3", TokenKind::Api)
    };
    assert!(!store.issue_token(&stranger).await.unwrap());
    assert!(find(&store, "t_2").await.is_none() && find(&store, "t_3").await.is_none());
}

#[tokio::test]
async fn disabling_ends_every_token_for_good_and_deleting_forgets_them() {
    let store = with_tokens(&[("t_1", TokenKind::Api), ("t_2", TokenKind::Access)]).await;
    assert!(store.set_disabled("u_1", true, "left", NOW + 1).await.unwrap());
    assert!(store.set_disabled("u_1", false, "back", NOW + 2).await.unwrap());
    assert_eq!(find(&store, "t_1").await.unwrap().revoked_at, Some(NOW + 1));
    assert_eq!(find(&store, "t_2").await, None, "its session has ended");
    assert!(store.delete_user("u_1", "gone", NOW + 3).await.unwrap());
    assert_eq!(find(&store, "t_1").await, None);
}

#[tokio::test]
async fn signing_out_everywhere_ends_logins_and_not_what_an_operator_handed_out() {
    let store = with_tokens(&[("t_1", TokenKind::Api), ("t_2", TokenKind::Access)]).await;
    store.end_sessions_of("u_1", "everywhere", NOW + 1).await.unwrap();
    assert_eq!(find(&store, "t_2").await, None);
    assert_eq!(find(&store, "t_1").await.unwrap().revoked_at, None);
}

#[tokio::test]
async fn a_token_is_revoked_once_and_in_the_same_step_for_all_nodes() {
    let store = with_tokens(&[("t_1", TokenKind::Api)]).await;
    let attempts = (0..10).map(|_| {
        let store = store.clone();
        tokio::spawn(async move { store.revoke_token("t_1", "operator", NOW + 5).await.unwrap() })
    });
    let outcomes: Vec<_> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();
    let now = outcomes.iter().filter(|outcome| **outcome == RevokedToken::Now).count();
    assert_eq!(now, 1, "{outcomes:?}");
    assert_eq!(
        store.revoke_token("t_2", "operator", NOW).await.unwrap(),
        RevokedToken::Unknown
    );
    let revoked = store.revocations_after(0, 1000).await.unwrap();
    assert_eq!(revoked.len(), 1);
    assert_eq!(revoked[0].kind, RevocationKind::Session);
    assert_eq!(revoked[0].subject, token_subject("t_1"));
    assert!(revoked[0].keep_until > NOW + 86_400);
    assert_eq!(find(&store, "t_1").await.unwrap().revoked_at, Some(NOW + 5));
}

#[tokio::test]
async fn a_refresh_token_is_exchanged_by_one_of_many() {
    let store = with_tokens(&[("t_1", TokenKind::Refresh)]).await;
    let attempts = (0..10).map(|number| {
        let store = store.clone();
        tokio::spawn(async move {
            let pair = [token(&format!("t_new_{number}"), TokenKind::Refresh)];
            let refresh = token("t_1", TokenKind::Refresh);
            store.rotate_token(&refresh, &pair, NOW + 5).await.unwrap()
        })
    });
    let outcomes: Vec<_> = join_all(attempts).await.into_iter().map(Result::unwrap).collect();
    let done = outcomes.iter().filter(|outcome| **outcome == Rotation::Done).count();
    let reused = outcomes.iter().filter(|outcome| **outcome == Rotation::Reused).count();
    assert_eq!((done, reused), (1, 9), "{outcomes:?}");
    assert_eq!(find(&store, "t_1").await.unwrap().used_at, Some(NOW + 5));
    assert_eq!(store.session("s1").await.unwrap().unwrap().last_used_at, NOW + 5);
}

#[tokio::test]
async fn a_session_keeps_the_refresh_tokens_that_were_used_lately_and_forgets_the_others() {
    let store = fixtures::store().await;
    fixtures::user(&store, "u_1").await;
    for id in ["s1", "s2"] {
        let mut session = session(id, "u_1");
        session.expires_at = NOW + 100 * DAY;
        store.insert_session(&session).await.unwrap();
    }
    for (id, kind) in [("t_0", TokenKind::Refresh), ("t_other", TokenKind::Api)] {
        assert!(store.issue_token(&token(id, kind)).await.unwrap());
    }
    let elsewhere = TokenRow {
        session_id: Some("s2".to_owned()),
        used_at: Some(NOW),
        ..token("t_elsewhere", TokenKind::Refresh)
    };
    assert!(store.issue_token(&elsewhere).await.unwrap());
    // Many at once at first, then two a day, then one in two days.
    let at = |number: i64| match number {
        0..10 => number,
        10..20 => (number - 9) * DAY / 2,
        _ => 5 * DAY + (number - 19) * 2 * DAY,
    };
    let rotate = async |number: i64| {
        let lasting = |id: String, kind| TokenRow {
            expires_at: Some(NOW + 100 * DAY),
            ..token(&id, kind)
        };
        let refresh = lasting(format!("t_{number}"), TokenKind::Refresh);
        let pair = [
            lasting(format!("t_{}", number + 1), TokenKind::Refresh),
            lasting(format!("t_access_{number}"), TokenKind::Access),
        ];
        store.rotate_token(&refresh, &pair, NOW + at(number)).await.unwrap()
    };
    for number in 0..30 {
        assert_eq!(rotate(number).await, Rotation::Done, "{number}");
        for known in 0..=number + 1 {
            let kept = find(&store, &format!("t_{known}")).await.is_some();
            let lately = at(known) >= at(number) - 4 * DAY;
            assert_eq!(kept, lately || known + 5 > number, "{known} after {number}");
        }
    }
    for (number, outcome) in [(29, Rotation::Reused), (25, Rotation::Reused), (24, Rotation::Over)] {
        assert_eq!(rotate(number).await, outcome, "{number}");
    }
    for other in ["t_other", "t_elsewhere", "t_access_0", "t_30"] {
        assert!(find(&store, other).await.is_some(), "{other}");
    }
}

#[tokio::test]
async fn nothing_is_exchanged_after_the_end_of_token_session_or_user() {
    let refresh = token("t_1", TokenKind::Refresh);
    let rotate = async |store: &Store, now| {
        let pair = [token("t_2", TokenKind::Access)];
        let outcome = store.rotate_token(&refresh, &pair, now).await.unwrap();
        assert!(find(store, "t_2").await.is_none(), "half done");
        outcome
    };
    let store = with_tokens(&[("t_1", TokenKind::Refresh)]).await;
    assert_eq!(rotate(&store, NOW + 1000).await, Rotation::Over);
    assert!(store.end_session("s1", "logout", NOW).await.unwrap());
    assert_eq!(rotate(&store, NOW + 1).await, Rotation::Over);

    let store = with_tokens(&[("t_1", TokenKind::Refresh)]).await;
    assert!(store.set_disabled("u_1", true, "left", NOW).await.unwrap());
    assert_eq!(rotate(&store, NOW + 1).await, Rotation::Over);

    // What is no refresh token is not spent either.
    let store = with_tokens(&[("t_1", TokenKind::Access)]).await;
    assert_eq!(rotate(&store, NOW + 1).await, Rotation::Over);
    assert_eq!(find(&store, "t_1").await.unwrap().used_at, None);
}

#[tokio::test]
async fn a_ticket_becomes_a_session_and_its_tokens_or_nothing() {
    let store = fixtures::store().await;
    fixtures::user(&store, "u_1").await;
    assert!(store.ticket_scan(&scan("scene", "o1")).await.unwrap());
    let handle = scan("scene", "o1").handle_hash;
    assert!(store.ticket_lease("scene", &handle, "l", NOW + 15, NOW).await.unwrap());
    let pair = [token("t_1", TokenKind::Access), token("t_2", TokenKind::Refresh)];
    let redeem = async || {
        let session = session("s1", "u_1");
        store
            .ticket_redeem_for_tokens("scene", NOW + 1, &session, &pair)
            .await
            .unwrap()
    };
    assert!(!redeem().await, "nobody has confirmed");
    assert!(find(&store, "t_1").await.is_none());
    let confirmation = Confirmation {
        user_id: "u_1".to_owned(),
        choice: None,
        phone_note: None,
        confirmed_at: NOW,
        expires_at: NOW + 60,
    };
    assert!(store.ticket_confirm("scene", "l", &confirmation).await.unwrap());
    assert!(redeem().await);
    assert!(!redeem().await, "a second time");
    assert_eq!(
        store.ticket("scene").await.unwrap().unwrap().state,
        TicketState::Redeemed
    );
    assert!(find(&store, "t_1").await.is_some() && find(&store, "t_2").await.is_some());
}

#[tokio::test]
async fn uses_move_forward_only() {
    let store = with_tokens(&[("t_1", TokenKind::Api)]).await;
    for (at, known) in [(50, 50), (20, 50), (60, 60)] {
        let uses = [("t_1".to_owned(), NOW + at), ("t_gone".to_owned(), NOW)];
        store.touch_tokens(&uses).await.unwrap();
        assert_eq!(find(&store, "t_1").await.unwrap().last_used_at, Some(NOW + known));
    }
}

#[tokio::test]
async fn listings_show_what_operators_handed_out_and_sweeping_forgets_it_after_a_month() {
    let store = with_tokens(&[("t_1", TokenKind::Api), ("t_2", TokenKind::Access)]).await;
    let forever = TokenRow {
        expires_at: None,
        created_at: NOW + 1,
        ..token("t_3", TokenKind::Api)
    };
    assert!(store.issue_token(&forever).await.unwrap());
    let listed = async |user: Option<&str>| {
        let tokens = store.api_tokens(user).await.unwrap();
        tokens.into_iter().map(|owned| owned.token.id).collect::<Vec<_>>()
    };
    assert_eq!(listed(None).await, ["t_1", "t_3"]);
    assert_eq!(listed(Some("u_1")).await, ["t_1", "t_3"]);
    assert!(listed(Some("u_2")).await.is_empty());
    assert_eq!(store.sweep_tokens(NOW + 1001).await.unwrap(), 1);
    assert_eq!(find(&store, "t_2").await, None);
    assert_eq!(listed(None).await, ["t_1", "t_3"]);
    assert_eq!(store.sweep_tokens(NOW + 1001 + 30 * 86_400).await.unwrap(), 1);
    assert_eq!(listed(None).await, ["t_3"], "what never ends stays");
}
