//! Tables for people and JSON for programs.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::field::FLOOR;
use crate::measure::{Loop, Round, Row, Table};

/// A median and what it lies between.
#[derive(Debug, Clone, Copy)]
pub struct Figure {
    pub median: f64,
    pub least: f64,
    pub most: f64,
}

/// Something that a round measures.
pub struct Metric {
    name: &'static str,
    of: fn(&Round) -> f64,
}

impl Figure {
    pub fn of(values: impl Iterator<Item = f64>) -> Option<Self> {
        let mut values: Vec<f64> = values.filter(|value| value.is_finite()).collect();
        values.sort_by(f64::total_cmp);
        let (least, most) = (*values.first()?, *values.last()?);
        let middle = values.len() / 2;
        let median = if values.len() % 2 == 1 {
            values[middle]
        } else {
            f64::midpoint(values[middle - 1], values[middle])
        };
        Some(Self { median, least, most })
    }

    pub fn json(self) -> Value {
        json!({ "median": self.median, "min": self.least, "max": self.most })
    }
}

impl Row {
    pub fn figure(&self, of: impl Fn(&Round) -> f64) -> Option<Figure> {
        Figure::of(self.rounds.iter().map(of))
    }

    /// This server against another, round by round: what the machine did in a round fell on both.
    pub fn against(&self, other: &Self, of: impl Fn(&Round) -> f64) -> Option<Figure> {
        let pairs = self.rounds.iter().zip(&other.rounds);
        Figure::of(pairs.map(|(own, others)| of(own) / of(others)))
    }
}

impl Table {
    pub fn row(&self, server: &str) -> Option<&Row> {
        self.rows.iter().find(|row| row.server == server)
    }

    pub fn title(&self) -> String {
        format!("{}, {} at a time", self.scenario.name(), self.scenario.connections)
    }

    /// For people.
    pub fn print(&self) -> String {
        let mut text = format!("{}\n", self.title());
        let floor = self.row(FLOOR);
        let _ = writeln!(
            text,
            "{:<32}{:>9} {:<18}{:>8} {:<18}{:>8}{:>8}{:>8}{:>7} {:<6}",
            "", "req/s", "× floor", "CPU µs", "× floor", "p50 µs", "p99", "p99.9", "p99×", "MiB"
        );
        for row in &self.rows {
            if let Some(failure) = &row.failure {
                let _ = writeln!(text, "{:<32}failed: {failure}", row.server);
                continue;
            }
            let ratio = |of: fn(&Round) -> f64| floor.and_then(|floor| row.against(floor, of));
            let plain = |of: fn(&Round) -> f64, digits| {
                row.figure(of)
                    .map_or(String::new(), |figure| format!("{:.digits$}", figure.median))
            };
            let _ = writeln!(
                text,
                "{:<32}{:>9} {:<18}{:>8} {:<18}{:>8}{:>8}{:>8}{:>7} {:<6}",
                row.server,
                plain(Round::rate, 0),
                spread(ratio(Round::rate)),
                plain(Round::cost, 1),
                spread(ratio(Round::cost)),
                plain(|round| round.latencies[0] as f64, 0),
                plain(|round| round.latencies[1] as f64, 0),
                plain(|round| round.latencies[2] as f64, 0),
                ratio(|round| round.latencies[1] as f64).map_or(String::new(), |it| format!("{:.2}", it.median)),
                plain(|round| round.memory as f64 / MIB, 0),
            );
        }
        if self.scenario.flow == Loop::Open {
            text += "Latencies count from the time at which a request was to be sent. A lower req/s than the floor's is \
                     0.7 of what this server can do.\n";
        }
        text
    }

    pub fn json(&self) -> Value {
        let floor = self.row(FLOOR);
        let servers = self.rows.iter().map(|row| {
            let figures = METRICS.iter().map(|metric| {
                let figure = row.figure(metric.of).map(Figure::json);
                let ratio = floor.and_then(|floor| row.against(floor, metric.of)).map(Figure::json);
                let rounds: Vec<f64> = row.rounds.iter().map(metric.of).collect();
                let value = json!({ "figure": figure, "to_floor": ratio, "rounds": rounds });
                (metric.name.to_owned(), value)
            });
            let figures: serde_json::Map<String, Value> = figures.collect();
            json!({ "server": row.server, "failure": row.failure, "measured": figures })
        });
        json!({
            "protocol": self.scenario.protocol.name(),
            "size": self.scenario.size.name(),
            "loop": if self.scenario.flow == Loop::Open { "open" } else { "closed" },
            "connections": self.scenario.connections,
            "asked_per_second": self.row(FLOOR).and_then(|row| row.rounds.first()).and_then(|round| round.asked),
            "servers": servers.collect::<Vec<_>>(),
        })
    }
}

fn spread(figure: Option<Figure>) -> String {
    figure.map_or(String::new(), |it| {
        format!("{:.3} [{:.2}–{:.2}]", it.median, it.least, it.most)
    })
}

const METRICS: [Metric; 8] = [
    Metric {
        name: "requests_per_second",
        of: Round::rate,
    },
    Metric {
        name: "cpu_us_per_request",
        of: Round::cost,
    },
    Metric {
        name: "p50_us",
        of: |round| round.latencies[0] as f64,
    },
    Metric {
        name: "p99_us",
        of: |round| round.latencies[1] as f64,
    },
    Metric {
        name: "p99_9_us",
        of: |round| round.latencies[2] as f64,
    },
    Metric {
        name: "memory_bytes",
        of: |round| round.memory as f64,
    },
    Metric {
        name: "upstream_cpu_us_per_request",
        of: |round| round.upstream_cpu * 1e6 / round.requests.max(1) as f64,
    },
    Metric {
        name: "generator_cpu_us_per_request",
        of: |round| round.generator_cpu * 1e6 / round.requests.max(1) as f64,
    },
];
const MIB: f64 = 1_048_576.0;
