#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;

use futures_util::future::join_all;

use super::*;
use crate::config::settings::Association;
use crate::store::RevocationKind;
use crate::store::fixtures::{self, NOW, TestStore, session};

const PHONE: &str = "+8613800138000";

fn policy(association: Association, phone: PhonePolicy) -> Policy {
    Policy {
        association,
        login_only: false,
        phone,
    }
}

fn plain() -> Policy {
    policy(Association::None, PhonePolicy::Optional)
}

fn field() -> Policy {
    policy(Association::Field, PhonePolicy::Required)
}

fn identity(app_id: &str, openid: &str, unionid: Option<&str>) -> WechatIdentity {
    WechatIdentity {
        app_id: app_id.to_owned(),
        openid: openid.to_owned(),
        unionid: unionid.map(str::to_owned),
        open_platform: Some("corp".to_owned()),
    }
}

fn phone() -> Phone {
    Phone::parse(PHONE).unwrap()
}

async fn directory() -> (TestStore, Directory) {
    let store = fixtures::store().await;
    let directory = Directory::new(Store::clone(&store));
    (store, directory)
}

/// An account as an import makes it.
async fn imported(store: &Store, id: &str) {
    let new = NewUser {
        id: id.to_owned(),
        username: Some("alice".to_owned()),
        phone: Some(PHONE.to_owned()),
        created_at: NOW,
        ..NewUser::default()
    };
    store.insert_user(&new).await.unwrap();
}

