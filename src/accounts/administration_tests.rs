#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::store::fixtures::{self, NOW, TestStore, session};
use crate::store::{IdentityRow, RevocationKind};

async fn directory() -> (TestStore, Directory) {
    let store = fixtures::store().await;
    let directory = Directory::new(crate::store::Store::clone(&store));
    (store, directory)
}

fn alice() -> NewUser {
    NewUser {
        username: Some("Alice".to_owned()),
        phone: Some("+8613800138000".to_owned()),
        groups: vec!["ops".to_owned()],
        created_at: NOW,
        ..NewUser::default()
    }
}

async fn give_identity(store: &TestStore, user: &User, app_id: &str, openid: &str) {
    let mut tx = store.directory().await.unwrap();
    tx.insert_identity(&IdentityRow {
        app_id: app_id.to_owned(),
        openid: openid.to_owned(),
        open_platform: None,
        unionid: None,
        user_id: user.id.clone(),
        created_at: NOW,
    })
    .await
    .unwrap();
    tx.commit().await.unwrap();
}

async fn kinds(store: &TestStore) -> Vec<String> {
    let rows = store.audit_after(0, 100).await.unwrap();
    rows.into_iter().map(|row| row.kind).collect()
}

#[tokio::test]
async fn names_and_numbers_of_others_are_refused_by_name() {
    let (store, directory) = directory().await;
    let user = directory.create(alice()).await.unwrap();
    let twice = directory.create(NewUser { phone: None, ..alice() }).await.unwrap_err();
    assert!(
        twice.to_string().contains(&user.id) && twice.to_string().contains("username"),
        "{twice}"
    );
    let other = NewUser {
        username: Some("bob".to_owned()),
        phone: None,
        ..alice()
    };
    let bob = directory.create(other).await.unwrap();
    let change = UserChange {
        phone: Some(alice().phone),
        ..UserChange::default()
    };
    let taken = directory.edit(&bob.id, change, Vec::new(), NOW).await.unwrap_err();
    assert!(
        matches!(
            taken,
            AdministrationError::Taken {
                what: "phone number",
                ..
            }
        ),
        "{taken}"
    );
    assert_eq!(kinds(&store).await, ["user_created", "user_created"]);
    // One's own name in another spelling is nobody else's.
    let change = UserChange {
        username: Some(Some("ALICE".to_owned())),
        ..UserChange::default()
    };
    let edited = directory.edit(&user.id, change, Vec::new(), NOW).await.unwrap();
    assert_eq!(
        (edited.user.username.as_deref(), edited.fields.as_slice()),
        (Some("ALICE"), &["username"][..])
    );
}

#[tokio::test]
async fn an_edit_that_changes_nothing_tells_nobody() {
    let (store, directory) = directory().await;
    let user = directory.create(alice()).await.unwrap();
    let same = UserChange {
        username: Some(alice().username),
        name: Some(None),
        groups: Some(alice().groups),
        password_hash: Some(None),
        ..UserChange::default()
    };
    let edited = directory
        .edit(&user.id, same, vec![("x".to_owned(), None)], NOW + 1)
        .await
        .unwrap();
    assert!(edited.fields.is_empty() && edited.user == user);
    assert_eq!(
        (store.last_revocation().await.unwrap(), kinds(&store).await.len()),
        (0, 1)
    );
    let change = UserChange {
        phone: Some(None),
        groups: Some(Vec::new()),
        password_hash: Some(Some("$argon2id$".to_owned())),
        ..UserChange::default()
    };
    let attributes = vec![("floor".to_owned(), Some("3".to_owned()))];
    let edited = directory.edit(&user.id, change, attributes, NOW + 1).await.unwrap();
    assert_eq!(edited.fields, ["phone", "groups", "attributes", "password"]);
    assert!(edited.user.phone.is_none() && edited.user.has_password && edited.user.attributes["floor"] == "3");
    let told = store.revocations_after(0, 1000).await.unwrap();
    assert_eq!(
        (told.len(), told[0].kind, told[0].subject.as_str()),
        (1, RevocationKind::Change, &*user.id)
    );
    let audit = store.audit_after(1, 10).await.unwrap();
    let details = audit[0].details.as_deref().unwrap();
    assert!(details.contains("password") && !details.contains("argon2"), "{details}");
}

