//! Targets by table, and against models of what backends make of them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::*;
use crate::config::settings::{Access, Site};
use crate::gate::Gate;
use crate::gate::decide::{Credential, Decision, decide};
use crate::gate::fixture::{gate, navigation, route, session, site};

fn refused(target: &str) -> TargetError {
    normalise(target.as_bytes(), EncodedSlashes::Refuse).expect_err(target)
}

#[test]
fn a_clean_target_is_borrowed_byte_for_byte() {
    for target in [
        "/",
        "/a",
        "/a/b/",
        "/a.b/c..d/e...",
        "/a;b=c/d",
        "/a!$&'()*+,:=@|~^`{}[]\"<>",
        "/a?",
        "/a?b=c&d=%2e%2e/%00\\x",
        "/a?b?c",
        "/a?;/../",
        "/%E4%BD%A0",
        "/%e4%bd%a0",
        "/a%20b",
        "/a%21b",
        "/%25",
        "/a%25zz",
        "/a%253",
        "/.well-known/x",
        "/..a",
        "/...",
        "/a..",
        "/.a;b",
        "/%3F",
        "/%23x",
        "/%3Bx",
        "/a%2Bb%26c",
    ] {
        let found = normalise(target.as_bytes(), EncodedSlashes::Refuse).expect(target);
        assert!(!found.is_rewritten(), "{target}");
        assert_eq!(found.path_and_query(), target);
    }
}

#[test]
fn encoded_unreserved_characters_are_decoded_and_slashes_merged() {
    for (target, path) in [
        ("/%61dmin", "/admin"),
        ("/%41%5a%30%2D%2e%5F%7e", "/AZ0-._~"),
        ("//a", "/a"),
        ("///", "/"),
        ("/a//b///c//", "/a/b/c/"),
        ("/%E4%BD%A0%61", "/%E4%BD%A0a"),
        ("//evil.test/%2e%61?x=//%61", "/evil.test/.a"),
    ] {
        let found = normalise(target.as_bytes(), EncodedSlashes::Refuse).expect(target);
        assert_eq!(found.path, path, "{target}");
        assert_eq!(found.query, target.split_once('?').map(|(_, query)| query), "{target}");
    }
}

#[test]
fn what_two_parsers_could_read_differently_is_refused() {
    let long = format!("/{}", "a".repeat(MAX_TARGET_LENGTH));
    for (targets, error) in [
        (
            &[
                "",
                "a",
                "a/b",
                "*",
                "?x",
                "%2Fa",
                ";/a",
                "http://a.test/",
                "admin",
                "\\/a",
            ][..],
            TargetError::NoLeadingSlash,
        ),
        (
            &[
                "/a b",
                "/a\tb",
                "/a\0",
                "/a\r\n",
                "/\u{7f}",
                "/\u{e4}",
                "/a?b c",
                "/a?\0",
                "/a?\u{e4}",
                "/%01",
                "/%1F",
                "/%7f",
                "/%0a",
                "/%0D%0Ax",
            ],
            TargetError::ForbiddenByte,
        ),
        (&["/#", "/a#b", "/a?b#c", "/public/#/../admin"], TargetError::Fragment),
        (
            &["/\\", "/a\\b", "/%5c", "/%5C..%5Cx", "/a/..\\b", "/..\\"],
            TargetError::Backslash,
        ),
        (
            &["/%2f", "/a%2Fb", "/..%2fa", "/%2e%2e%2fa", "//%2f"],
            TargetError::EncodedSlash,
        ),
        (&["/%00", "/a%00.css"], TargetError::EncodedNul),
        (
            &[
                "/%", "/%2", "/a%zz", "/%%61", "/%u002f", "/%g0", "/%0g", "/%2%35", "/%-1",
            ],
            TargetError::BrokenEscape,
        ),
        (
            &[
                "/%252e%252e/a",
                "/%2561dmin",
                "/..%252fa",
                "/%25%36%31",
                "/%25252e",
                "/%255c",
                "/a%25ff",
            ],
            TargetError::EncodedTwice,
        ),
        (
            &[
                "/%ff",
                "/%c0%af",
                "/%e0%80%af",
                "/%c0%ae%c0%ae/",
                "/%ed%a0%80",
                "/%f4%90%80%80",
                "/%80",
            ],
            TargetError::InvalidUtf8,
        ),
        (
            &[
                "/.",
                "/..",
                "/./",
                "/../",
                "/a/.",
                "/a/..",
                "/a/./b",
                "/a/../b",
                "/%2e",
                "/%2E%2e",
                "/.%2e/a",
                "/%2e./a",
                "/..;",
                "/..;/a",
                "/.;x/a",
                "/..;a=b/c",
                "/a;/../b",
                "/;/../b",
                "/..%3Bx/a",
                "/%2e%2e%3b/a",
                "//../a",
                "/a//..//b",
                "/..%3Fx",
                "/a/..%23",
                "/..%20/a",
                "/..%20%20;x",
                "/.%20/a",
                "/..%20%3fx",
            ],
            TargetError::DotSegment,
        ),
        (&[long.as_str()], TargetError::TooLong),
    ] {
        for target in targets {
            assert_eq!(refused(target), error, "{target:?}");
        }
    }
    assert_eq!(
        normalise(b"/\xff", EncodedSlashes::Refuse),
        Err(TargetError::ForbiddenByte)
    );
    assert!(normalise(&long.as_bytes()[..MAX_TARGET_LENGTH], EncodedSlashes::Refuse).is_ok());
}

