#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::super::fixtures::{self, NOW, scan, session};
use super::super::{Confirmation, IdentityRow, Revocation};
use super::*;

fn alice() -> NewUser {
    NewUser {
        id: "u_alice".to_owned(),
        username: Some("Alice".to_owned()),
        name: Some("爱丽丝".to_owned()),
        picture: Some("https://example.com/a.png".to_owned()),
        phone: Some("+8613800138000".to_owned()),
        email: Some("alice@example.com".to_owned()),
        groups: vec!["staff".to_owned(), "ops, night".to_owned()],
        attributes: Map::from_iter([("floor".to_owned(), Value::from(3))]),
        password_hash: Some("$argon2id$".to_owned()),
        service: true,
        created_at: NOW,
    }
}

fn kinds(revocations: &[Revocation]) -> Vec<(RevocationKind, &str)> {
    revocations
        .iter()
        .map(|revocation| (revocation.kind, revocation.subject.as_str()))
        .collect()
}

#[test]
fn names_that_an_application_may_fold_together_are_one() {
    let table = [
        ("alice", "ALICE"),
        ("ａｌｉｃｅ", "alice"),
        ("ﬁona", "FIONA"),
        ("straße", "STRASSE"),
        ("ςίσυφος", "ΣΊΣΥΦΟΣ"),
        ("e\u{301}ric", "Éric"),
        ("ı", "i"),
    ];
    for (one, other) in table {
        assert_eq!(fold_username(one), fold_username(other), "{one} {other}");
        assert_eq!(
            fold_username(&fold_username(one)),
            fold_username(one),
            "{one} is not stable"
        );
    }
    assert_ne!(
        fold_username("alice"),
        fold_username("alicе"),
        "a Cyrillic letter is another letter"
    );
    assert_ne!(fold_username("王"), fold_username("玉"));
}

#[tokio::test]
async fn a_user_comes_back_as_recorded_by_id_name_and_number() {
    let store = fixtures::store().await;
    store.insert_user(&alice()).await.unwrap();
    let user = store.user("u_alice").await.unwrap().unwrap();
    let expected = User {
        id: "u_alice".to_owned(),
        username: alice().username,
        name: alice().name,
        picture: alice().picture,
        phone: alice().phone,
        email: alice().email,
        groups: alice().groups,
        attributes: alice().attributes,
        disabled: false,
        service: true,
        has_password: true,
        created_at: NOW,
        updated_at: NOW,
        last_login_at: None,
    };
    assert!(user == expected);
    assert!(store.user_by_username("ＡＬＩＣＥ").await.unwrap() == Some(expected.clone()));
    assert!(store.user_by_phone("+8613800138000").await.unwrap() == Some(expected.clone()));
    assert!(store.users_after("", 10).await.unwrap() == [expected]);
    assert!(store.users_after("u_alice", 10).await.unwrap().is_empty());
    assert!(store.user("u_bob").await.unwrap().is_none());
}

#[tokio::test]
async fn a_name_or_number_that_somebody_has_is_refused_by_its_name() {
    let store = fixtures::store().await;
    store.insert_user(&alice()).await.unwrap();
    let bob = || NewUser {
        id: "u_bob".to_owned(),
        created_at: NOW,
        ..NewUser::default()
    };
    let conflicts = [
        (
            NewUser {
                username: Some("ALICE".to_owned()),
                ..bob()
            },
            "username",
        ),
        (
            NewUser {
                phone: alice().phone,
                ..bob()
            },
            "phone",
        ),
        (
            NewUser {
                id: "u_alice".to_owned(),
                ..bob()
            },
            "id",
        ),
    ];
    for (new, expected) in conflicts {
        let error = store.insert_user(&new).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Conflict { what } if what == expected),
            "{error:?}, not {expected}"
        );
    }
    store.insert_user(&bob()).await.unwrap();
    let change = UserChange {
        phone: Some(alice().phone),
        ..UserChange::default()
    };
    let error = store.update_user("u_bob", &change, NOW).await.unwrap_err();
    assert!(matches!(error, StoreError::Conflict { what: "phone" }), "{error:?}");
    assert_eq!(
        store.last_revocation().await.unwrap(),
        0,
        "a change that did not happen was told"
    );
}

#[tokio::test]
async fn a_change_touches_the_named_fields_and_is_told_to_the_nodes() {
    let store = fixtures::store().await;
    store.insert_user(&alice()).await.unwrap();
    store.insert_session(&session("s1", "u_alice")).await.unwrap();
    let change = UserChange {
        username: Some(Some("Alicia".to_owned())),
        phone: Some(None),
        groups: Some(vec![]),
        ..UserChange::default()
    };
    assert!(store.update_user("u_alice", &change, NOW + 5).await.unwrap());
    let user = store.user("u_alice").await.unwrap().unwrap();
    assert_eq!(
        (user.username.as_deref(), user.phone.as_deref()),
        (Some("Alicia"), None)
    );
    assert_eq!((user.name, user.email), (alice().name, alice().email));
    assert!(user.groups.is_empty() && user.attributes == alice().attributes && user.updated_at == NOW + 5);
    assert!(store.user_by_username("alice").await.unwrap().is_none());
    let told = store.revocations_after(0, 1000).await.unwrap();
    assert_eq!(kinds(&told), [(RevocationKind::Change, "u_alice")]);
    assert!(told[0].keep_until >= NOW + 1000, "forgotten before the session ends");
    assert!(store.session("s1").await.unwrap().unwrap().ended_at.is_none());
    assert!(!store.update_user("u_bob", &change, NOW).await.unwrap());
}