#[tokio::test]
async fn a_stranger_becomes_a_user_and_is_known_from_then_on() {
    let (store, directory) = directory().await;
    let who = identity("wx1", "o1", None);
    assert_eq!(directory.recognise(&who).await.unwrap(), Recognised::Stranger);
    let first = directory.resolve(&who, &plain(), Some(&phone()), NOW).await.unwrap();
    assert!(first.created && first.user.phone.as_deref() == Some(PHONE));
    assert!(crate::accounts::looks_like_user_id(&first.user.id));
    let recognised = directory.recognise(&who).await.unwrap();
    assert!(recognised.user().unwrap().phone.is_some());
    assert_eq!(recognised, Recognised::Known(first.user.clone()));
    let again = directory.resolve(&who, &plain(), None, NOW + 9).await.unwrap();
    assert_eq!(
        again,
        Resolved {
            created: false,
            ..first
        }
    );
    assert_eq!(store.users_after("", 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn forty_logins_of_one_new_person_at_once_make_one_user() {
    let (store, directory) = directory().await;
    let logins = (0..40).map(|login| {
        let directory = directory.clone();
        // From two apps of one Open Platform account.
        let who = if login % 2 == 0 {
            identity("wx1", "o1", Some("un"))
        } else {
            identity("wx2", "o2", Some("un"))
        };
        tokio::spawn(async move { directory.resolve(&who, &plain(), Some(&phone()), NOW).await.unwrap() })
    });
    let resolved: Vec<_> = join_all(logins).await.into_iter().map(Result::unwrap).collect();
    let ids: HashSet<_> = resolved.iter().map(|resolved| resolved.user.id.as_str()).collect();
    assert_eq!(ids.len(), 1);
    assert_eq!(resolved.iter().filter(|resolved| resolved.created).count(), 1);
    assert_eq!(store.users_after("", 10).await.unwrap().len(), 1);
    assert_eq!(store.identities_of(&resolved[0].user.id).await.unwrap().len(), 2);
}

#[tokio::test]
async fn a_number_joins_one_of_many_people_who_claim_it_at_once() {
    let (store, directory) = directory().await;
    imported(&store, "u_alice").await;
    let logins = (0..20).map(|person| {
        let directory = directory.clone();
        let who = identity("wx1", &format!("o{person}"), None);
        tokio::spawn(async move { directory.resolve(&who, &field(), Some(&phone()), NOW).await })
    });
    let (mut joined, mut taken) = (0, 0);
    for login in join_all(logins).await {
        match login.unwrap() {
            Ok(resolved) => {
                assert!(resolved.user.id == "u_alice" && !resolved.created);
                joined += 1;
            }
            Err(error) => {
                assert!(matches!(error, ResolveError::PhoneTaken), "{error:?}");
                taken += 1;
            }
        }
    }
    assert_eq!((joined, taken), (1, 19));
}

#[tokio::test]
async fn an_imported_account_is_joined_by_its_number_and_then_by_its_identity_alone() {
    let (store, directory) = directory().await;
    imported(&store, "u_alice").await;
    let alice = identity("wx1", "o1", None);
    let joined = directory.resolve(&alice, &field(), Some(&phone()), NOW).await.unwrap();
    assert_eq!((joined.user.id.as_str(), joined.created), ("u_alice", false));
    let again = directory.resolve(&alice, &field(), None, NOW).await.unwrap();
    assert_eq!(again.user.id, "u_alice");
    // The number is somebody else's now: neither by the same app nor by another one of the same account.
    for stranger in [identity("wx1", "o2", None), identity("wx2", "o3", None)] {
        let error = directory
            .resolve(&stranger, &field(), Some(&phone()), NOW)
            .await
            .unwrap_err();
        assert!(matches!(error, ResolveError::PhoneTaken), "{error:?}");
    }
    // An app that shares no Open Platform account has not proven anything yet.
    let other = WechatIdentity {
        open_platform: None,
        ..identity("wx3", "o4", None)
    };
    assert_eq!(
        directory
            .resolve(&other, &field(), Some(&phone()), NOW)
            .await
            .unwrap()
            .user
            .id,
        "u_alice"
    );
}

#[tokio::test]
async fn a_unionid_finds_the_person_in_another_app_and_is_recorded_when_it_comes_late() {
    let (store, directory) = directory().await;
    let user = directory
        .resolve(&identity("wx1", "o1", None), &plain(), None, NOW)
        .await
        .unwrap()
        .user;
    let late = directory
        .resolve(&identity("wx1", "o1", Some("un")), &plain(), None, NOW)
        .await
        .unwrap();
    assert_eq!((late.user.id.as_str(), late.created), (user.id.as_str(), false));
    let other_app = directory
        .resolve(&identity("wx2", "o2", Some("un")), &plain(), None, NOW + 1)
        .await
        .unwrap();
    assert_eq!(
        (other_app.user.id.as_str(), other_app.created),
        (user.id.as_str(), false)
    );
    let changed = directory
        .resolve(&identity("wx1", "o1", Some("un2")), &plain(), None, NOW + 2)
        .await
        .unwrap();
    assert_eq!(changed.user.id, user.id);
    let identities = store.identities_of(&user.id).await.unwrap();
    let recorded: Vec<_> = identities
        .iter()
        .map(|row| (row.app_id.as_str(), row.unionid.as_deref().unwrap()))
        .collect();
    assert_eq!(recorded, [("wx1", "un2"), ("wx2", "un")]);
}

#[tokio::test]
async fn a_unionid_counts_only_under_the_account_that_gave_it() {
    let (_store, directory) = directory().await;
    let one = directory
        .resolve(&identity("wx1", "o1", Some("un")), &plain(), None, NOW)
        .await
        .unwrap();
    let elsewhere = |open_platform: Option<&str>, openid| WechatIdentity {
        open_platform: open_platform.map(str::to_owned),
        ..identity("wx9", openid, Some("un"))
    };
    let other = directory
        .resolve(&elsewhere(Some("else"), "o9"), &plain(), None, NOW)
        .await
        .unwrap();
    let nowhere = directory
        .resolve(&elsewhere(None, "o8"), &plain(), None, NOW)
        .await
        .unwrap();
    assert!(other.created && nowhere.created);
    assert_eq!(HashSet::from([one.user.id, other.user.id, nowhere.user.id]).len(), 3);
}

#[tokio::test]
async fn identities_that_point_at_two_users_are_never_merged() {
    let (store, directory) = directory().await;
    directory
        .resolve(&identity("wx1", "o1", None), &plain(), None, NOW)
        .await
        .unwrap();
    directory
        .resolve(&identity("wx2", "o2", Some("un")), &plain(), None, NOW)
        .await
        .unwrap();
    let who = identity("wx1", "o1", Some("un"));
    assert_eq!(directory.recognise(&who).await.unwrap(), Recognised::Ambiguous);
    let error = directory.resolve(&who, &plain(), None, NOW).await.unwrap_err();
    assert!(matches!(error, ResolveError::AmbiguousAccount), "{error:?}");
    assert!(
        store.identity("wx1", "o1").await.unwrap().unwrap().unionid.is_none(),
        "a refusal wrote something"
    );
}

#[tokio::test]
async fn a_late_number_is_written_and_told_and_a_taken_one_is_neither() {
    let (store, directory) = directory().await;
    let one = directory
        .resolve(&identity("wx1", "o1", None), &plain(), None, NOW)
        .await
        .unwrap();
    let other = identity("wx1", "o2", None);
    directory.resolve(&other, &plain(), None, NOW).await.unwrap();
    let late = directory
        .resolve(&identity("wx1", "o1", None), &plain(), Some(&phone()), NOW)
        .await
        .unwrap();
    assert_eq!(
        (late.user.id, late.user.phone.as_deref()),
        (one.user.id.clone(), Some(PHONE))
    );
    let told = store.revocations_after(0, 1000).await.unwrap();
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].kind, told[0].subject.as_str()),
        (RevocationKind::Change, one.user.id.as_str())
    );
    let optional = directory.resolve(&other, &plain(), Some(&phone()), NOW).await.unwrap();
    assert_eq!(
        (optional.user.phone, optional.phone_note),
        (None, Some(PhoneNote::Taken))
    );
    let required = policy(Association::None, PhonePolicy::Required);
    let error = directory
        .resolve(&other, &required, Some(&phone()), NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, ResolveError::PhoneTaken), "{error:?}");
    assert_eq!(store.last_revocation().await.unwrap(), 1);
}