#[test]
fn kept_slashes_pass_untouched_and_hide_no_dot_segment() {
    for (target, path) in [
        ("/a%2Fb", "/a%2Fb"),
        ("/a%2fb//%61", "/a%2fb/a"),
        ("/%2F%2f", "/%2F%2f"),
        ("/a%2F.b", "/a%2F.b"),
    ] {
        assert_eq!(
            normalise(target.as_bytes(), EncodedSlashes::Keep).expect(target).path,
            path
        );
    }
    for target in [
        "/a%2F..",
        "/a%2f../b",
        "/..%2fa",
        "/.%2F",
        "/a%2F%2e%2e%2fb",
        "/a%2F..;x%2Fb",
        "/a%2f..%3bx",
        "/%2F./a",
    ] {
        let found = normalise(target.as_bytes(), EncodedSlashes::Keep);
        assert_eq!(found, Err(TargetError::DotSegment), "{target}");
    }
    assert_eq!(
        normalise(b"/a%2F%5c", EncodedSlashes::Keep),
        Err(TargetError::Backslash)
    );
    assert_eq!(
        normalise(b"/a%252F", EncodedSlashes::Keep),
        Err(TargetError::EncodedTwice)
    );
}

#[test]
fn an_absolute_form_is_split_into_authority_and_path() {
    for (target, authority, rest) in [
        ("/a", None, "/a"),
        ("*", None, "*"),
        ("", None, ""),
        ("http://a.test/b?c", Some("a.test"), "/b?c"),
        ("HTTPS://a.test:8443/b", Some("a.test:8443"), "/b"),
        ("http://a.test", Some("a.test"), "/"),
        ("http://u@a.test/", Some("u@a.test"), "/"),
        ("http:///b", Some(""), "/b"),
        ("http://a.test?b", Some("a.test"), "?b"),
        ("http://a.test#b", Some("a.test"), "#b"),
    ] {
        assert_eq!(
            split_absolute_form(target.as_bytes()),
            Ok((authority, rest.as_bytes())),
            "{target}"
        );
    }
    for target in [
        "a.test:443",
        "file:///etc/passwd",
        "admin",
        "http:/a.test/",
        "http:a",
        "ftp://a.test/",
        "://a",
    ] {
        assert_eq!(
            split_absolute_form(target.as_bytes()),
            Err(TargetError::NoLeadingSlash),
            "{target}"
        );
    }
}

/// A site whose rules say where every reading of a path may lead.
fn guarded() -> Site {
    let mut kept = route("/kept/", Access::Public);
    kept.keep_encoded_slashes = true;
    site(
        &["a.test"],
        vec![route("/admin/", Access::Deny), route("/public/", Access::Public), kept],
    )
}

/// What backends are known to make of a path. Each is written independently of the gate's own readings.
fn backends(path: &str) -> Vec<String> {
    let decode = |text: &str| percent_decode(text.as_bytes()).decode_utf8_lossy().into_owned();
    let without_parameters = |text: &str| {
        let segments: Vec<&str> = text
            .split('/')
            .map(|segment| segment.split(';').next().unwrap())
            .collect();
        segments.join("/")
    };
    let early_end = |text: &str| text.split(['?', '#']).next().unwrap().to_owned();
    let decoded = decode(path);
    let mut seen = vec![
        decoded.clone(),
        decode(&without_parameters(path)),
        without_parameters(&decoded),
        early_end(&decoded),
        without_parameters(&early_end(&decoded)),
        early_end(&without_parameters(&decoded)),
        early_end(&decode(&without_parameters(path))),
        without_parameters(&early_end(&decode(&without_parameters(path)))),
    ];
    seen = seen
        .iter()
        .flat_map(|path| [resolve(path, ""), resolve(path, ". ")])
        .collect();
    seen
}

