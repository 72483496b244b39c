//! Certificates that are issued for the occasion.

use rcgen::{CertificateParams, KeyPair};

use super::*;

/// A certificate for these names that is valid on the fake clock's day, and its key, both PEM.
pub(super) fn issue(names: &[&str]) -> (String, String) {
    issue_until(names, (2027, 6, 1))
}

fn issue_until(names: &[&str], (year, month, day): (i32, u8, u8)) -> (String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()).unwrap();
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(year, month, day);
    (params.self_signed(&key).unwrap().pem(), key.serialize_pem())
}

fn said_of(cert: &str, key: &str) -> Vec<String> {
    let source = with_part(
        r#"[server]
listen = ["0.0.0.0:443"]
public_url = "https://login.example.com"
secret = { env = "SECRET" }
tls = { cert = "cert.pem", key = "key.pem" }
"#,
    );
    let surroundings = surroundings()
        .with_file("/etc/menshen/cert.pem", cert)
        .with_file("/etc/menshen/key.pem", key);
    let result = parse(Path::new("/etc/menshen/menshen.toml"), &source, &surroundings);
    let (Ok(Loaded { warnings: mistakes, .. }) | Err(mistakes)) = result;
    mistakes
        .iter()
        .map(|mistake| {
            format!(
                "{}:{} {}: {}",
                mistake.line, mistake.column, mistake.severity, mistake.message
            )
        })
        .collect()
}

const BOTH: [&str; 2] = ["login.example.com", "wiki.example.com"];

#[test]
fn a_fitting_pair_says_nothing() {
    let (cert, key) = issue(&BOTH);
    assert_eq!(said_of(&cert, &key), Vec::<String>::new());
    let (cert, key) = issue(&["*.example.com"]);
    assert_eq!(said_of(&cert, &key), Vec::<String>::new());
}

#[test]
fn a_foreign_key_is_an_error() {
    let ((cert, _), (_, key)) = (issue(&BOTH), issue(&BOTH));
    assert_eq!(
        said_of(&cert, &key),
        ["5:34 error: `/etc/menshen/key.pem` is not the key of `/etc/menshen/cert.pem`"]
    );
}

#[test]
fn what_is_not_pem_is_an_error() {
    let (cert, key) = issue(&BOTH);
    assert_eq!(
        said_of(&key, &key),
        ["5:16 error: `/etc/menshen/cert.pem` holds no certificate in PEM"]
    );
    assert_eq!(
        said_of(&cert, "nonsense"),
        ["5:34 error: `/etc/menshen/key.pem` holds no private key in PEM"]
    );
}

#[test]
fn an_uncovered_host_is_a_warning_where_it_stands() {
    let (cert, key) = issue(&["login.example.com"]);
    assert_eq!(
        said_of(&cert, &key),
        ["14:10 warning: no certificate of `server.tls` covers `wiki.example.com`"]
    );
    let (cert, key) = issue(&["wiki.example.com"]);
    assert_eq!(
        said_of(&cert, &key),
        ["3:14 warning: no certificate of `server.tls` covers `login.example.com`"]
    );
}

#[test]
fn an_end_that_is_near_or_past_is_a_warning() {
    let (cert, key) = issue_until(&BOTH, (2026, 11, 1));
    assert_eq!(
        said_of(&cert, &key),
        ["5:16 warning: the certificate in `/etc/menshen/cert.pem` has ended"]
    );
    let (cert, key) = issue_until(&BOTH, (2026, 11, 21));
    assert_eq!(
        said_of(&cert, &key),
        ["5:16 warning: the certificate in `/etc/menshen/cert.pem` ends in 2 days"]
    );
}
