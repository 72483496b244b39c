//! `menshen doctor`: asks the real parts, and says what to do about what it finds.
//!
//! Where it runs it asks everything itself: the store, WeChat, each site by its public name, the applications. Of the
//! other nodes it reads what they leave in the store every minute (`nodes`): their clocks, versions and configurations.
//! All questions are asked at once, each within a limit. What cannot be found out from here is listed as that, so that
//! nobody takes silence for health.

mod certificates;
mod nodes;
mod portal;
mod report;
mod state;
mod upstreams;
mod wechat;

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::net::IpAddr;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::{FutureExt as _, LocalBoxFuture, Shared};
use futures_util::stream::{self, StreamExt as _};

use crate::cli::{FAILED, WRONG_USAGE, complain, health, operator};
use crate::config::{Loaded, Mistake, Settings};

use portal::Visitor;
use report::{Finding, Group, Report};
use state::State;

/// What is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct Options {
    /// Ask a public name at this address, whatever name resolution says: before its DNS record is changed, or from where
    /// it leads elsewhere. May be repeated
    #[arg(long, value_name = "HOST=ADDRESS", value_parser = resolution)]
    resolve: Vec<(String, IpAddr)>,
    /// Print JSON, for programs
    #[arg(long)]
    json: bool,
}

/// Asks everything, writes what was found; 0 when nothing failed.
pub(super) fn run(options: &Options, path: &Path, out: &mut (impl Write + IsTerminal)) -> u8 {
    let Some(Loaded { settings, warnings, .. }) = operator::configuration(path) else {
        return WRONG_USAGE;
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("no runtime: {error}"));
            return FAILED;
        }
    };
    let mut findings: Vec<Finding> = warnings.iter().map(of_warning).collect();
    if findings.is_empty() {
        findings.push(Finding::ok(
            Group::Configuration,
            "file",
            path.display(),
            "valid, without warnings",
        ));
    }
    findings.extend(runtime.block_on(ask(&settings, path, options)));
    // A name that is still being looked up holds a thread, and nobody waits for it any more.
    runtime.shutdown_background();
    let report = Report::new(path, findings);
    let colour = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let written = if options.json {
        operator::write_json(&report, out)
    } else {
        report.write_text(out, colour)
    };
    match written {
        Ok(()) => report.exit_code(),
        Err(_) => FAILED,
    }
}

/// What the store showed, once, to everybody who needs it.
type SharedState<'s> = Shared<LocalBoxFuture<'s, Rc<State>>>;

async fn ask(settings: &Settings, path: &Path, options: &Options) -> Vec<Finding> {
    let state: SharedState<'_> = async { Rc::new(State::read(settings).await) }.boxed_local().shared();
    let mut questions: Vec<Question<'_>> = Vec::new();
    let of_store = state.clone();
    questions.push(Question::new(Group::Store, "the store", async move {
        of_store.await.findings.clone()
    }));
    questions.push(Question::new(Group::Nodes, "the gateway here", async {
        of_gateway(health::ask(path).await)
    }));
    for app in wechat::apps(settings) {
        let state = state.clone();
        questions.push(Question::new(Group::Wechat, &app.subject(), async move {
            app.examine(state).await
        }));
    }
    match Visitor::new(settings, &options.resolve) {
        Ok(visitor) => {
            let visitor = Rc::new(visitor);
            for visit in portal::visits(settings) {
                let (visitor, state) = (Rc::clone(&visitor), state.clone());
                questions.push(Question::new(Group::Portal, &visit.subject(), async move {
                    visitor.make(&visit, state).await
                }));
            }
        }
        Err(error) => questions.push(Question::new(Group::Portal, "public names", async move {
            vec![Finding::fail(
                Group::Portal,
                "reachable",
                "public names",
                format!("no HTTP client can be set up: {error}"),
                "Install the certificate authorities of this machine (ca-certificates).",
            )]
        })),
    }
    for site in &settings.sites {
        questions.push(Question::new(Group::Upstreams, &site.name, upstreams::examine(site)));
    }
    questions.push(Question::new(Group::Certificates, "certificates", async {
        certificates::examine(settings)
    }));
    answers(questions).await
}

/// One thing to be found out.
struct Question<'q> {
    group: Group,
    subject: String,
    answer: LocalBoxFuture<'q, Vec<Finding>>,
}

impl<'q> Question<'q> {
    fn new(group: Group, subject: &str, answer: impl Future<Output = Vec<Finding>> + 'q) -> Self {
        Self {
            group,
            subject: subject.to_owned(),
            answer: answer.boxed_local(),
        }
    }