/// Merges slashes and follows dot segments, as file systems do, without the characters that they ignore at the end.
fn resolve(path: &str, ignored: &str) -> String {
    let mut segments: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match (segment, segment.trim_end_matches(|end| ignored.contains(end))) {
            ("..", _) => drop(segments.pop()),
            (".", _) | (_, "") => {}
            (_, segment) => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

fn below(path: &str, prefix: &str) -> bool {
    path == prefix || path.starts_with(&format!("{prefix}/"))
}

fn nasty_path() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "/",
        "/",
        "/",
        "//",
        "admin",
        "admin",
        "public",
        "public",
        "kept",
        "x",
        ".",
        "..",
        "%2e",
        "%2E",
        ";",
        ";x=y",
        "%3b",
        "%2f",
        "%2F",
        "%5c",
        "\\",
        "%25",
        "%",
        "%3f",
        "?",
        "%23",
        "#",
        "%20",
        " ",
        "%61dmin",
        "%41",
        "%00",
        "%c3%a9",
        "%ff",
        ".menshen",
        ".Menshen",
        "%2emenshen",
        "a",
        "0",
    ]);
    prop::collection::vec(piece, 0..9).prop_map(|pieces| format!("/{}", pieces.concat()))
}

fn decided(gate: &Gate, path: &str, credential: Credential<'_>) -> Decision {
    decide(&navigation("a.test", path), gate, &credential)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20000))]

    #[test]
    fn what_is_forwarded_reads_the_same_again_and_is_decided_the_same(target in nasty_path(), keep: bool) {
        let slashes = if keep { EncodedSlashes::Keep } else { EncodedSlashes::Refuse };
        let Ok(found) = normalise(target.as_bytes(), slashes) else { return Ok(()) };
        let forwarded = found.path_and_query().into_owned();
        let again = normalise(forwarded.as_bytes(), slashes).expect("what was forwarded is clean");
        prop_assert!(!again.is_rewritten());
        // What is not forwarded as it came is told apart from what is: the raw one must never go on in its place.
        prop_assert_eq!(found.is(target.as_bytes()), found.path_and_query() == target);
        prop_assert!(found.is(forwarded.as_bytes()));
        let others = [format!("{forwarded}?"), format!("/{forwarded}"), forwarded[..forwarded.len() - 1].to_owned()];
        for other in &others {
            prop_assert!(!found.is(other.as_bytes()), "{} is taken for {}", other, forwarded);
        }
        prop_assert_eq!(&again.path, &found.path);
        prop_assert_eq!(again.query, found.query);
        prop_assert_eq!(found.query, target.split_once('?').map(|(_, query)| query));
        let gate = gate(vec![guarded()]);
        for credential in [Credential::None, session()] {
            prop_assert_eq!(
                decided(&gate, &found.path, credential),
                decided(&gate, &again.path, credential)
            );
        }
    }

    #[test]
    fn no_backend_sees_a_path_that_the_rules_close(target in nasty_path(), keep: bool) {
        let slashes = if keep { EncodedSlashes::Keep } else { EncodedSlashes::Refuse };
        let Ok(found) = normalise(target.as_bytes(), slashes) else { return Ok(()) };
        let gate = gate(vec![guarded()]);
        let anonymous = decided(&gate, &found.path, Credential::None);
        let known = decided(&gate, &found.path, session());
        for seen in backends(&found.path) {
            if below(&seen, "/admin") {
                prop_assert!(!matches!(known, Decision::Forward { .. }), "{target} reaches {seen}");
            }
            if !below(&seen, "/public") && !below(&seen, "/kept") {
                prop_assert!(!matches!(anonymous, Decision::Forward { .. }), "{target} reaches {seen}");
            }
            if below(&seen.to_lowercase(), "/.menshen") {
                prop_assert!(matches!(known, Decision::Portal { .. } | Decision::Ambiguous), "{target} reaches {seen}");
            }
        }
    }

    #[test]
    fn no_bytes_panic(target in prop::collection::vec(any::<u8>(), 0..60), keep: bool) {
        let slashes = if keep { EncodedSlashes::Keep } else { EncodedSlashes::Refuse };
        let _ = normalise(&target, slashes);
        let _ = split_absolute_form(&target);
    }
}
