//! The files that operators start from.

use std::collections::BTreeMap;
use std::fs;

use super::super::schema::{Otherwise, TABLES, render};
use super::*;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

fn sample(name: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join("config").join(name)).unwrap()
}

fn load_sample(name: &str, surroundings: &Fake) -> Loaded {
    let path = Path::new("/etc/menshen").join(name);
    parse(&path, &sample(name), surroundings).unwrap_or_else(|mistakes| panic!("{name}: {mistakes:#?}"))
}

fn environment() -> Fake {
    Fake::default()
        .with_variable("MENSHEN_SECRET", "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I")
        .with_variable("MENSHEN_STAFF_SECRET", "0123456789abcdef0123456789abcdef")
}

#[test]
fn the_reference_is_valid_without_a_warning_once_its_two_secrets_are_there() {
    let loaded = load_sample("menshen.toml", &environment());
    assert_eq!(loaded.warnings, []);
    let mistakes = parse(Path::new("menshen.toml"), &sample("menshen.toml"), &Fake::default()).unwrap_err();
    let messages: Vec<_> = mistakes.iter().map(|mistake| mistake.message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "the environment variable `MENSHEN_SECRET` is not set",
            "the environment variable `MENSHEN_STAFF_SECRET` is not set"
        ]
    );
}

#[test]
fn behind_nginx_is_valid() {
    assert_eq!(load_sample("behind-nginx.toml", &environment()).warnings, []);
}

#[test]
fn tls_is_valid_with_its_files() {
    let (cert, key) = super::certificates::issue(&["login.example.com", "wiki.example.com"]);
    let surroundings = Fake::default()
        .with_file("/etc/menshen/fullchain.pem", cert)
        .with_file("/etc/menshen/key.pem", key)
        .with_file("/etc/menshen/secret", "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LXNlY3I\n")
        .with_file("/etc/menshen/app-secret", "0123456789abcdef0123456789abcdef\n");
    let loaded = load_sample("tls.toml", &surroundings);
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.files.len(), 4);
}

#[test]
fn the_sandbox_is_valid_and_warns_of_its_keys_only() {
    let loaded = load_sample("sandbox.toml", &Fake::default());
    let [warning] = loaded.warnings.as_slice() else {
        panic!("{:#?}", loaded.warnings)
    };
    assert!(warning.message.starts_with("without `server.secret`"), "{warning}");
    assert_eq!(loaded.settings.connections[0].app_id, "wxsandbox0000000001");
    assert_eq!(loaded.settings.issuer(), "http://127.0.0.1:8080");
}

#[test]
fn the_reference_names_every_key_and_its_default() {
    let text = sample("menshen.toml");
    let written = keys_of(&text);
    for table in TABLES.iter().filter(|table| !table.path.is_empty()) {
        let header = table.path.trim_end_matches("[]").replace("[]", "");
        for key in table.keys {
            let path = format!("{header}.{}", key.name);
            if ["server.listen", "server.tls"].contains(&header.as_str()) {
                assert!(
                    text.contains(&format!("{} = ", key.name)),
                    "{path} is not in the reference"
                );
                continue;
            }
            // `upstream` and `routes` are shown as tables of their own.
            if ["sites.upstream", "sites.routes"].contains(&path.as_str()) {
                assert!(text.contains(&format!("[{path}]")), "{path}");
                continue;
            }
            let Some((commented, value)) = written.get(&path) else {
                panic!("{path} is not in the reference")
            };
            if let (true, Otherwise::Is(default)) = (*commented, key.otherwise) {
                assert_eq!(value, default, "{path} is shown with another default");
            }
            if let (false, Otherwise::Is(default)) = (*commented, key.otherwise) {
                assert!(
                    value == default || text.contains(&format!("Default: {default}")),
                    "the default of {path} is not said"
                );
            }
        }
    }
    let known: Vec<String> = TABLES
        .iter()
        .flat_map(|table| {
            table
                .keys
                .iter()
                .map(|key| format!("{}.{}", table.path.trim_end_matches("[]").replace("[]", ""), key.name))
        })
        .collect();
    for path in written.keys() {
        assert!(known.contains(path), "{path} is in the reference and does not exist");
    }
}

/// Path → (commented out, value) of every setting in the reference.
fn keys_of(text: &str) -> BTreeMap<String, (bool, String)> {
    let mut header = String::new();
    let mut keys = BTreeMap::new();
    for line in text.lines() {
        if line.starts_with('[') {
            header = line.trim_matches(['[', ']']).to_owned();
        }
        let (commented, line) = line.strip_prefix('#').map_or((false, line), |rest| (true, rest));
        if let Some((name, value)) = line.split_once(" = ")
            && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        {
            keys.insert(format!("{header}.{name}"), (commented, value.to_owned()));
        }
    }
    keys
}

#[test]
fn configuration_keys_are_those_of_the_golden_file() {
    let path = Path::new(ROOT).join("tests/golden/config-keys.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, render()).unwrap();
    }
    let golden = fs::read_to_string(&path).unwrap();
    assert_eq!(
        render(),
        golden,
        "keys are a contract: run with UPDATE_GOLDEN=1 if the change is meant"
    );
}

/// A date is right for no key: whoever reads one has to say so.
#[test]
fn every_key_of_the_schema_is_read() {
    const WRONG: &str = "1979-05-27";
    for table in TABLES {
        for key in table.keys {
            let header = table.path.trim_end_matches("[]").replace("[]", "");
            let name = key.name;
            let source = match table.path {
                "" => format!("{name} = {WRONG}"),
                "server.listen[]" => format!("[server]\nlisten = [{{ {name} = {WRONG} }}]"),
                "server.tls[]" => format!("[server]\ntls = {{ {name} = {WRONG} }}"),
                "connections[]" => {
                    let kind = match name {
                        "original_id" | "app_ids" => "miniprogram-launch",
                        "embedded" => "website-qr",
                        "scope" => "official-account-web",
                        "token"
                        | "encoding_aes_key"
                        | "push_mode"
                        | "relay_url"
                        | "relay_token"
                        | "relay_encoding_aes_key"
                        | "verify_opener"
                        | "greeting" => "official-account-qr",
                        _ => "miniprogram-qr",
                    };
                    let kind = if name == "kind" {
                        String::new()
                    } else {
                        format!("kind = \"{kind}\"\n")
                    };
                    format!("[[connections]]\n{kind}{name} = {WRONG}")
                }
                "sites[].upstream" => format!("[[sites]]\n[{header}]\n{name} = {WRONG}"),
                "sites[].routes[]" => format!("[[sites]]\n[[{header}]]\n{name} = {WRONG}"),
                path if path.ends_with("[]") => format!("[[{header}]]\n{name} = {WRONG}"),
                _ => format!("[{header}]\n{name} = {WRONG}"),
            };
            let mistakes = load(&source).unwrap_err();
            let noticed = mistakes.iter().any(|mistake| mistake.message.ends_with("not a date"));
            assert!(noticed, "{header}.{name} is not read: {mistakes:#?}");
        }
    }
}
