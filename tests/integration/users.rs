//! `menshen users` and `menshen audit` as an operator runs them, beside a running gateway and without one.

use std::os::unix::fs::FileExt;
use std::process::Output;
use std::time::{Duration, Instant};

use secrecy::SecretString;
use serde_json::Value;

use crate::support::World;
use crate::support::process::{Process, run};

/// An installation without a gateway.
struct Installation {
    world: World,
    config: String,
}

impl Installation {
    async fn new() -> Self {
        let world = World::plan().build().await;
        std::fs::write(world.configuration(), world.text()).unwrap();
        Self::of(world)
    }

    fn of(world: World) -> Self {
        let config = world.configuration().display().to_string();
        Self { world, config }
    }

    async fn run(&self, arguments: &[&str]) -> Output {
        run(&[arguments, &["--config", &self.config]].concat()).await
    }

    /// What a verb that succeeds prints.
    async fn done(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert_eq!(output.status.code(), Some(0), "{arguments:?}: {}", complaint(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let text = self.done(&[arguments, &["--json"]].concat()).await;
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    /// What a verb that fails says.
    async fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.run(arguments).await;
        assert_eq!(
            output.status.code(),
            Some(code),
            "{arguments:?}: {}",
            complaint(&output)
        );
        complaint(&output)
    }

    fn file(&self, name: &str, text: &str) -> String {
        let path = self.world.configuration().with_file_name(name);
        std::fs::write(&path, text).unwrap();
        path.display().to_string()
    }

    fn store_file(&self) -> std::path::PathBuf {
        self.world.configuration().with_file_name("menshen.db")
    }
}

fn complaint(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn an_import_tells_every_bad_line_and_then_changes_nothing() {
    let menshen = Installation::new().await;
    menshen
        .done(&["users", "create", "--username", "alice", "--phone", "13800138000"])
        .await;
    let bad = menshen.file(
        "bad.csv",
        "\u{feff}Phone,username,groups\r\n13900139000,bob,staff;ops\r\n13800138000,carol,\r\n12,dave,\r\n,,ops\r\n",
    );
    let output = menshen.run(&["users", "import", &bad]).await;
    assert_eq!(output.status.code(), Some(1));
    let said = complaint(&output);
    for expected in [
        "line 3, phone: that of \"alice\"",
        "line 4, phone: ",
        "line 5: neither",
        "Nothing was imported",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("line 2"), "{said}");
    let output = menshen.run(&["users", "import", &bad, "--json"]).await;
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), &report["imported"]), (Some(1), &false.into()));
    assert_eq!(report["bad_lines"].as_array().unwrap().len(), 3);
    assert_eq!(
        (&report["bad_lines"][0]["line"], &report["bad_lines"][0]["column"]),
        (&3.into(), &"phone".into())
    );
    assert_eq!(menshen.json(&["users", "list"]).await.as_array().unwrap().len(), 1);
    let header = menshen.file("header.csv", "login,name\na,b\n");
    let said = menshen.fails(1, &["users", "import", &header]).await;
    assert!(said.contains("line 1: the column \"login\" is unknown"), "{said}");
    let said = menshen.fails(1, &["users", "import", "/nowhere.csv"]).await;
    assert!(said.contains("/nowhere.csv cannot be read"), "{said}");
}

