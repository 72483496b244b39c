//! What an answer of WeChat is, decided by its bytes.
//!
//! Status and content type decide nothing: errors come with 200, JSON as `text/plain`, and the error of an image call
//! with the same status as the image. The first byte that is not blank tells JSON from an image. An absent `errcode` is
//! success, as on all `/sns` calls.

use std::net::IpAddr;

use bytes::Bytes;
use http::StatusCode;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::wechat::endpoint::Endpoint;
use crate::wechat::error::{BadAnswer, Refusal, WechatError};
use crate::wechat::unlimited_code::CodeImage;

/// Reads an answer that should be JSON with at least the fields of `T`.
pub(crate) fn read_json<T: DeserializeOwned>(
    endpoint: Endpoint,
    status: StatusCode,
    body: &Bytes,
) -> Result<T, WechatError> {
    match Body::of(endpoint, status, body)? {
        // The parser's own message may quote the answer, which may hold a token.
        Body::Json => serde_json::from_slice(body).map_err(|_| bad(endpoint, BadAnswer::Lacks("set of fields"))),
        Body::Other => Err(bad(endpoint, BadAnswer::UnknownKind)),
    }
}

/// Reads an answer that should be an image.
pub(crate) fn read_image(endpoint: Endpoint, status: StatusCode, body: &Bytes) -> Result<CodeImage, WechatError> {
    match Body::of(endpoint, status, body)? {
        Body::Json => Err(bad(endpoint, BadAnswer::Lacks("image"))),
        Body::Other => CodeImage::sniff(body.clone()).ok_or_else(|| bad(endpoint, BadAnswer::UnknownKind)),
    }
}

/// Why an answer is not usable.
pub(crate) fn bad(endpoint: Endpoint, reason: BadAnswer) -> WechatError {
    WechatError::BadAnswer { endpoint, reason }
}

/// A body that reports no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Body {
    Json,
    Other,
}

/// What every JSON answer may have.
#[derive(Deserialize)]
struct Envelope {
    errcode: Option<i64>,
    errmsg: Option<String>,
}

impl Body {
    fn of(endpoint: Endpoint, status: StatusCode, body: &[u8]) -> Result<Self, WechatError> {
        let is_json = body.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        if is_json {
            match serde_json::from_slice::<Envelope>(body) {
                Ok(Envelope {
                    errcode: Some(code),
                    errmsg,
                }) if code != 0 => {
                    return Err(WechatError::Refused(refusal(
                        endpoint,
                        code,
                        errmsg.as_deref().unwrap_or_default(),
                    )));
                }
                Ok(_) => {}
                Err(_) => return Err(bad(endpoint, BadAnswer::UnknownKind)),
            }
        }
        let code = status.as_u16();
        if status.is_redirection() {
            Err(bad(endpoint, BadAnswer::Redirect { status: code }))
        } else if !status.is_success() {
            Err(bad(endpoint, BadAnswer::Status { status: code }))
        } else if body.iter().all(u8::is_ascii_whitespace) {
            Err(bad(endpoint, BadAnswer::Empty { status: code }))
        } else if is_json {
            Ok(Self::Json)
        } else {
            Ok(Self::Other)
        }
    }
}

fn refusal(endpoint: Endpoint, code: i64, message: &str) -> Refusal {
    Refusal {
        endpoint,
        code,
        rid: trace_id(message).map(Into::into),
        address: (code == ADDRESS_NOT_LISTED).then(|| address(message)).flatten(),
    }
}

/// The trace id in an `errmsg`: `rid: 654df33c-64386a2f-29857782`, else `req_id: N37KMa0605th21`, else `hint:
/// [hElex…]`.
fn trace_id(message: &str) -> Option<&str> {
    ["rid:", "req_id:", "hint:"].into_iter().find_map(|label| {
        message.match_indices(label).find_map(|(at, _)| {
            // Not the end of another word: "hybrid: 7", and "req_id:" is not "rid:".
            let starts_a_word = message[..at]
                .chars()
                .next_back()
                .is_none_or(|c| !c.is_alphanumeric() && c != '_');
            let id = message[at + label.len()..].trim_start_matches([' ', '[']);
            let end = id.find(|c: char| !is_trace_character(c)).unwrap_or(id.len());
            (starts_a_word && (1..=TRACE_ID_LIMIT).contains(&end)).then(|| &id[..end])
        })
    })
}

fn is_trace_character(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '-' || c == '_'
}

/// The first address in an `errmsg`.
fn address(message: &str) -> Option<IpAddr> {
    message
        .split(|c: char| !(c.is_ascii_hexdigit() || c == '.' || c == ':'))
        .find_map(|word| word.trim_end_matches('.').parse::<IpAddr>().ok())
        .map(|address| address.to_canonical())
}

const ADDRESS_NOT_LISTED: i64 = 40164;

