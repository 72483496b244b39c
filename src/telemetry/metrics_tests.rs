#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeSet;

use super::*;
use crate::telemetry::audit::AuditEvent;

/// One of each series that only exists once something has happened.
fn exercised() -> Metrics {
    let metrics = Metrics::new().unwrap();
    metrics.upstream_duration("Wiki").observe(0.1);
    metrics.upstream_failed("upstream_timeout");
    metrics.refused("login_required");
    metrics.sessions_ended("logout", 1);
    metrics.loop_explained("loop_cookie");
    metrics.phone_button_failed("not_declared");
    metrics.pushed("follow", "asked");
    metrics.wechat_called("jscode2session", "success", Duration::from_millis(80));
    metrics.wechat_refused("jscode2session", Some(40029));
    let resting = RestingCall {
        app_id: "wx1".to_owned(),
        endpoint: "stable_token",
        errcode: 40164,
        remedy: String::new(),
    };
    let moment = Moment {
        resting: vec![resting],
        ..Moment::default()
    };
    metrics.text(&moment).unwrap();
    metrics.store_failed("locked");
    metrics.certificates([("a.pem".to_owned(), 7)]);
    metrics.audited(&AuditEvent {
        connection: Some("staff".to_owned()),
        ..AuditEvent::new(AuditKind::Login, 1)
    });
    metrics
}

/// The public contract: name, type, labels and meaning of each, as the documentation lists them.
#[test]
fn everything_that_is_counted_is_documented_and_nothing_else() {
    let kinds = ["counter", "gauge", "summary", "untyped", "histogram"];
    let families = exercised().registry.gather();
    let counted: BTreeSet<String> = families
        .iter()
        .filter(|family| !family.name().starts_with("menshen_process_"))
        .map(|family| {
            let labels: BTreeSet<&str> = family
                .get_metric()
                .iter()
                .flat_map(|metric| metric.get_label().iter().map(|label| label.name()))
                .collect();
            let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
            let kind = kinds[family.get_field_type() as usize];
            let labels = labels.join(", ");
            let gap = if labels.is_empty() { "" } else { " " };
            format!("| `{}` | {kind} |{gap}{labels} | {} |", family.name(), family.help())
        })
        .collect();
    let page = include_str!("../../docs/metrics.md");
    let documented: BTreeSet<String> = page
        .lines()
        .filter(|line| {
            line.starts_with("| `menshen_") && kinds.iter().any(|kind| line.contains(&format!(" | {kind} |")))
        })
        .map(str::to_owned)
        .collect();
    assert_eq!(counted, documented);
    assert!(families.iter().all(|family| family.name().starts_with("menshen_")));
}

#[cfg(target_os = "linux")]
#[test]
fn the_process_is_counted_under_the_documented_names() {
    let page = include_str!("../../docs/metrics.md");
    let families = exercised().registry.gather();
    let process: Vec<&str> = families
        .iter()
        .map(|family| family.name())
        .filter(|name| name.starts_with("menshen_process_"))
        .collect();
    assert_eq!(process.len(), 7, "{process:?}");
    for name in process {
        assert!(page.contains(&format!("`{name}`")), "{name}");
    }
}

#[test]
fn a_request_counts_once_under_its_decision_and_the_class_of_its_status() {
    let metrics = Metrics::new().unwrap();
    let request = metrics.begin_request();
    let text = metrics.text(&Moment::default()).unwrap();
    assert!(text.contains("\nmenshen_requests_in_flight 1\n"), "{text}");
    metrics.end_request("forward", 204, true, Duration::from_millis(3));
    metrics.end_request("login_page", 401, false, Duration::from_millis(3));
    metrics.end_request("forward", 0, true, Duration::from_millis(3));
    drop(request);
    let text = metrics.text(&Moment::default()).unwrap();
    for line in [
        r#"menshen_requests_total{decision="forward",status="2xx"} 1"#,
        r#"menshen_requests_total{decision="login_page",status="4xx"} 1"#,
        r#"menshen_requests_total{decision="forward",status="none"} 1"#,
        r#"menshen_request_duration_seconds_count{answered_by="upstream"} 2"#,
        r#"menshen_request_duration_seconds_count{answered_by="menshen"} 1"#,
        "menshen_requests_in_flight 0",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn a_call_rests_in_the_numbers_for_as_long_as_it_rests() {
    let metrics = Metrics::new().unwrap();
    let resting = RestingCall {
        app_id: "wx1".to_owned(),
        endpoint: "stable_token",
        errcode: 40164,
        remedy: String::new(),
    };
    let moment = Moment {
        resting: vec![resting],
        ..Moment::default()
    };
    let text = metrics.text(&moment).unwrap();
    let line = r#"menshen_wechat_resting{app_id="wx1",endpoint="stable_token",errcode="40164"} 1"#;
    assert!(text.lines().any(|found| found == line), "{text}");
    assert!(!metrics.text(&Moment::default()).unwrap().contains("errcode"));
}

#[test]
fn codes_of_wechat_are_counted_by_number_and_unknown_ones_together() {
    let metrics = Metrics::new().unwrap();
    for code in [40029, 40029, 123_456, 654_321] {
        let class = crate::wechat::ErrorCode::find(crate::wechat::Endpoint::CodeToSession, code)
            .map_or(crate::wechat::Class::Unknown, |row| row.class);
        let result = crate::wechat::CallResult::Refused { code, class };
        crate::wechat::Observer::called(&metrics, crate::wechat::Endpoint::CodeToSession, result, Duration::ZERO);
    }
    let text = metrics.text(&Moment::default()).unwrap();
    for line in [
        r#"menshen_wechat_refusals_total{endpoint="jscode2session",errcode="40029"} 2"#,
        r#"menshen_wechat_refusals_total{endpoint="jscode2session",errcode="other"} 2"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn reasons_that_nobody_foresaw_share_one_label() {
    let metrics = Metrics::new().unwrap();
    metrics.sessions_ended("because of user input", 3);
    metrics.audited(&AuditEvent {
        connection: Some("staff".to_owned()),
        reason: Some("something new".to_owned()),
        ..AuditEvent::new(AuditKind::LoginFailed, 1)
    });
    let text = metrics.text(&Moment::default()).unwrap();
    assert!(text.contains(r#"menshen_sessions_ended_total{reason="other"} 3"#));
    assert!(text.contains(r#"menshen_logins_total{connection="staff",result="other"} 1"#));
    assert!(!text.contains("something new"));
}

#[test]
fn a_refused_configuration_leaves_the_time_of_the_one_in_use() {
    let metrics = Metrics::new().unwrap();
    metrics.configured(Reload::Applied, 1, 100);
    metrics.reloaded(Reload::Applied, 2, 200);
    metrics.reloaded(Reload::Refused, 2, 300);
    let text = metrics.text(&Moment::default()).unwrap();
    for line in [
        "menshen_config_generation 2",
        "menshen_config_last_reload_successful 0",
        "menshen_config_last_reload_success_timestamp_seconds 200",
        r#"menshen_config_reloads_total{result="applied"} 1"#,
        r#"menshen_config_reloads_total{result="refused"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}