#[tokio::test]
async fn a_file_imported_twice_is_the_same_and_an_export_is_such_a_file() {
    let menshen = Installation::new().await;
    let file = menshen.file(
        "users.csv",
        "username,name,phone,email,groups,attribute:floor\nalice,\"Li, Lei\",13800138000,a@example.com,ops;staff,3\n,王小明,13900139000,,,\n",
    );
    let counts = |report: &Value| ["created", "updated", "unchanged"].map(|count| report[count].as_u64().unwrap());
    let dry = menshen.json(&["users", "import", &file, "--dry-run"]).await;
    assert_eq!((counts(&dry), &dry["imported"]), ([2, 0, 0], &false.into()));
    assert_eq!(menshen.json(&["users", "list"]).await, Value::Array(Vec::new()));
    assert_eq!(counts(&menshen.json(&["users", "import", &file]).await), [2, 0, 0]);
    assert_eq!(counts(&menshen.json(&["users", "import", &file]).await), [0, 0, 2]);
    let alice = menshen.json(&["users", "show", "138 0013 8000"]).await;
    assert_eq!(
        (&alice["username"], &alice["attributes"]["floor"]),
        (&"alice".into(), &"3".into())
    );

    menshen.done(&["users", "create", "--username", "gone"]).await;
    menshen.done(&["users", "disable", "gone"]).await;
    let output = menshen.run(&["users", "export"]).await;
    let said = complaint(&output);
    assert!(said.contains("left out 1"), "{said}");
    let exported = String::from_utf8(output.stdout).unwrap();
    assert!(!exported.contains("gone"), "{exported}");
    let again = menshen.file("exported.csv", &exported);
    assert_eq!(counts(&menshen.json(&["users", "import", &again]).await), [0, 0, 2]);
    let elsewhere = Installation::new().await;
    assert_eq!(counts(&elsewhere.json(&["users", "import", &again]).await), [2, 0, 0]);

    let person: Value = serde_json::from_str(&menshen.done(&["users", "export", "--user", "alice"]).await).unwrap();
    assert_eq!(person["user"]["email"], "a@example.com");
    assert_eq!(person["audit"][0]["kind"], "user_imported");
    menshen
        .fails(2, &["users", "export", "--user", "alice", "--format", "csv"])
        .await;
}

