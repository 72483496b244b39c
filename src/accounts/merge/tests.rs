#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use serde_json::Value;

use super::*;
use crate::accounts::AttributeEdits;
use crate::store::fixtures::{self, NOW, TestStore, session};
use crate::store::{IdentityRow, NewUser, UserChange};

fn identity(app_id: &str, openid: &str, union: Option<(&str, &str)>, user: &str) -> IdentityRow {
    IdentityRow {
        app_id: app_id.to_owned(),
        openid: openid.to_owned(),
        open_platform: union.map(|(account, _)| account.to_owned()),
        unionid: union.map(|(_, unionid)| unionid.to_owned()),
        user_id: user.to_owned(),
        created_at: NOW,
    }
}

#[test]
fn signs_of_two_people_are_conflicts() {
    let (keep, remove) = (
        User {
            id: "u_1".to_owned(),
            ..User::default()
        },
        User {
            id: "u_2".to_owned(),
            ..User::default()
        },
    );
    let one = |app, openid, union| vec![identity(app, openid, union, "u")];
    let table: Vec<(Vec<IdentityRow>, Vec<IdentityRow>, Vec<Conflict>)> = vec![
        (vec![], one("wx1", "o1", None), vec![]),
        (one("wx2", "o2", None), one("wx1", "o1", None), vec![]),
        (
            one("wx1", "o2", None),
            one("wx1", "o1", None),
            vec![Conflict::App("wx1".to_owned())],
        ),
        (
            one("wx2", "o2", Some(("corp", "n1"))),
            one("wx1", "o1", Some(("corp", "n2"))),
            vec![Conflict::OpenPlatform("corp".to_owned())],
        ),
        (
            one("wx2", "o2", Some(("corp", "n1"))),
            one("wx1", "o1", Some(("corp", "n1"))),
            vec![],
        ),
        (
            one("wx2", "o2", Some(("corp", "n1"))),
            one("wx1", "o1", Some(("other", "n2"))),
            vec![],
        ),
    ];
    for (of_keep, of_remove, expected) in table {
        assert_eq!(
            plan(&keep, &remove, &of_keep, of_remove).conflicts,
            expected,
            "{of_keep:?}"
        );
    }
    let disabled = User {
        disabled: true,
        ..remove
    };
    assert_eq!(plan(&keep, &disabled, &[], vec![]).conflicts, [Conflict::Disabled]);
}

/// Two users of one person, and a third.
struct Case {
    store: TestStore,
    directory: Directory,
    keep: User,
    remove: User,
}

async fn case() -> Case {
    let store = fixtures::store().await;
    let directory = Directory::new(crate::store::Store::clone(&store));
    let keep = NewUser {
        username: Some("alice".to_owned()),
        name: Some("Alice".to_owned()),
        groups: vec!["staff".to_owned()],
        attributes: [("floor".to_owned(), Value::from("3"))].into_iter().collect(),
        created_at: NOW,
        ..NewUser::default()
    };
    let remove = NewUser {
        username: Some("alice2".to_owned()),
        phone: Some("+8613800138000".to_owned()),
        email: Some("a@example.com".to_owned()),
        groups: vec!["ops".to_owned(), "staff".to_owned()],
        attributes: [
            ("floor".to_owned(), Value::from("4")),
            ("desk".to_owned(), Value::from("7")),
        ]
        .into_iter()
        .collect(),
        password_hash: Some("$argon2id$secret".to_owned()),
        created_at: NOW - 100,
        ..NewUser::default()
    };
    let (keep, remove) = (
        directory.create(keep).await.unwrap(),
        directory.create(remove).await.unwrap(),
    );
    let mut tx = store.directory().await.unwrap();
    for row in [
        identity("wx1", "o1", None, &keep.id),
        identity("wx2", "o2", Some(("corp", "n2")), &remove.id),
        identity("wx3", "o3", None, &remove.id),
    ] {
        tx.insert_identity(&row).await.unwrap();
    }
    tx.commit().await.unwrap();
    store.insert_session(&session("s1", &keep.id)).await.unwrap();
    store.insert_session(&session("s2", &remove.id)).await.unwrap();
    Case {
        store,
        directory,
        keep,
        remove,
    }
}

