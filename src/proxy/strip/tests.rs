//! Names by table.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use http::HeaderValue;
use proptest::prelude::*;

use super::*;
use crate::config::settings::Claim;
use crate::gate::fixture::{settings, site};

fn managed() -> ManagedNames {
    let mut custom = site(&["a.test"], vec![]);
    custom.headers = HeaderSet::Custom(vec![
        ("X-Employee_No".to_owned(), Claim::Sub),
        ("Q".to_owned(), Claim::Name),
    ]);
    let mut settings = settings("https://login.test", vec![custom]);
    settings.identity.assertion_header = "X-Door-Proof".to_owned();
    ManagedNames::new(&settings)
}

#[test]
fn every_spelling_of_a_managed_name_is_removed() {
    let managed = managed();
    for name in [
        "remote-user",
        "remote-name",
        "remote-groups",
        "remote-email",
        "remote-phone",
        "remote_user",
        "remote.user",
        "x-forwarded-user",
        "x_forwarded_user",
        "x-forwarded_user",
        "x__forwarded__user",
        "x-forwarded+user",
        "x-forwarded-preferred-username",
        "x-forwarded-groups",
        "x-forwarded-email",
        "x-forwarded-phone",
        "x-forwarded-access-token",
        "x-auth-request-user",
        "x_auth_request_user",
        "x-auth-request-redirect",
        "x-door-proof",
        "x_door_proof",
        "x-door_proof",
        "x-menshen-assertion",
        "x-menshen-anything",
        "x-employee-no",
        "x_employee_no",
        "x-employee_no",
        "q",
        "x-pomerium-jwt-assertion",
        "x-pomerium-reproxy-policy",
        "cf-access-jwt-assertion",
        "cf-access-authenticated-user-email",
        "x-goog-iap-jwt-assertion",
        "x-goog-authenticated-user-email",
        "x-amzn-oidc-data",
        "x-amzn-oidc-identity",
        "x-authentik-username",
        "tailscale-user-login",
        "x-vouch-user",
        "oidc_claim_sub",
        "oidc-claim-sub",
        "x-webauth-user",
        "x-remote-user",
        "x-remote-group",
        "ssl-client-verify",
        "ssl_client_s_dn",
        "x-ssl-client-dn",
        "x-forwarded-client-cert",
        "x-forwarded-tls-client-cert-info",
        "x-ms-client-principal-name",
        "x-consumer-username",
        "x-authenticated-userid",
        "x-wx-openid",
        "x-wx-unionid",
        "proxy",
        "proxy-authorization",
        "proxy-connection",
        "x-original-url",
        "x-original-uri",
        "x-rewrite-url",
        "x_original_url",
        "x-http-method-override",
        "x-http-method",
        "x-method-override",
        "x-accel-redirect",
        "x-accel-buffering",
        "x-middleware-subrequest",
        "x-envoy-original-path",
        "http2-settings",
        "forwarded",
    ] {
        for trusted in [false, true] {
            assert!(managed.removes(name, &[], trusted), "{name} {trusted}");
            // A doubled mark is another name to every backend, so that an operator may ask for it.
            let listed = [name.to_owned()];
            assert!(
                managed.removes(name, &listed, trusted) || name.contains("__"),
                "{name} {trusted}, listed"
            );
        }
    }
}

#[test]
fn facts_about_the_connection_pass_from_a_trusted_peer_only() {
    let managed = managed();
    for name in [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-uri",
        "x-forwarded-anything",
        "x-real-ip",
        "x-request-id",
        "true-client-ip",
        "cf-connecting-ip",
        "x-client-ip",
        "x-scheme",
        "front-end-https",
    ] {
        assert!(managed.removes(name, &[], false), "{name}");
        assert!(!managed.removes(name, &[], true), "{name}");
    }
}

#[test]
fn names_that_only_folding_could_need_pass_where_the_site_lists_them() {
    let managed = managed();
    for name in ["x_legacy", "x.legacy", "x+legacy", "x-le~gacy", "_", "a_b", "host_"] {
        assert!(managed.removes(name, &[], true), "{name}");
        assert!(!managed.removes(name, &[name.to_owned()], false), "{name}");
        assert!(managed.removes(name, &["x_other".to_owned()], false), "{name}");
    }
    for name in [
        "content_length",
        "transfer_encoding",
        "content.type",
        "x_forwarded_for",
        "x_real_ip",
    ] {
        assert!(managed.removes(name, &[name.to_owned()], true), "{name}");
    }
}

