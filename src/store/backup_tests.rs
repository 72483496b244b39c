#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use super::super::fixtures::{self, NOW, TestStore, scan, session};
use super::super::schema::KNOWN;
use super::super::{AuditRow, KeyRotation, NewKey, RevocationKind, RevokedToken, TokenKind, TokenRow};
use super::*;

async fn filled() -> TestStore {
    let store = fixtures::store().await;
    for user in ["u_1", "u_2"] {
        fixtures::user(&store, user).await;
    }
    let key = NewKey {
        kind: KeyKind::Sealing,
        algorithm: None,
        material: SecretSlice::from(vec![0, 1, 254, 255]),
        wrapped: true,
        created_at: NOW,
        active_from: NOW,
    };
    let KeyRotation::Made(_) = store.rotate_keys(&[key], NOW).await.unwrap() else {
        panic!("not made")
    };
    for (id, user) in [("s1", "u_1"), ("s2", "u_1"), ("s3", "u_2")] {
        store.insert_session(&session(id, user)).await.unwrap();
    }
    assert!(store.end_session("s1", "logout", NOW).await.unwrap());
    assert!(store.ticket_scan(&scan("ticket", "o1")).await.unwrap());
    let event = AuditRow {
        kind: "login".to_owned(),
        at: NOW,
        reason: Some("line\nbreak \"quoted\" 王".to_owned()),
        ..AuditRow::default()
    };
    store.insert_audit(&vec![event; ROWS_AT_ONCE + 3]).await.unwrap();
    store
}

async fn backup(store: &Store) -> Vec<u8> {
    let mut out = Vec::new();
    store.back_up(&mut out, NOW + 5, |_| {}).await.unwrap();
    out
}

async fn restored(store: &Store, file: &[u8], force: bool) -> Result<Contents, BackupError> {
    store.restore(file, force, NOW + 10, |_| {}).await
}

/// Everything but the head, which has the time.
async fn lines(store: &Store) -> BTreeSet<String> {
    let text = String::from_utf8(backup(store).await).unwrap();
    let without =
        |line: &&str| !line.contains("\"format\"") && !line.contains("\"end\"") && !line.starts_with("[\"keys\",");
    text.lines().skip(1).filter(without).map(str::to_owned).collect()
}