impl Case {
    async fn merge(&self) -> Merged {
        self.directory
            .merge(&self.keep.id, &self.remove.id, false, NOW + 10)
            .await
            .unwrap()
    }

    async fn edit(&self, id: &str, change: UserChange) {
        self.directory
            .edit(id, change, AttributeEdits::new(), NOW + 15)
            .await
            .unwrap();
    }

    async fn undo_refused(&self, seq: i64) -> String {
        let before = (
            self.store.users_after("", 10).await.unwrap(),
            self.store.last_audit().await.unwrap(),
        );
        let error = self.directory.undo_merge(seq, NOW + 20).await.unwrap_err();
        let after = (
            self.store.users_after("", 10).await.unwrap(),
            self.store.last_audit().await.unwrap(),
        );
        assert!(before == after, "a refused undo changed something");
        error.to_string()
    }
}

#[tokio::test]
async fn a_merge_moves_fills_and_ends_and_says_so_beforehand() {
    let case = case().await;
    let planned = case.directory.plan_merge(&case.keep, &case.remove).await.unwrap();
    assert!(case.store.user(&case.remove.id).await.unwrap().is_some());
    let merged = case.merge().await;
    assert_eq!(merged.plan, planned);
    assert_eq!(planned.filled, ["phone", "email", "attributes"]);
    assert_eq!(planned.lost, ["username", "attributes", "password"]);
    assert_eq!(planned.groups, ["ops"]);
    let user = case.store.user(&case.keep.id).await.unwrap().unwrap();
    assert_eq!(
        (user.username.as_deref(), user.phone.as_deref()),
        (Some("alice"), Some("+8613800138000"))
    );
    assert_eq!(user.groups, ["staff", "ops"]);
    assert_eq!(
        (&user.attributes["floor"], &user.attributes["desk"]),
        (&"3".into(), &"7".into())
    );
    assert_eq!(case.store.identities_of(&user.id).await.unwrap().len(), 3);
    assert!(case.store.user(&case.remove.id).await.unwrap().is_none());
    let told = case.store.revocations_after(0, 1000).await.unwrap();
    assert!(told.iter().any(|told| told.subject == "s2") && !told.iter().any(|told| told.subject == "s1"));
    let audit = case.store.audit_after(2, 10).await.unwrap();
    let kinds: Vec<_> = audit
        .iter()
        .map(|row| (row.kind.as_str(), row.user_id.as_deref().unwrap()))
        .collect();
    assert_eq!(
        kinds,
        [("user_deleted", &*case.remove.id), ("user_merged", &*case.keep.id)]
    );
    assert_eq!(audit[1].seq, merged.seq);
    let shown = printable_details(audit[1].details.as_deref().unwrap())
        .unwrap()
        .to_string();
    assert!(
        !shown.contains("+86138") && !shown.contains("argon2") && shown.contains(&case.remove.id),
        "{shown}"
    );
}