#[tokio::test]
async fn mistakes_of_an_operator_say_what_to_do() {
    let menshen = Installation::new().await;
    menshen
        .done(&["users", "create", "--username", "alice", "--phone", "13800138000"])
        .await;
    let cases: [(&[&str], i32, &str); 10] = [
        (
            &["users", "create", "--username", "ＡＬＩＣＥ"],
            1,
            "the username is that of \"alice\"",
        ),
        (
            &["users", "create", "--phone", "+86 138 0013 8000"],
            1,
            "the phone number is that of \"alice\"",
        ),
        (
            &["users", "create", "--username", "u_7zzzzzzzzzzzzzzzzzzzzzzzzz"],
            2,
            "looks like a user id",
        ),
        (&["users", "create", "--phone", "5551234"], 2, "country code"),
        (
            &["users", "create", "--service", "--phone", "13800138001"],
            2,
            "cannot be used with",
        ),
        (&["users", "edit", "alice"], 2, "nothing to change"),
        (&["users", "show", "bob"], 1, "menshen users list"),
        (&["users", "delete", "alice"], 2, "--yes"),
        (
            &["users", "unbind", "alice", "--identity", "wx1:o1"],
            1,
            "has no identity wx1:o1",
        ),
        (&["audit", "tail", "--kind", "loggin"], 2, "user_created"),
    ];
    for (arguments, code, expected) in cases {
        let said = menshen.fails(code, arguments).await;
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    assert_eq!(menshen.json(&["users", "list"]).await.as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn who_is_disabled_is_out_of_a_running_gateway_within_a_second() {
    let (world, mut process) = World::plan().start_process().await;
    let mut browser = world.browser();
    browser.log_in("lilei").await;
    let user = browser.fetch("GET", "/.menshen/userinfo").await.json()["sub"].clone();
    let user = user.as_str().unwrap();
    let request = browser.script("GET", "/");
    let menshen = Installation::of(world);

    // A change reaches the application without anybody being signed out.
    menshen
        .done(&["users", "edit", user, "--username", "lilei", "--group", "ops"])
        .await;
    menshen
        .world
        .until(async || {
            menshen.world.send(&request).await.expect(200);
            menshen.world.upstream.last().header("remote-user").as_deref() == Some("lilei")
        })
        .await;
    assert_eq!(
        menshen.world.upstream.last().header("remote-groups").as_deref(),
        Some("ops")
    );
    let renamed = menshen.file("renamed.csv", "username,groups\nlilei,night\n");
    menshen.done(&["users", "import", &renamed]).await;
    menshen
        .world
        .until(async || {
            menshen.world.send(&request).await.expect(200);
            menshen.world.upstream.last().header("remote-groups").as_deref() == Some("night")
        })
        .await;
    assert_eq!(menshen.json(&["users", "show", "lilei"]).await["live_sessions"], 1);

    menshen
        .done(&["users", "disable", "lilei", "--reason", "left the company"])
        .await;
    let done = Instant::now();
    menshen
        .world
        .until(async || menshen.world.send(&request).await.status == 401)
        .await;
    assert!(done.elapsed() < Duration::from_secs(2), "{:?}", done.elapsed());
    let page = menshen.world.browser().open("/").await.login_page();
    menshen
        .world
        .phone("lilei")
        .scan(&page.ticket)
        .await
        .refused(403, "user_disabled");
    menshen.done(&["users", "enable", "lilei"]).await;
    menshen.world.browser().log_in("lilei").await;
    menshen.done(&["users", "delete", "lilei", "--yes"]).await;
    menshen.fails(1, &["users", "show", "lilei"]).await;
    process.terminate().await;
    process.ended().await;

    // What a deleted person did is still told by their id, without a name.
    let events = menshen.done(&["audit", "export", "--user", user]).await;
    let kinds: Vec<_> = events
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["kind"]
                .as_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    for expected in [
        "user_created",
        "confirm",
        "login",
        "user_changed",
        "user_imported",
        "user_disabled",
        "user_deleted",
    ] {
        assert!(kinds.iter().any(|kind| kind == expected), "{expected}: {kinds:?}");
    }
    assert!(
        !events.contains("lilei") && events.contains("left the company"),
        "{events}"
    );
}

#[tokio::test]
async fn a_bind_code_is_shown_once_and_stored_as_a_hash() {
    let menshen = Installation::new().await;
    menshen.done(&["users", "create", "--username", "alice"]).await;
    let shown = menshen.json(&["users", "bind", "alice", "--expires", "1h"]).await;
    let code = shown["code"].as_str().unwrap();
    assert_eq!(code.len(), 19, "{code}");
    let plain = menshen.done(&["users", "bind", "alice"]).await;
    assert_eq!(plain.trim().len(), 19, "{plain}");
    menshen.fails(2, &["users", "bind", "alice", "--expires", "90d"]).await;
    let mut watch = menshen.world.watch_store().await;
    assert_eq!(watch.count("SELECT count(*) FROM bind_codes").await, 1);
    assert_eq!(
        watch
            .count("SELECT count(*) FROM bind_codes WHERE hash LIKE '$argon2id$%'")
            .await,
        1
    );
    let events = menshen.done(&["audit", "export", "--kind", "bind_code_issued"]).await;
    assert_eq!(events.lines().count(), 2);
    assert!(!events.contains(code) && !events.contains(plain.trim()), "{events}");
}

#[tokio::test]
async fn a_merge_is_shown_then_done_then_taken_back() {
    let menshen = Installation::new().await;
    menshen
        .done(&["users", "create", "--username", "alice", "--group", "staff"])
        .await;
    menshen
        .done(&["users", "create", "--phone", "13800138000", "--group", "ops"])
        .await;
    let both = menshen.json(&["users", "list"]).await;
    let shown = menshen.json(&["users", "merge", "alice", "13800138000"]).await;
    assert_eq!(
        (&shown["done"], &shown["fills"][0], &shown["groups"][0]),
        (&false.into(), &"phone".into(), &"ops".into())
    );
    assert_eq!(menshen.json(&["users", "list"]).await, both);
    let done = menshen.json(&["users", "merge", "alice", "13800138000", "--yes"]).await;
    let number = done["number"].as_i64().unwrap().to_string();
    assert_eq!(menshen.json(&["users", "list"]).await.as_array().unwrap().len(), 1);
    assert_eq!(
        menshen.json(&["users", "show", "13800138000"]).await["username"],
        "alice"
    );
    let exported = menshen.done(&["audit", "export", "--format", "csv"]).await;
    assert!(
        exported.contains("user_merged") && !exported.contains("13800138000"),
        "{exported}"
    );
    menshen.done(&["users", "edit", "alice", "--group", "other"]).await;
    let refused = menshen.fails(1, &["users", "merge", "--undo", &number]).await;
    assert!(refused.contains("the list of groups of \"alice\""), "{refused}");
    menshen
        .done(&["users", "edit", "alice", "--group", "staff", "--group", "ops"])
        .await;
    menshen.json(&["users", "merge", "--undo", &number]).await;
    let timeless = |mut list: Value| {
        for user in list.as_array_mut().unwrap() {
            user["updated_at"] = Value::Null;
        }
        list
    };
    assert_eq!(timeless(menshen.json(&["users", "list"]).await), timeless(both));
    menshen.fails(1, &["users", "merge", "--undo", &number]).await;
    menshen.fails(2, &["users", "merge", "alice"]).await;
    menshen.fails(1, &["users", "merge", "alice", "alice"]).await;
}

#[tokio::test]
async fn the_audit_is_filtered_and_followed() {
    let menshen = Installation::new().await;
    for name in ["alice", "bob", "carol"] {
        menshen.done(&["users", "create", "--username", name]).await;
    }
    menshen.done(&["users", "disable", "bob"]).await;
    let lines = async |arguments: &[&str]| menshen.done(arguments).await.lines().count();
    assert_eq!(lines(&["audit", "tail"]).await, 4);
    assert_eq!(lines(&["audit", "tail", "-n", "2"]).await, 2);
    assert_eq!(
        lines(&["audit", "tail", "-n", "1", "--kind", "user_created", "--json"]).await,
        1
    );
    assert_eq!(lines(&["audit", "export", "--user", "bob"]).await, 2);
    assert_eq!(
        lines(&["audit", "export", "--since", "1h", "--until", "2100-01-01"]).await,
        4
    );
    assert_eq!(lines(&["audit", "export", "--until", "1h"]).await, 0);
    assert_eq!(lines(&["audit", "export", "--connection", "staff"]).await, 0);
    assert_eq!(lines(&["audit", "export", "--request-id", "x"]).await, 0);
    assert_eq!(
        lines(&["audit", "export", "--format", "csv", "--kind", "user_disabled"]).await,
        2
    );

    let mut following =
        Process::follow(&["audit", "tail", "-n", "1", "-f", "--json", "--config", &menshen.config]).await;
    assert!(following.written().contains("user_disabled"), "{}", following.written());
    menshen.done(&["users", "enable", "bob"]).await;
    menshen
        .world
        .until(async || following.written().contains("user_enabled"))
        .await;
    assert_eq!(following.written().lines().count(), 2, "{}", following.written());
    following.interrupt().await;
    assert_eq!(following.ended().await.code(), Some(0));
}

#[tokio::test]
async fn a_store_that_cannot_be_used_says_why_and_ends_with_1() {
    let menshen = Installation::new().await;
    menshen.done(&["users", "create", "--username", "alice"]).await;
    let url = SecretString::from(format!("sqlite:{}", menshen.store_file().display()));
    let store = menshen::store::Store::open(&url).await.unwrap();

    // Somebody has it in hand for longer than anybody waits.
    let held = store.directory().await.unwrap();
    let said = menshen.fails(1, &["users", "create", "--username", "bob"]).await;
    assert!(said.contains("locked by another program"), "{said}");
    drop(held);
    store.close().await;

    // A file format that may only be read (byte 18 of the header is the version for writing): so also for root.
    let version = |version: u8| {
        let file = std::fs::OpenOptions::new()
            .write(true)
            .open(menshen.store_file())
            .unwrap();
        file.write_all_at(&[version], 18).unwrap();
    };
    version(3);
    let said = menshen.fails(1, &["users", "disable", "alice"]).await;
    assert!(
        said.contains("the store is read-only: check the owner and mode"),
        "{said}"
    );
    version(2);
    menshen.done(&["users", "show", "alice"]).await;

    let mut watch = menshen.world.watch_store().await;
    watch.execute("INSERT INTO schema_versions (version) VALUES (99)").await;
    let said = menshen.fails(1, &["users", "list"]).await;
    assert!(
        said.contains("schema 99") && said.contains("run the newer menshen"),
        "{said}"
    );
    let said = menshen.fails(1, &["audit", "tail"]).await;
    assert!(said.contains("schema 99"), "{said}");
}