#[tokio::test]
async fn disabling_ends_every_session_in_the_same_step() {
    let store = fixtures::store().await;
    for (user, sessions) in [("u_1", ["s1", "s2"]), ("u_2", ["s3", "s4"])] {
        fixtures::user(&store, user).await;
        for id in sessions {
            store.insert_session(&session(id, user)).await.unwrap();
        }
    }
    assert!(store.set_disabled("u_1", true, "left", NOW + 5).await.unwrap());
    assert!(
        !store.set_disabled("u_1", true, "left", NOW + 6).await.unwrap(),
        "a second time"
    );
    assert!(store.user("u_1").await.unwrap().unwrap().disabled);
    assert!(store.sessions_of("u_1", NOW + 5).await.unwrap().is_empty());
    assert_eq!(store.sessions_of("u_2", NOW + 5).await.unwrap().len(), 2);
    let told = store.revocations_after(0, 1000).await.unwrap();
    let mut told = kinds(&told);
    assert_eq!(told.pop(), Some((RevocationKind::User, "u_1")));
    told.sort_by_key(|told| told.1);
    assert_eq!(told, [(RevocationKind::Session, "s1"), (RevocationKind::Session, "s2")]);
    assert!(store.set_disabled("u_1", false, "back", NOW + 9).await.unwrap());
    assert!(!store.user("u_1").await.unwrap().unwrap().disabled);
    assert!(
        store.sessions_of("u_1", NOW + 9).await.unwrap().is_empty(),
        "enabling brought a session back"
    );
}

#[tokio::test]
async fn deleting_takes_identities_and_sessions_along_and_revokes_them() {
    let store = fixtures::store().await;
    store.insert_user(&alice()).await.unwrap();
    store.insert_session(&session("s1", "u_alice")).await.unwrap();
    let mut tx = store.directory().await.unwrap();
    let identity = IdentityRow {
        app_id: "wx1".to_owned(),
        openid: "o1".to_owned(),
        open_platform: None,
        unionid: None,
        user_id: "u_alice".to_owned(),
        created_at: NOW,
    };
    tx.insert_identity(&identity).await.unwrap();
    tx.commit().await.unwrap();
    assert!(store.delete_user("u_alice", "asked for", NOW).await.unwrap());
    assert!(!store.delete_user("u_alice", "asked for", NOW).await.unwrap());
    assert!(store.user("u_alice").await.unwrap().is_none());
    assert!(store.identity("wx1", "o1").await.unwrap().is_none());
    assert!(store.session("s1").await.unwrap().is_none());
    let told = store.revocations_after(0, 1000).await.unwrap();
    assert_eq!(
        kinds(&told),
        [(RevocationKind::Session, "s1"), (RevocationKind::User, "u_alice")]
    );
}

#[tokio::test]
async fn a_login_and_a_disabling_at_once_leave_no_live_session() {
    let store = fixtures::store().await;
    for round in 0..10 {
        let (user, ticket) = (format!("u_{round}"), format!("ticket {round}"));
        fixtures::user(&store, &user).await;
        let new = scan(&ticket, &user);
        assert!(store.ticket_scan(&new).await.unwrap());
        assert!(
            store
                .ticket_lease(&ticket, &new.handle_hash, "lease", NOW + 10, NOW)
                .await
                .unwrap()
        );
        let confirmation = Confirmation {
            user_id: user.clone(),
            choice: None,
            phone_note: None,
            confirmed_at: NOW,
            expires_at: NOW + 60,
        };
        assert!(store.ticket_confirm(&ticket, "lease", &confirmation).await.unwrap());
        let session = session(&format!("s{round}"), &user);
        let change = UserChange {
            name: Some(Some("王".to_owned())),
            ..UserChange::default()
        };
        // With everything else that takes the same rows, to find two that wait for each other.
        let (redeemed, disabled, ended, updated, logged_out) = futures_util::join!(
            store.ticket_redeem(&ticket, NOW + 1, &session),
            store.set_disabled(&user, true, "left", NOW + 1),
            store.end_sessions_of(&user, "everywhere", NOW + 1),
            store.update_user(&user, &change, NOW + 1),
            store.end_session(&session.id, "logout", NOW + 1),
        );
        assert!(disabled.unwrap() && updated.unwrap());
        redeemed.unwrap();
        ended.unwrap();
        logged_out.unwrap();
        assert!(
            store.sessions_of(&user, NOW + 1).await.unwrap().is_empty(),
            "round {round}"
        );
    }
}

#[tokio::test]
async fn a_transaction_that_is_dropped_did_not_happen() {
    let store = fixtures::store().await;
    let mut tx = store.directory().await.unwrap();
    tx.insert_user(&alice()).await.unwrap();
    assert!(tx.user("u_alice").await.unwrap().is_some());
    drop(tx);
    assert!(store.user("u_alice").await.unwrap().is_none());
    store.insert_user(&alice()).await.unwrap();
}

#[test]
fn debug_output_shows_neither_number_nor_name() {
    let shown = format!("{:?}", alice());
    assert!(!shown.contains("138001") && !shown.contains("Alice"), "{shown}");
}