#[tokio::test]
async fn an_undo_gives_both_what_they_had() {
    let case = case().await;
    let (seq, mut keep) = (case.merge().await.seq, case.keep.clone());
    let undone = case.directory.undo_merge(seq, NOW + 20).await.unwrap();
    keep.updated_at = NOW + 20;
    assert!(undone.kept == keep && undone.restored == case.remove);
    assert!(case.store.user(&case.remove.id).await.unwrap().as_ref() == Some(&case.remove));
    let mut tx = case.store.directory().await.unwrap();
    let hash = tx.password_hash_of(&case.remove.id).await.unwrap();
    drop(tx);
    assert_eq!(hash.as_deref(), Some("$argon2id$secret"));
    let identities = case.store.identities_of(&case.remove.id).await.unwrap();
    let expected = [
        identity("wx2", "o2", Some(("corp", "n2")), &case.remove.id),
        identity("wx3", "o3", None, &case.remove.id),
    ];
    assert_eq!(identities, expected);
    assert_eq!(case.store.identities_of(&case.keep.id).await.unwrap().len(), 1);
    // Whoever logged in meanwhile may be either of the two.
    assert!(case.store.sessions_of(&case.keep.id, NOW).await.unwrap().is_empty());
    let audit = case.store.audit_after(seq - 1, 10).await.unwrap();
    assert_eq!(
        audit[0].details,
        Some(format!(r#"{{"identities":2,"removed":"{}"}}"#, case.remove.id))
    );
    assert_eq!(
        audit[1..].iter().filter(|row| row.kind == "user_merge_undone").count(),
        2
    );
    assert!(case.undo_refused(seq).await.contains("was already"));
}

#[tokio::test]
async fn an_undo_is_refused_when_things_have_changed_since() {
    let phone = |phone: Option<&str>| UserChange {
        phone: Some(phone.map(str::to_owned)),
        ..UserChange::default()
    };
    let case_a = case().await;
    let seq = case_a.merge().await.seq;
    case_a.edit(&case_a.keep.id, phone(Some("+8613900139000"))).await;
    assert!(case_a.undo_refused(seq).await.contains("the phone number of \"alice\""));
    case_a.edit(&case_a.keep.id, phone(Some("+8613800138000"))).await;
    let keep = case_a.store.user(&case_a.keep.id).await.unwrap().unwrap();
    case_a
        .directory
        .unbind(&keep, "wx3", "o3", false, NOW + 15)
        .await
        .unwrap();
    assert!(case_a.undo_refused(seq).await.contains("wx3:o3 is no longer theirs"));

    let case_b = case().await;
    let seq = case_b.merge().await.seq;
    let other = NewUser {
        username: Some("Alice2".to_owned()),
        created_at: NOW,
        ..NewUser::default()
    };
    let other = case_b.directory.create(other).await.unwrap();
    assert!(case_b.undo_refused(seq).await.contains(&other.id));
    assert!(case_b.undo_refused(seq + 100).await.contains("no merge"));
    assert!(case_b.undo_refused(seq - 1).await.contains("no merge"));
    // The name is free again: nothing else was in the way.
    assert!(case_b.directory.delete(&other.id, "test", NOW + 16).await.unwrap());
    case_b.directory.undo_merge(seq, NOW + 20).await.unwrap();
}

#[tokio::test]
async fn deleting_the_kept_user_deletes_what_is_known_of_the_removed_one() {
    let case = case().await;
    let seq = case.merge().await.seq;
    assert!(
        case.directory
            .delete(&case.keep.id, "asked for", NOW + 15)
            .await
            .unwrap()
    );
    let rows = case.store.audit_after(0, 100).await.unwrap();
    let held = format!("{rows:?}");
    assert!(
        !held.contains("+8613800138000") && !held.contains("a@example.com") && !held.contains("argon2"),
        "{held}"
    );
    assert!(case.undo_refused(seq).await.contains("deleted"));
}

#[tokio::test]
async fn two_people_are_merged_by_force_only() {
    let case = case().await;
    let mut tx = case.store.directory().await.unwrap();
    tx.insert_identity(&identity("wx1", "o9", None, &case.remove.id))
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let refused = case
        .directory
        .merge(&case.keep.id, &case.remove.id, false, NOW)
        .await
        .unwrap_err();
    assert!(matches!(refused, MergeError::Conflicts), "{refused}");
    assert!(case.store.user(&case.remove.id).await.unwrap().is_some());
    let same = case.directory.plan_merge(&case.keep, &case.keep).await.unwrap_err();
    assert!(matches!(same, MergeError::Same(_)), "{same}");
    let seq = case
        .directory
        .merge(&case.keep.id, &case.remove.id, true, NOW)
        .await
        .unwrap()
        .seq;
    assert_eq!(case.store.identities_of(&case.keep.id).await.unwrap().len(), 4);
    case.directory.undo_merge(seq, NOW).await.unwrap();
    assert_eq!(case.store.identities_of(&case.remove.id).await.unwrap().len(), 3);
}