#[tokio::test]
async fn what_was_backed_up_is_there_again() {
    let store = filled().await;
    let file = backup(&store).await;
    let (contents, keys) = examine(&file[..], |_| {}).unwrap();
    assert_eq!(
        (contents.rows["users"], contents.rows["sessions"], contents.made_at),
        (2, 3, NOW + 5)
    );
    assert_eq!((keys.len(), keys[0].wrapped, keys[0].kind), (1, true, KeyKind::Sealing));
    let other = fixtures::store().await;
    assert_eq!(restored(&other, &file, false).await.unwrap(), contents);
    assert_eq!(lines(&other).await, lines(&store).await);
    assert!(other.keys_version().await.unwrap() > store.keys_version().await.unwrap());
    // What lives for minutes is not brought back to life.
    assert!(other.ticket("ticket").await.unwrap().is_none());
    // The numbers go on.
    let (last, audited) = (store.last_revocation().await.unwrap(), ROWS_AT_ONCE as i64 + 3);
    assert_eq!(last, 1);
    assert!(other.end_session("s2", "logout", NOW).await.unwrap());
    let new = other.revocations_after(last, 1000).await.unwrap();
    assert_eq!((new.len(), &*new[0].subject), (1, "s2"));
    other.insert_audit(&[AuditRow::default()]).await.unwrap();
    assert_eq!(other.audit_after(audited, 10).await.unwrap()[0].seq, audited + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_is_of_one_moment() {
    let store = filled().await;
    let mut out = Vec::new();
    let mut done = false;
    let writer = store.reopen().await;
    let handle = tokio::runtime::Handle::current();
    // In the middle of the reading somebody else adds a user and their session.
    store
        .back_up(&mut out, NOW, |rows| {
            if rows > 6 && !done {
                done = true;
                let writer = writer.clone();
                let adding = std::thread::spawn({
                    let handle = handle.clone();
                    move || {
                        handle.block_on(async {
                            fixtures::user(&writer, "u_3").await;
                            writer.insert_session(&session("s9", "u_3")).await.unwrap();
                        });
                    }
                });
                while !adding.is_finished() {
                    std::thread::yield_now();
                }
            }
        })
        .await
        .unwrap();
    assert!(done && store.session("s9").await.unwrap().is_some());
    let text = String::from_utf8(out).unwrap();
    assert!(!text.contains("u_3") && !text.contains("s9"), "{text}");
}

#[tokio::test]
async fn a_store_with_something_in_it_is_left_alone() {
    let file = backup(&*filled().await).await;
    let store = fixtures::store().await;
    fixtures::user(&store, "u_9").await;
    let before = lines(&store).await;
    let refused = restored(&store, &file, false).await;
    assert!(
        matches!(&refused, Err(BackupError::NotEmpty(present)) if present["users"] == 1 && present.len() == 1),
        "{refused:?}"
    );
    assert_eq!(lines(&store).await, before);
    restored(&store, &file, true).await.unwrap();
    assert!(store.user("u_9").await.unwrap().is_none() && store.user("u_1").await.unwrap().is_some());
}

#[tokio::test]
async fn what_was_revoked_after_the_backup_stays_revoked_and_nodes_learn_the_rest() {
    let store = filled().await;
    let file = backup(&store).await;
    assert!(store.end_session("s2", "logout", NOW + 6).await.unwrap());
    assert_eq!(store.end_sessions_of("u_2", "operator", NOW + 7).await.unwrap(), 1);
    let seen = store.last_revocation().await.unwrap();
    restored(&store, &file, true).await.unwrap();
    for id in ["s1", "s2", "s3"] {
        assert!(
            store.session(id).await.unwrap().unwrap().ended_at.is_some(),
            "{id} lives again"
        );
    }
    let all = store.revocations_after(0, 1000).await.unwrap();
    let of = |kind, subject: &str| {
        all.iter()
            .filter(|one| one.kind == kind && one.subject == subject)
            .count()
    };
    assert_eq!(of(RevocationKind::Session, "s2"), 1);
    assert_eq!(of(RevocationKind::User, "u_2"), 1);
    // A node that has read everything up to here asks for what comes after, and is told of the backup's.
    let new = store.revocations_after(seen, 1000).await.unwrap();
    assert_eq!((new.len(), &*new[0].subject), (1, "s1"));
    assert!(store.last_revocation().await.unwrap() >= new[0].seq);
}

fn token(id: &str, kind: TokenKind) -> TokenRow {
    TokenRow {
        id: id.to_owned(),
        kind,
        hash: id.as_bytes().to_vec(),
        user_id: "u_1".to_owned(),
        label: None,
        sites: None,
        connection: None,
        session_id: None,
        auth_time: NOW,
        created_at: NOW,
        expires_at: Some(NOW + 9_999),
        last_used_at: None,
        used_at: None,
        revoked_at: None,
    }
}

#[tokio::test]
async fn what_was_spent_or_disabled_after_the_backup_stays_so() {
    let store = filled().await;
    let tokens = [
        ("revoked", TokenKind::Api),
        ("refresh", TokenKind::Refresh),
        ("good", TokenKind::Api),
    ];
    for (id, kind) in tokens {
        assert!(store.issue_token(&token(id, kind)).await.unwrap());
    }
    for id in ["b_1", "b_2"] {
        fixtures::bind_code(&store, id, "u_1", "hash", NOW).await;
    }
    let file = backup(&store).await;
    let revoked = store.revoke_token("revoked", "operator", NOW + 6).await.unwrap();
    assert_eq!(revoked, RevokedToken::Now);
    let spend = sqlx::query("UPDATE tokens SET used_at = $1 WHERE id = 'refresh'").bind(NOW + 6);
    assert_eq!(store.execute(spend).await.unwrap(), 1);
    let mut tx = store.begin().await.unwrap();
    assert!(tx.spend_bind_code("b_1", NOW + 6).await.unwrap());
    tx.commit().await.unwrap();
    assert!(store.set_disabled("u_2", true, "left", NOW + 6).await.unwrap());

    for _ in 0..2 {
        restored(&store, &file, true).await.unwrap();
        for (id, revoked_at, used_at) in [
            ("revoked", Some(NOW + 6), None),
            ("refresh", None, Some(NOW + 6)),
            ("good", None, None),
        ] {
            let row = store.token_by_hash(id.as_bytes()).await.unwrap().unwrap();
            assert_eq!((row.revoked_at, row.used_at), (revoked_at, used_at), "{id}");
        }
        for (id, disabled) in [("u_1", false), ("u_2", true)] {
            assert_eq!(store.user(id).await.unwrap().unwrap().disabled, disabled, "{id}");
        }
        let unspent = "SELECT COUNT(*) FROM bind_codes WHERE used_at IS NULL";
        assert_eq!(fixtures::number(&store, unspent).await, 1);
    }
}

#[tokio::test]
async fn what_is_no_whole_backup_is_refused_before_anything_happens() {
    let store = filled().await;
    let file = backup(&store).await;
    let text = String::from_utf8(file.clone()).unwrap();
    let swapped = |from: &str, to: &str| {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text, "{from}");
        changed.into_bytes()
    };
    let half = file[..file.len() / 2].to_vec();
    let line = text.lines().take(5).map(|line| format!("{line}\n")).collect::<String>();
    let damaged = [
        half,
        line.into_bytes(),
        swapped("u_1", "u_7"),
        swapped("\"sha256\":\"", "\"sha256\":\"0"),
        swapped("\"table\":\"users\"", "\"table\":\"houses\""),
        swapped("\"email\"", "\"e_mail\""),
        swapped("[\"audit\",", "[1,"),
        [&file[..], b"more\n"].concat(),
    ];
    let empty = fixtures::store().await;
    for file in damaged {
        let refused = examine(&file[..], |_| {});
        assert!(matches!(refused, Err(BackupError::Damaged { .. })), "{refused:?}");
        // The store may find it wrong before the checksum does.
        restored(&empty, &file, false).await.unwrap_err();
        assert!(empty.user("u_1").await.unwrap().is_none() && empty.keys().await.unwrap().is_empty());
    }
    for foreign in [&b""[..], b"SQLite format 3\0", b"{}\n", b"[1]\n"] {
        assert!(matches!(examine(foreign, |_| {}), Err(BackupError::Foreign)));
    }
    let newer = swapped("\"version\":1", "\"version\":2");
    assert!(matches!(examine(&newer[..], |_| {}), Err(BackupError::Newer(_))));
    let newer = swapped(&format!("\"schema\":{KNOWN}"), &format!("\"schema\":{}", KNOWN + 1));
    assert!(matches!(
        restored(&empty, &newer, false).await,
        Err(BackupError::Newer(_))
    ));
}

/// A table or a column that a migration adds belongs into [`TABLES`] or [`LEFT_OUT`].
#[tokio::test]
async fn every_table_and_column_of_the_schema_is_in_a_backup() {
    let store = fixtures::store().await;
    let (tables, columns) = match store.engine {
        Engine::Sqlite => (
            "SELECT name AS name FROM sqlite_master WHERE type = 'table'",
            "SELECT name AS name FROM pragma_table_info('{}')",
        ),
        Engine::Postgres => (
            "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = current_schema()",
            "SELECT column_name::text AS name FROM information_schema.columns
             WHERE table_schema = current_schema() AND table_name = '{}'",
        ),
    };
    let names = async |query: String| -> BTreeSet<String> {
        let rows = store.fetch_all(sqlx::query(AssertSqlSafe(query))).await.unwrap();
        rows.iter().map(|row| row.try_get("name").unwrap()).collect()
    };
    let known = TABLES
        .iter()
        .map(|table| table.name)
        .chain(LEFT_OUT)
        .chain(["schema_versions"]);
    assert_eq!(names(tables.to_owned()).await, known.map(str::to_owned).collect());
    for table in TABLES {
        let known = table.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        assert_eq!(names(columns.replace("{}", table.name)).await, known, "{}", table.name);
    }
}