    async fn answered(self) -> Vec<Finding> {
        match tokio::time::timeout(LIMIT, self.answer).await {
            Ok(findings) => findings,
            Err(_) => vec![Finding::fail(
                self.group,
                "in_time",
                self.subject,
                format!("nothing was found out within {} s", LIMIT.as_secs()),
                "Look at the network between here and there, and ask again.",
            )],
        }
    }
}

/// Asks at once, says how many are still out, and gives the answers in the order of the questions.
async fn answers(questions: Vec<Question<'_>>) -> Vec<Finding> {
    let (total, done) = (questions.len(), Cell::new(0));
    let tell = || operator::progress(&format!("asking: {} of {total} answered", done.get()));
    tell();
    let asked = questions.into_iter().enumerate().map(|(place, question)| {
        question.answered().map({
            let (done, tell) = (&done, &tell);
            move |findings| {
                done.set(done.get() + 1);
                tell();
                (place, findings)
            }
        })
    });
    let mut answers: Vec<(usize, Vec<Finding>)> = stream::iter(asked).buffer_unordered(AT_ONCE).collect().await;
    operator::progress("");
    answers.sort_by_key(|(place, _)| *place);
    answers.into_iter().flat_map(|(_, findings)| findings).collect()
}

fn of_warning(warning: &Mistake) -> Finding {
    Finding::warn(
        Group::Configuration,
        "file",
        format!("{}:{}", warning.file.display(), warning.line),
        warning.message.clone(),
        warning.remedy.clone(),
    )
}

/// Whether it is ready; and what it does not ask of WeChat at present, which may be repaired already.
fn of_gateway(healthy: Result<Vec<health::Resting>, health::Unhealthy>) -> Vec<Finding> {
    let (group, check, subject) = (Group::Nodes, "ready", "the gateway here");
    let finding = match healthy {
        Ok(resting) => {
            let ready = Finding::ok(group, check, subject, "ready");
            let rests = resting.into_iter().map(|call| {
                let message = format!(
                    "{} of {} rests, since WeChat answered {}",
                    call.endpoint, call.app_id, call.errcode
                );
                Finding::warn(group, "resting", subject, message, call.remedy)
            });
            return std::iter::once(ready).chain(rests).collect();
        }
        Err(health::Unhealthy::Off) => Finding::unchecked(
            group,
            check,
            subject,
            "whether it is ready: server.admin_listen is \"off\"",
        ),
        Err(error @ health::Unhealthy::NotReady(_)) => Finding::fail(
            group,
            check,
            subject,
            error.to_string(),
            "Its log says more; revocations_unknown and store_unavailable mean the store.",
        ),
        Err(error) => Finding::warn(
            group,
            check,
            subject,
            error.to_string(),
            "If a gateway should run on this machine with this configuration, start it; its log says why it ended.",
        ),
    };
    vec![finding]
}

/// `wiki.example.com=10.0.0.5`
fn resolution(text: &str) -> Result<(String, IpAddr), String> {
    let wrong = || format!("{text:?} is no HOST=ADDRESS, as in wiki.example.com=10.0.0.5");
    let (host, address) = text.split_once('=').ok_or_else(wrong)?;
    let address = address.trim_matches(['[', ']']).parse().map_err(|_| wrong())?;
    let host = host.trim().to_ascii_lowercase();
    if host.is_empty() || host.contains([':', '/']) {
        return Err(wrong());
    }
    Ok((host, address))
}

/// Of one question; it consists of several calls, which have limits of their own.
const LIMIT: Duration = Duration::from_secs(30);

/// Installations have a handful of sites; a hundred should not look like an attack.
const AT_ONCE: usize = 32;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

    use super::*;

    #[test]
    fn a_name_is_asked_where_the_operator_says() {
        let read = |text: &str| resolution(text).ok().map(|(host, address)| format!("{host} {address}"));
        assert_eq!(
            read("Wiki.Example.com=10.0.0.5").as_deref(),
            Some("wiki.example.com 10.0.0.5")
        );
        assert_eq!(read("a=[::1]").as_deref(), Some("a ::1"));
        for wrong in ["a", "=10.0.0.5", "a=b", "a:80=10.0.0.5", "https://a=10.0.0.5", ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_answer_in_time_fails_and_holds_nobody_up() {
        let finding = |subject: &str| Finding::ok(Group::Store, "x", subject, "well");
        let questions = vec![
            Question::new(Group::Wechat, "silent", std::future::pending()),
            Question::new(Group::Store, "quick", async { vec![finding("quick")] }),
        ];
        let found = answers(questions).await;
        let said: Vec<_> = found
            .iter()
            .map(|finding| (finding.subject.as_str(), finding.failed()))
            .collect();
        assert_eq!(said, [("silent", true), ("quick", false)]);
    }
}