/// Longer than any that was seen; what is longer is not one.
const TRACE_ID_LIMIT: usize = 64;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, Deserialize, PartialEq)]
    struct Wanted {
        openid: String,
    }

    fn read(status: u16, body: &'static str) -> Result<Wanted, String> {
        read_json(
            Endpoint::CodeToSession,
            StatusCode::from_u16(status).unwrap(),
            &Bytes::from_static(body.as_bytes()),
        )
        .map_err(|error| error.to_string())
    }

    #[test]
    fn the_body_decides_and_not_the_status() {
        let success = Wanted { openid: "o1".into() };
        assert_eq!(read(200, r#"{"openid":"o1","session_key":"k"}"#), Ok(success));
        assert!(read(200, "\r\n \t{\"openid\":\"o1\",\"errcode\":0}").is_ok());
        let cases = [
            (
                200,
                r#"{"errcode":40029,"errmsg":"x"}"#,
                "jscode2session: WeChat answered 40029 (invalid_code), rid -",
            ),
            (
                500,
                r#"{"errcode":-1}"#,
                "jscode2session: WeChat answered -1 (system_busy), rid -",
            ),
            (200, "", "jscode2session: empty answer with status 200"),
            (200, " \n", "jscode2session: empty answer with status 200"),
            (503, "", "jscode2session: answer with status 503"),
            (
                502,
                "<html>bad gateway</html>",
                "jscode2session: answer with status 502",
            ),
            (502, r#"{"openid":"o1"}"#, "jscode2session: answer with status 502"),
            (302, "", "jscode2session: redirect (status 302) not followed"),
            (200, "<html>portal</html>", "jscode2session: answer of an unknown kind"),
            (200, "{\"openid\":", "jscode2session: answer of an unknown kind"),
            (
                200,
                r#"{"unionid":"u"}"#,
                "jscode2session: answer without a usable set of fields",
            ),
            (
                200,
                r#"{"errcode":"zero"}"#,
                "jscode2session: answer of an unknown kind",
            ),
        ];
        for (status, body, expected) in cases {
            assert_eq!(read(status, body), Err(expected.to_owned()), "{status} {body}");
        }
    }

    #[test]
    fn a_refusal_hidden_in_an_image_call_is_a_refusal() {
        let read = |body: &'static [u8]| read_image(Endpoint::UnlimitedCode, StatusCode::OK, &Bytes::from_static(body));
        assert!(matches!(
            read(br#"{"errcode":41030}"#),
            Err(WechatError::Refused(Refusal { code: 41030, .. }))
        ));
        assert_eq!(read(b"\xFF\xD8\xFF\xE0 and so on").unwrap().media_type, "image/jpeg");
        assert_eq!(read(b"\x89PNG\r\n\x1a\n and so on").unwrap().media_type, "image/png");
        for body in [&b"GIF89a"[..], b"{}", b"\xFF\xD8", b"<html>"] {
            assert!(matches!(read(body), Err(WechatError::BadAnswer { .. })), "{body:?}");
        }
    }

    #[test]
    fn trace_ids_of_all_ages_are_found() {
        let cases = [
            (
                "invalid code, rid: 654df33c-64386a2f-29857782",
                Some("654df33c-64386a2f-29857782"),
            ),
            (
                "invalid code, hints: [ req_id: N37KMa0605th21 ]",
                Some("N37KMa0605th21"),
            ),
            (
                "access_token missing hint: [hElexSDNRa-XiBFgA] rid: 61725984-6126f6f9-040f19c4",
                Some("61725984-6126f6f9-040f19c4"),
            ),
            (
                "invalid credential, hint: [hElexSDNRa-XiBFgA]",
                Some("hElexSDNRa-XiBFgA"),
            ),
            ("a hybrid: thing", None),
            ("invalid code", None),
            ("rid: ", None),
            ("", None),
        ];
        for (message, expected) in cases {
            assert_eq!(trace_id(message), expected, "{message}");
        }
    }

    #[test]
    fn the_address_is_read_out_of_40164_only() {
        let message =
            "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist rid: 654df33c-64386a2f-29857782";
        assert_eq!(
            refusal(Endpoint::StableToken, 40164, message).address,
            Some("203.0.113.7".parse().unwrap())
        );
        assert_eq!(refusal(Endpoint::StableToken, 40013, message).address, None);
        assert_eq!(
            address("invalid ip 2001:db8::7, not in whitelist"),
            Some("2001:db8::7".parse().unwrap())
        );
        assert_eq!(address("invalid ip, not in whitelist"), None);
    }

    proptest! {
        #[test]
        fn a_trace_id_can_never_forge_a_log_line(message in ".{0,200}") {
            if let Some(id) = trace_id(&message) {
                prop_assert!(!id.is_empty() && id.len() <= TRACE_ID_LIMIT);
                prop_assert!(id.chars().all(is_trace_character));
                prop_assert!(message.contains(id));
            }
        }

        #[test]
        fn a_trace_id_is_found_wherever_it_stands(
            before in "[a-z ,]{0,30}",
            id in "[0-9a-f]{8}-[0-9a-f]{8}-[0-9a-f]{8}",
            after in "( [a-z ]{0,20})?",
        ) {
            let message = format!("{before} rid: {id}{after}");
            prop_assert_eq!(trace_id(&message), Some(id.as_str()));
        }

        #[test]
        fn no_answer_makes_the_reader_fail_otherwise_than_by_an_error(
            status in 100u16..600,
            body in proptest::collection::vec(any::<u8>(), 0..200),
        ) {
            let status = StatusCode::from_u16(status).unwrap();
            let body = Bytes::from(body);
            let _ = read_json::<Wanted>(Endpoint::CodeToSession, status, &body);
            let _ = read_image(Endpoint::UnlimitedCode, status, &body);
        }
    }
}