#[tokio::test]
async fn a_disabled_user_is_refused_by_every_way_and_replaced_by_nobody() {
    let (store, directory) = directory().await;
    imported(&store, "u_alice").await;
    assert!(directory.set_disabled("u_alice", true, "left", NOW).await.unwrap());
    let who = identity("wx1", "o1", Some("un"));
    let error = directory
        .resolve(&who, &field(), Some(&phone()), NOW)
        .await
        .unwrap_err();
    assert!(matches!(error, ResolveError::UserDisabled), "{error:?}");
    assert!(directory.set_disabled("u_alice", false, "back", NOW).await.unwrap());
    directory.resolve(&who, &field(), Some(&phone()), NOW).await.unwrap();
    store.insert_session(&session("s1", "u_alice")).await.unwrap();
    assert!(directory.set_disabled("u_alice", true, "left", NOW).await.unwrap());
    assert!(store.session("s1").await.unwrap().unwrap().ended_at.is_some());
    assert!(matches!(directory.recognise(&who).await.unwrap(), Recognised::Disabled(user) if user.id == "u_alice"));
    for who in [who, identity("wx2", "o2", Some("un"))] {
        let error = directory.resolve(&who, &plain(), None, NOW).await.unwrap_err();
        assert!(matches!(error, ResolveError::UserDisabled), "{error:?}");
    }
    assert_eq!(store.users_after("", 10).await.unwrap().len(), 1);
}

#[tokio::test]
async fn what_needs_a_choice_or_an_account_writes_nothing() {
    let (store, directory) = directory().await;
    let who = identity("wx1", "o1", None);
    let ask = policy(Association::Ask { methods: Vec::new() }, PhonePolicy::Never);
    let error = directory.resolve(&who, &ask, None, NOW).await.unwrap_err();
    assert!(
        matches!(error, ResolveError::BindingNeeded { may_create: true }),
        "{error:?}"
    );
    let closed = Policy {
        login_only: true,
        ..plain()
    };
    let error = directory.resolve(&who, &closed, None, NOW).await.unwrap_err();
    assert!(matches!(error, ResolveError::NoAccount), "{error:?}");
    let required = policy(Association::None, PhonePolicy::Required);
    let error = directory.resolve(&who, &required, None, NOW).await.unwrap_err();
    assert!(matches!(error, ResolveError::PhoneRequired), "{error:?}");
    assert!(store.users_after("", 10).await.unwrap().is_empty());
    assert!(store.identity("wx1", "o1").await.unwrap().is_none());
}

#[tokio::test]
async fn a_number_is_not_kept_where_none_is_asked_for() {
    let (_store, directory) = directory().await;
    let never = policy(Association::None, PhonePolicy::Never);
    let resolved = directory
        .resolve(&identity("wx1", "o1", None), &never, Some(&phone()), NOW)
        .await
        .unwrap();
    assert_eq!(resolved.user.phone, None);
}
