//! `menshen backup` and `menshen restore`.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::support::World;
use crate::support::world::Said;

/// The configuration of an installation with a store of its own, beside this world's.
fn elsewhere(world: &World, name: &str, server: &str) -> std::path::PathBuf {
    let directory = world.configuration().with_file_name(name);
    std::fs::create_dir_all(&directory).unwrap();
    let file = directory.join("menshen.toml");
    let text: String = world
        .text()
        .lines()
        .map(|line| match line.starts_with("data_dir") {
            true => format!("data_dir = \"{}\"\n{server}\n", directory.display()),
            false => format!("{line}\n"),
        })
        .collect();
    std::fs::write(&file, text).unwrap();
    file
}

async fn at(configuration: &Path, arguments: &[&str]) -> Said {
    let path = configuration.display().to_string();
    Said::of(crate::support::process::run(&[arguments, &["--config", &path]].concat()).await)
}

#[tokio::test]
async fn sessions_go_on_in_a_store_that_was_restored_and_those_that_had_ended_do_not() {
    let mut world = World::start().await;
    let (mut kept, mut ended) = (world.browser(), world.browser());
    kept.log_in("lilei").await;
    ended.log_in("hanmeimei").await;
    let stolen = ended.cookies.clone();
    ended.submit("/.menshen/logout", &[]).await.expect(303);
    kept.open("/").await.expect(200);
    let user = world.upstream.last().header("remote-user");
    let kept = kept.cookies.clone();

    let file = world.configuration().with_file_name("backup");
    let name = file.display().to_string();
    let said = world.menshen(&["backup", &name]).await;
    assert!(said.err.contains("in the clear"), "{said:?}");
    assert!(said.done().contains("sessions 2, "));
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let before = std::fs::read(&file).unwrap();
    let refused = world.menshen(&["backup", &name]).await.refused(1);
    assert!(
        refused.contains("there already") && refused.contains("--force"),
        "{refused}"
    );
    assert_eq!(std::fs::read(&file).unwrap(), before);
    assert_eq!(
        world.menshen(&["backup", "--force", "--json", &name]).await.json()["rows"]["users"],
        2
    );
    let left = std::fs::read_dir(file.parent().unwrap()).unwrap();
    assert!(
        left.flatten()
            .all(|entry| !entry.file_name().to_string_lossy().ends_with(".part"))
    );

    let other = elsewhere(&world, "other", "");
    let said = at(&other, &["restore", &name]).await;
    assert!(said.err.contains("sessions revoke --all"), "{said:?}");
    assert!(said.done().contains("users 2"));
    world.stop_gateway().await;
    let directory = other.parent().unwrap().to_path_buf();
    world.settings_mut().server.data_dir.clone_from(&directory);
    let url = format!("sqlite:{}", directory.join("menshen.db").display());
    world.settings_mut().store.url = url.into();
    world.start_gateway().await;
    let mut browser = world.browser();
    browser.cookies = kept;
    browser.open("/").await.expect(200);
    assert_eq!(world.upstream.last().header("remote-user"), user);
    let mut thief = world.browser();
    thief.cookies = stolen;
    thief.fetch("GET", "/").await.refused(401, "login_required");
    // The person is known, not made again.
    browser.submit("/.menshen/logout", &[]).await.expect(303);
    browser.log_in("lilei").await;
    browser.open("/").await.expect(200);
    assert_eq!(world.upstream.last().header("remote-user"), user);
}

#[tokio::test]
async fn what_cannot_be_restored_is_refused_and_the_store_is_left_alone() {
    let world = World::start().await;
    world.browser().log_in("lilei").await;
    let file = world.configuration().with_file_name("backup");
    let name = file.display().to_string();
    world.menshen(&["backup", &name]).await.done();
    // Into a store with something in it.
    let refused = world.menshen(&["restore", &name]).await.refused(1);
    assert!(refused.contains("users 1") && refused.contains("--force"), "{refused}");
    // Damaged on its way, or something else.
    let other = elsewhere(&world, "other", "");
    let text = std::fs::read_to_string(&file).unwrap();
    for (damaged, expected) in [
        (text.replacen("Wiki", "Wiky", 1), "checksum"),
        (text[..text.len() - 40].to_owned(), "too early"),
        ("Dear diary\n".to_owned(), "no backup"),
    ] {
        std::fs::write(&file, damaged).unwrap();
        let refused = at(&other, &["restore", &name]).await.refused(1);
        assert!(refused.contains(expected), "{refused}");
    }
    assert!(!other.with_file_name("menshen.db").exists(), "the store was touched");
    let refused = at(&other, &["restore", "/nowhere/backup"]).await.refused(1);
    assert!(refused.contains("/nowhere/backup"), "{refused}");
    at(&other, &["restore"]).await.refused(2);
}

#[tokio::test]
async fn wrapped_keys_are_restored_under_the_same_secret_only() {
    let world = World::plan().set("server.secret", "s".repeat(43)).start().await;
    let file = world.configuration().with_file_name("backup").display().to_string();
    let said = world.menshen(&["backup", &file]).await;
    assert!(!said.err.contains("in the clear"), "{said:?}");
    said.done();
    for (name, server, expected) in [
        ("none", String::new(), "set server.secret"),
        (
            "wrong",
            format!("secret = \"{}\"", "t".repeat(43)),
            "do not open with server.secret",
        ),
    ] {
        let plain = world
            .text()
            .replacen(&format!("secret = \"{}\"\n", "s".repeat(43)), "", 1);
        assert_ne!(plain, world.text());
        let other = elsewhere(&world, name, "");
        let text = plain.replacen("[server]\n", &format!("[server]\n{server}\n"), 1);
        let directory = other.parent().unwrap().display().to_string();
        let kept = world.configuration().parent().unwrap().display().to_string();
        std::fs::write(&other, text.replacen(&kept, &directory, 1)).unwrap();
        let refused = at(&other, &["restore", &file]).await.refused(1);
        assert!(refused.contains(expected), "{name}: {refused}");
        assert!(!other.with_file_name("menshen.db").exists(), "the store was touched");
    }
}
