//! The applications: whether each address answers, and what its health check says.

use super::report::{Finding, Group};
use crate::config::settings::Site;
use crate::proxy::upstream::{Trial, TrialError, try_out};

/// Asks every upstream of a site.
pub(super) async fn examine(site: &Site) -> Vec<Finding> {
    if site.upstreams.is_empty() {
        return vec![Finding::ok(
            Group::Upstreams,
            "reachable",
            &site.name,
            "has no upstream: for forward-auth only",
        )];
    }
    let trials = try_out(site).await;
    trials.iter().map(|trial| judge(site, trial)).collect()
}

fn judge(site: &Site, trial: &Trial) -> Finding {
    let subject = format!("{} ({})", trial.upstream, site.name);
    let (group, check) = (Group::Upstreams, "reachable");
    match (&trial.answer, &site.upstream.health_check) {
        (Ok(status), Some(_)) if (200..300).contains(status) => Finding::ok(group, check, subject, "well"),
        (Ok(status), Some(path)) => Finding::fail(
            group,
            check,
            subject,
            format!("its health check {path} answers {status}"),
            "See the application's log, or correct health_check: only 2xx counts, and a redirect does not.",
        ),
        (Ok(status), None) if *status >= 500 => Finding::warn(
            group,
            check,
            subject,
            format!("it answers, with {status}"),
            "See the application's log, and set health_check if another path shows better whether it is well.",
        ),
        (Ok(_), None) => Finding::ok(group, check, subject, "it answers"),
        (Err(error), _) => Finding::fail(group, check, subject, error.to_string(), remedy(error)),
    }
}

fn remedy(error: &TrialError) -> &'static str {
    match error {
        TrialError::Unresolved(_) => "Correct the name in upstreams, or this machine's name resolution.",
        TrialError::Authority => "Correct sites.upstream.tls_ca: a PEM file that this user can read.",
        TrialError::NoPlace => "Correct the address in upstreams.",
        TrialError::TimedOut => {
            "Is the application overloaded, or does a firewall drop what comes from here? See connect_timeout and \
             read_timeout."
        }
        TrialError::Failed(_) => {
            "Start the application, and have it listen where this machine reaches it. Over https its certificate must be \
             valid for the name, or set tls_ca and tls_name."
        }
    }
}