#[test]
fn a_browsers_request_passes_whole_and_allocates_no_list() {
    let mut headers = HeaderMap::new();
    for name in [
        "host",
        "connection",
        "cache-control",
        "sec-ch-ua",
        "sec-ch-ua-mobile",
        "sec-ch-ua-platform",
        "user-agent",
        "accept",
        "accept-encoding",
        "accept-language",
        "cookie",
        "referer",
        "origin",
        "priority",
        "pragma",
        "range",
        "if-none-match",
        "if-modified-since",
        "content-type",
        "content-length",
        "transfer-encoding",
        "te",
        "upgrade",
        "dnt",
        "authorization",
        "upgrade-insecure-requests",
        "sec-fetch-site",
        "sec-fetch-mode",
        "sec-fetch-dest",
        "sec-fetch-user",
        "expect",
        "sec-websocket-key",
        "x-requested-with",
        "x-csrf-token",
        "x-xsrf-token",
        "x-api-key",
        "x-auth-token",
        "x-user-id",
        "depth",
        "destination",
        "overwrite",
        "traceparent",
        "tracestate",
        "x-b3-traceid",
        "sentry-trace",
        "soapaction",
        "grpc-timeout",
        "x-grpc-web",
        "last-event-id",
        "x-amz-date",
        "x-amz-content-sha256",
        "docker-distribution",
        "via",
    ] {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static("x"));
    }
    let removed = managed().names_to_remove(&headers, &[], false);
    assert!(removed.is_empty() && !removed.spilled(), "{removed:?}");
    headers.append("remote-user", HeaderValue::from_static("admin"));
    headers.append("remote-user", HeaderValue::from_static("root"));
    headers.append("x_y", HeaderValue::from_static("z"));
    let removed = managed().names_to_remove(&headers, &[], false);
    assert_eq!(removed.as_slice(), ["remote-user", "x_y"]);
}

#[test]
fn an_upstream_sets_no_header_of_the_gateway() {
    let managed = managed();
    for name in [
        "x-door-proof",
        "x_door_proof",
        "x-auth-request-user",
        "remote-user",
        "x-menshen-x",
        "x-forwarded-user",
        "q",
    ] {
        assert!(!managed.upstream_may_set(name), "{name}");
    }
    for name in [
        "set-cookie",
        "content-type",
        "location",
        "x-powered-by",
        "x-frame-options",
        "retry-after",
        "x_custom",
    ] {
        assert!(managed.upstream_may_set(name), "{name}");
    }
}

proptest! {
    #[test]
    fn no_spelling_that_folds_onto_a_managed_name_survives(
        place in 0_usize..1000, marks in prop::collection::vec(prop::sample::select(b"-_.+!#$%&'*^`|~".to_vec()), 40), trusted: bool
    ) {
        let exact: Vec<&str> = IDENTITY_NAMES.into_iter().chain(DANGEROUS_NAMES).chain(["remote-user", "x-door-proof"]).collect();
        let name = exact[place % exact.len()];
        let mut marks = marks.into_iter();
        let spelt: String = name
            .chars()
            .map(|character| if character == '-' { char::from(marks.next().unwrap()) } else { character })
            .collect();
        let managed = managed();
        prop_assert!(managed.removes(&spelt, std::slice::from_ref(&spelt), trusted), "{}", spelt);
        prop_assert_eq!(fold(&spelt), name);
    }

    #[test]
    fn the_quick_look_never_misses_what_the_tables_hold(name in "[a-z0-9-]{1,12}") {
        let managed = managed();
        let tables = managed.identity.contains(name.as_str())
            || starts_with_any(&name, &IDENTITY_FAMILIES)
            || DANGEROUS_NAMES.contains(&name.as_str())
            || starts_with_any(&name, &DANGEROUS_FAMILIES);
        prop_assert_eq!(managed.removes(&name, &[], true), tables);
    }
}
