//! What is said about bad files: the exact place, words and remedy, and all of it in one run.
//!
//! The cases stand in `tests/golden/config-mistakes.txt`: after `===` the part of a file that is under test, after
//! `---` all that is said about it. The rest of the smallest file is added behind the part, so that lines count from
//! the top of what stands there.

use std::fs;

use super::super::connection_tag;
use super::super::load_with;
use super::*;

const CASES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/config-mistakes.txt");

#[test]
fn every_bad_snippet_gets_its_place_words_and_remedy() {
    let golden = fs::read_to_string(CASES).unwrap();
    let mut seen = String::new();
    let mut snippet = String::new();
    let mut at = Part::Between;
    let mut cases = 0;
    for line in golden.lines() {
        match (line, at) {
            ("===", _) => {
                (at, snippet) = (Part::Snippet, String::new());
                seen.push_str("===\n");
            }
            ("---", Part::Snippet) => {
                at = Part::Said;
                cases += 1;
                let result = load_with_part(&snippet);
                seen.push_str(&format!("---\n{}", said(&result)));
            }
            ("", Part::Said) => {
                at = Part::Between;
                seen.push('\n');
            }
            (_, Part::Said) => {}
            (_, part) => {
                if part == Part::Snippet {
                    snippet.push_str(line);
                    snippet.push('\n');
                }
                seen.push_str(line);
                seen.push('\n');
            }
        }
    }
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(CASES, &seen).unwrap();
        return;
    }
    assert!(cases > 150, "only {cases} cases were found");
    for (number, (seen, golden)) in seen.lines().zip(golden.lines()).enumerate() {
        assert_eq!(seen, golden, "line {} of config-mistakes.txt", number + 1);
    }
    assert_eq!(seen.lines().count(), golden.lines().count());
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Between,
    Snippet,
    Said,
}

#[test]
fn ten_different_mistakes_are_reported_in_one_run() {
    let source = r#"[server]
listen = [":8080"]
public_url = "https://login.example.com/portal"
trusted_proxies = ["proxy"]
lissten = 1

[session]
lifetime = "1h"
idle_timeout = "2h"

[login]
ticket_ttl = "1h"
cookie_name = "x"

[[connections]]
id = "Staff"
kind = "miniprogram-qr"
app_id = "gh_0123456789ab"
app_secret = { env = "UNSET" }
page = "/pages/login"

[[sites]]
hosts = ["wiki.example.com:443"]
upstreams = ["10.0.0.5:8080"]
"#;
    let mistakes = load(source).unwrap_err();
    let places: Vec<_> = mistakes.iter().map(|mistake| (mistake.line, mistake.column)).collect();
    let expected = [
        (1, 1),
        (2, 11),
        (3, 14),
        (4, 20),
        (5, 1),
        (9, 16),
        (12, 14),
        (13, 1),
        (16, 6),
        (18, 10),
        (19, 14),
        (20, 8),
        (23, 10),
        (24, 14),
    ];
    assert_eq!(places, expected, "{mistakes:#?}");
}

#[test]
fn a_mistake_is_shown_with_file_place_and_remedy() {
    let mistakes = load(&with_part("[login]\nanswer = \"pge\"\n")).unwrap_err();
    assert_eq!(
        mistakes[0].to_string(),
        "/etc/menshen/menshen.toml:2:10: error: `pge` is not known here\n    → did you mean \"page\"?"
    );
}

#[test]
fn a_missing_file_is_a_mistake_without_a_place() {
    let mistakes = load_with(Path::new("nowhere.toml"), &Fake::default()).unwrap_err();
    let shown = mistakes[0].to_string();
    assert!(
        shown.starts_with("nowhere.toml: error: the configuration cannot be read"),
        "{shown}"
    );
}

#[test]
fn a_byte_that_is_not_utf_8_has_a_place() {
    let fake = Fake::default().with_file("m.toml", &b"[server]\na = \"\xe9\"\n"[..]);
    let mistakes = load_with(Path::new("m.toml"), &fake).unwrap_err();
    assert_eq!((mistakes.len(), mistakes[0].line, mistakes[0].column), (1, 2, 6));
}

#[test]
fn two_connections_with_one_tag_are_refused() {
    // 65,536 tags: among some hundred ids two share one.
    let mut seen = std::collections::HashMap::new();
    let (one, other) = (0..)
        .map(|number| format!("c{number}"))
        .find_map(|id| {
            seen.insert(connection_tag(&id), id.clone())
                .map(|earlier| (earlier, id))
        })
        .unwrap();
    let source = format!(
        "{}{}",
        CONNECTION.replace("staff", &one),
        CONNECTION.replace("staff", &other)
    );
    let said = said(&load_with_part(&source));
    let message = format!("7:6 error: `{other}` and `{one}` have the same two-byte tag in the codes that phones scan");
    assert!(said.starts_with(&message), "{said}");
}

#[test]
fn secrets_that_everybody_can_read_are_a_warning() {
    let path = "/etc/menshen/menshen.toml";
    let read_by_all = |source: &str, file: &str| {
        let mut fake = surroundings()
            .with_file(path, source)
            .with_file("/etc/menshen/app", "0123456789abcdef0123456789abcdef");
        fake.files
            .insert("/run/secrets/app".into(), b"0123456789abcdef0123456789abcdef".to_vec());
        fake.world_readable.push(file.into());
        said(&load_with(Path::new(path), &fake))
    };
    let with_secret = |secret: &str| with_part(&CONNECTION.replace("{ env = \"APP_SECRET\" }", secret));
    let literal = with_secret("\"0123456789abcdef0123456789abcdef\"");
    assert!(read_by_all(&literal, path).contains("5:14 warning: `connections[0].app_secret` stands in a file"));
    assert_eq!(read_by_all(&literal, "/other"), "");
    let file = with_secret("{ file = \"app\" }");
    assert!(read_by_all(&file, "/etc/menshen/app").starts_with("5:14 warning: every user of this machine can read"));
    assert_eq!(read_by_all(&file, path), "");
    let mounted = with_secret("{ file = \"/run/secrets/app\" }");
    assert_eq!(read_by_all(&mounted, "/run/secrets/app"), "");
}

#[test]
fn oversized_and_mistaken_pictures_are_refused() {
    let said_of = |bytes: Vec<u8>| {
        let fake = surroundings().with_file("/etc/menshen/logo.png", bytes);
        said(&parse(
            Path::new("/etc/menshen/m.toml"),
            &with_part("[branding]\nlogo = \"logo.png\"\n"),
            &fake,
        ))
    };
    let mut picture = b"\x89PNG\r\n\x1a\n".to_vec();
    assert_eq!(said_of(picture.clone()), "");
    picture.resize((256 << 10) + 1, 0);
    assert!(said_of(picture).starts_with("2:8 error: `/etc/menshen/logo.png` is larger than 256KiB"));
    assert!(said_of(b"GIF89a".to_vec()).starts_with("2:8 error: `/etc/menshen/logo.png` is not a picture"));
}
