//! What the project wants of itself, and whether this run showed it. Information: nothing fails by it.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::field::{
    APACHE, CADDY_CONSTANT, CADDY_MENSHEN, FLOOR, NGINX, NGINX_CONSTANT, NGINX_MENSHEN, PAGE, Protocol, REFUSAL,
    SESSION, Size, VERIFY,
};
use crate::growth::{BYTES, COST, Step};
use crate::measure::{Loop, Round, Table};
use crate::report::Figure;
use crate::streams::Streams;

/// One server against another.
struct Target {
    server: &'static str,
    against: &'static str,
    what: What,
    goal: Goal,
}

#[derive(Clone, Copy)]
enum What {
    Rate,
    Cost,
}

#[derive(Clone, Copy)]
enum Goal {
    AtLeast(f64),
    AtMost(f64),
}

/// What came of one target.
pub struct Verdict {
    text: String,
    value: Value,
}

impl Goal {
    fn is_met(self, value: f64) -> bool {
        match self {
            Self::AtLeast(goal) => value >= goal,
            Self::AtMost(goal) => value <= goal,
        }
    }

    fn text(self) -> String {
        match self {
            Self::AtLeast(goal) => format!("≥ {goal}"),
            Self::AtMost(goal) => format!("≤ {goal}"),
        }
    }
}

/// Each target with each number of connections, small answers over HTTP/1.1 in the closed loop.
pub fn judge(tables: &[Table]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for target in TARGETS {
        let of = match target.what {
            What::Rate => Round::rate,
            What::Cost => Round::cost,
        };
        for table in tables {
            let scenario = table.scenario;
            if (scenario.protocol, scenario.size, scenario.flow) != (Protocol::Http1, Size::Small, Loop::Closed) {
                continue;
            }
            let (Some(own), Some(others)) = (table.row(target.server), table.row(target.against)) else {
                continue;
            };
            if let Some(figure) = own.against(others, of) {
                let what = match target.what {
                    What::Rate => "requests per second",
                    What::Cost => "CPU per request",
                };
                let name = format!(
                    "{} / {}, {what}, {} at a time",
                    target.server, target.against, scenario.connections
                );
                verdicts.push(Verdict::of(&name, figure, target.goal));
            }
        }
    }
    verdicts
}

/// Of waiting pages.
pub fn judge_streams(streams: &Streams) -> Vec<Verdict> {
    let median = streams.scan.value_at_quantile(0.5) as f64 / 1000.0;
    let name = |what: &str| format!("{what}, with {} streams open", streams.open);
    vec![
        Verdict::at_most(&name("KiB for a waiting page"), streams.bytes_each / 1024.0, 35.0),
        Verdict::at_most(&name("ms from scan to event, median"), median, 50.0),
        Verdict::at_most(&name("wake-ups lost in the storm"), streams.lost() as f64, 0.0),
        Verdict::at_most(
            &name("s until those who hung up are forgotten"),
            streams.freed_in.unwrap_or(f64::INFINITY),
            30.0,
        ),
    ]
}

/// Of growth: flat is at most a tenth more from the smallest to the largest.
pub fn judge_growth(steps: &[Step]) -> Vec<Verdict> {
    let mut verdicts = Vec::new();
    for of in ["known sessions", "sites", "routes", "users"] {
        let mut steps = steps.iter().filter(|step| step.of == of);
        let (Some(first), Some(last)) = (steps.next(), steps.next_back()) else {
            continue;
        };
        if let (Some(small), Some(large)) = (first.figure(COST), last.figure(COST)) {
            let name = format!("CPU per request with {} {of} / with {}", last.size, first.size);
            verdicts.push(Verdict::at_most(&name, large / small, 1.1));
        }
    }
    for step in steps {
        if let Some(bytes) = step.figure(BYTES) {
            let name = format!("bytes for a session up to {}", step.size);
            verdicts.push(Verdict::at_most(&name, bytes, 1024.0));
        }
    }
    verdicts
}

impl Verdict {
    fn of(name: &str, figure: Figure, goal: Goal) -> Self {
        let met = goal.is_met(figure.median);
        let word = if met { "met" } else { "missed" };
        Self {
            text: format!(
                "{word:<7} {:>7.3} [{:.2}–{:.2}] {:<7} {name}",
                figure.median,
                figure.least,
                figure.most,
                goal.text()
            ),
            value: json!({ "target": name, "goal": goal.text(), "measured": figure.json(), "met": met }),
        }
    }

    /// Of a single figure.
    fn at_most(name: &str, value: f64, most: f64) -> Self {
        let figure = Figure {
            median: value,
            least: value,
            most: value,
        };
        Self::of(name, figure, Goal::AtMost(most))
    }
}

pub fn print(verdicts: &[Verdict]) -> String {
    if verdicts.is_empty() {
        return String::new();
    }
    let mut text = "Targets\n".to_owned();
    for verdict in verdicts {
        let _ = writeln!(text, "{}", verdict.text);
    }
    text
}

pub fn json(verdicts: &[Verdict]) -> Value {
    verdicts.iter().map(|verdict| verdict.value.clone()).collect()
}

const fn rate(server: &'static str, against: &'static str, least: f64) -> Target {
    Target {
        server,
        against,
        what: What::Rate,
        goal: Goal::AtLeast(least),
    }
}

const TARGETS: [Target; 11] = [
    rate(SESSION, FLOOR, 0.97),
    Target {
        server: SESSION,
        against: FLOOR,
        what: What::Cost,
        goal: Goal::AtMost(1.05),
    },
    rate(SESSION, NGINX_CONSTANT, 3.0),
    rate(SESSION, NGINX_MENSHEN, 3.0),
    rate(SESSION, APACHE, 2.3),
    rate(SESSION, CADDY_CONSTANT, 6.0),
    rate(SESSION, CADDY_MENSHEN, 6.0),
    rate(REFUSAL, FLOOR, 1.4),
    rate(VERIFY, FLOOR, 1.4),
    rate(PAGE, FLOOR, 0.5),
    // The next mark: nginx without any authentication.
    rate(SESSION, NGINX, 1.0),
];
