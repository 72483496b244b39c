#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::*;
use crate::store::fixtures::{self, NOW, TestStore};
use crate::store::{RevocationKind, Store};

async fn import(store: &Store, text: &str, dry_run: bool, now: i64) -> Outcome {
    let table = table::read(text.as_bytes(), |_| {});
    assert_eq!(table.bad_lines, []);
    Directory::new(store.clone())
        .import(&table.lines, dry_run, now, &mut |_| {})
        .await
        .unwrap()
}

fn counted(created: usize, updated: usize, unchanged: usize) -> Outcome {
    Outcome {
        created,
        updated,
        unchanged,
        bad_lines: Vec::new(),
    }
}

/// Everything that an import could touch.
async fn state(store: &TestStore) -> (usize, i64, i64) {
    (
        store.users_after("", 100).await.unwrap().len(),
        store.last_revocation().await.unwrap(),
        store.last_audit().await.unwrap(),
    )
}

const FILE: &str = "username,name,phone,groups\nalice,Alice,13800138000,ops\nbob,Bob,,\n,Carol,13800138001,\n";

#[tokio::test]
async fn the_same_file_twice_changes_nothing_the_second_time() {
    let store = fixtures::store().await;
    assert_eq!(import(&store, FILE, true, NOW).await, counted(3, 0, 0));
    assert_eq!(state(&store).await, (0, 0, 0), "a dry run wrote something");
    assert_eq!(import(&store, FILE, false, NOW).await, counted(3, 0, 0));
    assert_eq!(state(&store).await, (3, 0, 3), "nobody has anything old of a new user");
    assert_eq!(import(&store, FILE, false, NOW + 5).await, counted(0, 0, 3));
    assert_eq!(state(&store).await, (3, 0, 3));

    // By username, then by number; and the nodes are told of those that are different now.
    let other = "name,phone,username\nAlicia,+8613800138009,ALICE\nCarol,13800138001,carol\nBob,,bob\n";
    assert_eq!(import(&store, other, true, NOW + 9).await, counted(0, 2, 1));
    assert_eq!(state(&store).await, (3, 0, 3), "a dry run wrote something");
    assert_eq!(import(&store, other, false, NOW + 9).await, counted(0, 2, 1));
    let alice = store.user_by_username("alice").await.unwrap().unwrap();
    assert_eq!(
        (alice.name.as_deref(), alice.username.as_deref()),
        (Some("Alicia"), Some("ALICE"))
    );
    assert_eq!(
        (alice.phone.as_deref(), alice.groups.as_slice()),
        (Some("+8613800138009"), &["ops".to_owned()][..])
    );
    assert_eq!((alice.created_at, alice.updated_at), (NOW, NOW + 9));
    let carol = store.user_by_phone("+8613800138001").await.unwrap().unwrap();
    assert_eq!(carol.username.as_deref(), Some("carol"));
    let mut told: Vec<_> = store.revocations_after(0, 1000).await.unwrap();
    told.sort_by(|one, other| one.subject.cmp(&other.subject));
    let mut expected = [alice.id, carol.id];
    expected.sort();
    assert_eq!(told.len(), 2);
    for (told, id) in told.iter().zip(expected) {
        assert_eq!((told.kind, &told.subject), (RevocationKind::Change, &id));
    }
    let audit = store.audit_after(3, 10).await.unwrap();
    assert_eq!(audit.len(), 2);
    assert!(audit.iter().all(|row| row.kind == "user_imported"));
    assert_eq!(
        audit[0].details.as_deref(),
        Some(r#"{"fields":["username","name","phone"]}"#)
    );
}

#[tokio::test]
async fn one_bad_line_keeps_all_others_out() {
    let store = fixtures::store().await;
    import(&store, FILE, false, NOW).await;
    let before = state(&store).await;
    let text = "username,phone,name\nnew,,N\nbob,13800138000,B\nalice,,Changed\n";
    let outcome = import(&store, text, false, NOW).await;
    assert_eq!(outcome.bad_lines.len(), 1);
    assert_eq!(
        (outcome.bad_lines[0].line, outcome.bad_lines[0].column.as_deref()),
        (3, Some("phone"))
    );
    assert_eq!(state(&store).await, before);
    let alice = store.user_by_username("alice").await.unwrap().unwrap();
    assert_eq!(alice.name.as_deref(), Some("Alice"));
}

#[tokio::test]
async fn who_is_kept_out_stays_out() {
    let store = fixtures::store().await;
    import(&store, FILE, false, NOW).await;
    let alice = store.user_by_username("alice").await.unwrap().unwrap();
    assert!(store.set_disabled(&alice.id, true, "left", NOW).await.unwrap());
    import(&store, "username,name\nalice,New\n", false, NOW).await;
    let alice = store.user_by_username("alice").await.unwrap().unwrap();
    assert!(alice.disabled && alice.name.as_deref() == Some("New"));
}
