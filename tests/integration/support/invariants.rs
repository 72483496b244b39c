//! What holds for every answer of Menshen's own, and for every request that an application gets.

use menshen::portal::code::Code;
use serde_json::Value;

use super::answer::Answer;
use super::upstream::Received;
use super::wire::Request;

/// Checks an answer; `secrets` are texts that no body and no header may hold.
#[track_caller]
pub fn check_answer(request: &Request, answer: &Answer, secrets: &[String]) {
    let told = || {
        format!(
            "{} {}\n{}\n{}",
            request.method,
            request.target,
            answer.head(),
            answer.text()
        )
    };
    let id = answer
        .header("x-request-id")
        .unwrap_or_else(|| panic!("no x-request-id:\n{}", told()));
    assert!(
        !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'),
        "{id}"
    );
    if answer.is_of_upstream() {
        return;
    }
    for (name, value) in &answer.headers {
        assert!(
            ALLOWED.contains(&name.as_str()),
            "header {name} is not expected:\n{}",
            told()
        );
        assert_eq!(
            answer.all(name).count() == 1,
            *name != "set-cookie" || answer.all(name).count() == 1,
            "{name}:\n{}",
            told()
        );
        if name != "set-cookie" {
            assert!(
                !secrets.iter().any(|secret| value.contains(secret)),
                "a secret in {name}:\n{}",
                told()
            );
        }
    }
    let path = request.target.split('?').next().unwrap_or_default();
    let public = path.starts_with("/.menshen/assets/") || path == "/.menshen/jwks.json";
    if answer.status >= 400 || !public {
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{}", told());
    }
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{}", told());
    let text = answer.text();
    assert!(
        !secrets.iter().any(|secret| text.contains(secret)),
        "a secret in the body:\n{}",
        told()
    );
    let media_type = answer.header("content-type").unwrap_or_default();
    if media_type.starts_with("text/html") {
        for (name, part) in [
            ("content-security-policy", "default-src 'none'"),
            ("x-frame-options", "DENY"),
            // A window of its own says its origin, and no more, where it leads to another host.
            (
                "referrer-policy",
                if answer.header("cross-origin-opener-policy") == Some("unsafe-none") {
                    "strict-origin-when-cross-origin"
                } else {
                    "same-origin"
                },
            ),
        ] {
            let value = answer.header(name).unwrap_or_default();
            assert!(value.contains(part), "{name}: {value}");
        }
    } else if answer.status >= 400 && media_type != "application/grpc" && !answer.body.is_empty() {
        check_error(answer, id);
    }
}

/// `{"error":{"code","message","request_id"}}`, with the status that the contract gives the code.
#[track_caller]
fn check_error(answer: &Answer, id: &str) {
    let json = answer.json();
    let keys = |value: &Value| -> Vec<String> { value.as_object().expect("an object").keys().cloned().collect() };
    assert_eq!(keys(&json), ["error"], "{json}");
    let error = &json["error"];
    let mut expected = vec!["code", "message", "request_id"];
    if error["code"] == "login_required" {
        expected.insert(1, "login_url");
    }
    assert_eq!(keys(error), expected, "{json}");
    assert_eq!(error["request_id"], id);
    assert!(
        error["message"].as_str().is_some_and(|message| message.len() > 3),
        "{json}"
    );
    let code = error["code"].as_str().unwrap_or_default();
    let known = CODES.iter().find(|(_, codes)| codes.split(' ').any(|one| one == code));
    let (statuses, _) = known.unwrap_or_else(|| panic!("{code} is not in the contract"));
    assert!(statuses.contains(&answer.status), "{code} with {}", answer.status);
    assert!(Code::parse(code).is_some());
    if code == "rate_limited" {
        assert!(answer.header("retry-after").is_some());
    }
    assert_eq!(answer.status == 401, answer.header("www-authenticate").is_some());
}

/// Nothing of Menshen's own cookies, and nothing that a client wrote into a managed header.
#[track_caller]
pub fn check_received(received: &Received) {
    let head = received.text();
    assert!(!head.contains(SPOOFED), "a client's own header arrived:\n{head}");
    for cookie in received.all("cookie").iter().flat_map(|line| line.split(';')) {
        let name = cookie.trim().split('=').next().unwrap_or_default().to_ascii_lowercase();
        let bare = name.trim_start_matches("__host-").trim_start_matches("__secure-");
        assert!(
            bare != "menshen" && !bare.starts_with("menshen-"),
            "{cookie} arrived:\n{head}"
        );
    }
    let mut names: Vec<String> = received
        .headers
        .iter()
        .map(|(name, _)| name.to_ascii_lowercase().replace('_', "-"))
        .collect();
    names.sort();
    for pair in names.windows(2) {
        let once = pair[0] != pair[1] || matches!(pair[0].as_str(), "accept" | "cache-control" | "via");
        assert!(once, "{} came twice:\n{head}", pair[0]);
    }
}

/// What every request of a test's browser claims; see [`check_received`].
pub const SPOOFS: &[(&str, &str)] = &[
    ("Remote-User", SPOOFED),
    ("Remote_Groups", SPOOFED),
    ("remote-email", SPOOFED),
    ("X-Forwarded-User", SPOOFED),
    ("X-Auth-Request-Email", SPOOFED),
    ("X-Menshen-Assertion", SPOOFED),
];

const SPOOFED: &str = "spoofed-by-the-client";

/// Header names of Menshen's own answers.
const ALLOWED: &[&str] = &[
    "access-control-allow-credentials",
    "access-control-allow-headers",
    "access-control-allow-methods",
    "access-control-allow-origin",
    "access-control-max-age",
    "allow",
    "cache-control",
    "clear-site-data",
    "connection",
    "content-length",
    "content-security-policy",
    "content-type",
    "cross-origin-opener-policy",
    "date",
    "etag",
    "grpc-message",
    "grpc-status",
    "location",
    "referrer-policy",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "transfer-encoding",
    "vary",
    "www-authenticate",
    "x-accel-buffering",
    "x-content-type-options",
    "x-frame-options",
    "x-request-id",
];

/// The table of the contract.
const CODES: &[(&[u16], &str)] = &[
    (&[400], "bad_request"),
    (&[401], "login_required token_invalid"),
    (
        &[403],
        "forbidden cross_origin wrong_number entry_refused no_account user_disabled wechat_refused",
    ),
    (&[404], "not_found ticket_unknown"),
    (&[404, 421], "unknown_host"),
    (
        &[409],
        "ticket_taken wrong_state browser_absent phone_taken account_bound ambiguous_account",
    ),
    (&[410], "ticket_expired ticket_cancelled"),
    (&[413, 414, 431], "too_large"),
    (&[422], "phone_required code_invalid phone_code_invalid proof_wrong"),
    (&[429], "rate_limited"),
    (&[502], "wechat_misconfigured upstream_failed"),
    (
        &[503, 504],
        "wechat_busy wechat_unavailable store_unavailable not_ready upstream_unavailable upstream_timeout",
    ),
];