#[tokio::test]
async fn an_account_of_a_program_gets_nothing_to_log_in_with() {
    let (_store, directory) = directory().await;
    let service = |phone: Option<String>| NewUser {
        service: true,
        phone,
        ..alice()
    };
    let refused = directory.create(service(alice().phone)).await.unwrap_err();
    assert!(matches!(refused, AdministrationError::Service(_)), "{refused}");
    let robot = directory.create(service(None)).await.unwrap();
    let change = UserChange {
        phone: Some(alice().phone),
        ..UserChange::default()
    };
    let refused = directory.edit(&robot.id, change, Vec::new(), NOW).await.unwrap_err();
    assert!(matches!(refused, AdministrationError::Service(_)), "{refused}");
    let refused = directory
        .issue_bind_code(&robot, Duration::from_secs(60), NOW)
        .await
        .unwrap_err();
    assert!(matches!(refused, AdministrationError::Service(_)), "{refused}");
}

#[tokio::test]
async fn disabling_and_deleting_end_what_a_person_holds_and_are_recorded() {
    let (store, directory) = directory().await;
    let user = directory.create(alice()).await.unwrap();
    store.insert_session(&session("s1", &user.id)).await.unwrap();
    assert!(directory.set_disabled(&user.id, true, "left", NOW).await.unwrap());
    assert!(!directory.set_disabled(&user.id, true, "left", NOW).await.unwrap());
    assert_eq!(store.revocations_after(0, 1000).await.unwrap().len(), 2);
    let disabled = store.user(&user.id).await.unwrap().unwrap();
    let refused = directory
        .issue_bind_code(&disabled, Duration::from_secs(60), NOW)
        .await
        .unwrap_err();
    assert!(matches!(refused, AdministrationError::Disabled(_)), "{refused}");
    assert!(directory.set_disabled(&user.id, false, "back", NOW).await.unwrap());
    assert!(directory.delete(&user.id, "gone", NOW).await.unwrap());
    assert!(!directory.delete(&user.id, "gone", NOW).await.unwrap());
    assert!(store.user(&user.id).await.unwrap().is_none());
    let expected = ["user_created", "user_disabled", "user_enabled", "user_deleted"];
    assert_eq!(kinds(&store).await, expected);
}

#[tokio::test]
async fn a_code_replaces_the_one_before_and_is_kept_as_a_hash() {
    let (store, directory) = directory().await;
    let user = directory.create(alice()).await.unwrap();
    let lifetime = Duration::from_secs(3600);
    let first = directory.issue_bind_code(&user, lifetime, NOW).await.unwrap();
    let second = directory.issue_bind_code(&user, lifetime, NOW).await.unwrap();
    assert_eq!(second.expires_at, NOW + 3600);
    let hashes = fixtures::bind_code_hashes(&store).await;
    assert_eq!(hashes.len(), 1);
    let verify = async |code: &IssuedCode| {
        let typed = code.code.expose_secret().to_lowercase().replace('-', " ");
        let typed = proof::normalise_bind_code(&typed);
        proof::verify(proof::turn().await.unwrap(), &typed, Some(&hashes[0]))
            .await
            .unwrap()
    };
    assert!(verify(&second).await && !verify(&first).await);
    let audit = store.audit_after(0, 10).await.unwrap();
    assert!(
        audit
            .iter()
            .all(|row| !format!("{row:?}").contains(second.code.expose_secret()))
    );
}

#[tokio::test]
async fn the_last_identity_is_taken_by_force_only_and_ends_the_sessions() {
    let (store, directory) = directory().await;
    let user = directory.create(alice()).await.unwrap();
    give_identity(&store, &user, "wx1", "o1").await;
    give_identity(&store, &user, "wx2", "o2").await;
    store.insert_session(&session("s1", &user.id)).await.unwrap();
    let foreign = directory.unbind(&user, "wx1", "o9", true, NOW).await.unwrap_err();
    assert!(matches!(foreign, AdministrationError::NoIdentity { .. }), "{foreign}");
    directory.unbind(&user, "wx1", "o1", false, NOW).await.unwrap();
    assert!(store.session("s1").await.unwrap().unwrap().ended_at.is_some());
    let last = directory.unbind(&user, "wx2", "o2", false, NOW).await.unwrap_err();
    assert!(matches!(last, AdministrationError::LastIdentity(_)), "{last}");
    assert_eq!(store.identities_of(&user.id).await.unwrap().len(), 1);
    directory.unbind(&user, "wx2", "o2", true, NOW).await.unwrap();
    assert!(store.identities_of(&user.id).await.unwrap().is_empty());
    assert_eq!(kinds(&store).await, ["user_created", "unbind", "unbind"]);
}
