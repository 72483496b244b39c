//! Rounds: everybody in turn, so that whatever else the machine does falls on all of them.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::field::{FLOOR, Field, Offer, Protocol, Size};
use crate::generator::{Load, Run};
use crate::lane::Tls;
use crate::machine::{cpu_time, memory, own_cpu_time};
use crate::options::Options;
use crate::progress;

/// How requests follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Loop {
    /// The next when the last is answered: the most that a server can do.
    Closed,
    /// At fixed times: how long an answer takes.
    Open,
}

/// What is the same for all in one table.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    pub protocol: Protocol,
    pub size: Size,
    pub flow: Loop,
    pub connections: u32,
}

/// What came of a scenario.
pub struct Table {
    pub scenario: Scenario,
    pub rows: Vec<Row>,
}

/// One server's rounds, in the order of everybody's.
pub struct Row {
    pub server: &'static str,
    pub rounds: Vec<Round>,
    /// Why there are no more.
    pub failure: Option<String>,
}

/// What came of one round.
pub struct Round {
    pub requests: u64,
    pub seconds: f64,
    /// Of the server, all its processes, in seconds.
    pub cpu: f64,
    /// Of the upstream, in seconds.
    pub upstream_cpu: f64,
    /// Of the load generator (and of WeChat, which sleeps), in seconds.
    pub generator_cpu: f64,
    /// In microseconds: median, 99 %, 99.9 %.
    pub latencies: [u64; 3],
    /// Bytes.
    pub memory: u64,
    /// Requests in a second, if they were sent at fixed times.
    pub asked: Option<f64>,
}

impl Scenario {
    /// All that there are, in the order in which they are measured.
    pub fn all(connections: &[u32]) -> Vec<Self> {
        let mut all = Vec::new();
        // In the middle of what is measured in the closed loop.
        let open = connections[connections.len() / 2];
        for protocol in [Protocol::Http1, Protocol::Http2] {
            for size in [Size::Small, Size::Large] {
                let scenario = |flow, connections| Self {
                    protocol,
                    size,
                    flow,
                    connections,
                };
                all.extend(connections.iter().map(|&number| scenario(Loop::Closed, number)));
                all.push(scenario(Loop::Open, open));
            }
        }
        all
    }

    /// Of one server's measurement, for `--only`.
    pub fn name_of(&self, server: &str) -> String {
        format!("{}: {server}", self.name())
    }

    pub fn name(&self) -> String {
        let flow = match self.flow {
            Loop::Closed => "closed loop",
            Loop::Open => "open loop",
        };
        format!("{}, {}, {flow}", self.protocol.name(), self.size.name())
    }
}

/// Measures one scenario with those whom the options name, and the floor.
pub async fn measure(field: &Field, scenario: Scenario, options: &Options) -> Table {
    let wanted = |offer: &&Offer| {
        let same = offer.protocol == scenario.protocol && offer.size == scenario.size;
        same && (offer.server == FLOOR || options.wants(&scenario.name_of(offer.server)))
    };
    let tls = (scenario.protocol == Protocol::Http2).then(|| field.certificate.trusted());
    let mut cases: Vec<Case<'_>> = field
        .offers
        .iter()
        .filter(wanted)
        .map(|offer| Case::new(offer, scenario, tls.clone(), field.application.id()))
        .collect();
    let all = format!("{}, {} connections", scenario.name(), scenario.connections);
    // The first warms up, and says how fast everybody is.
    let warm_up = options.round().min(Duration::from_secs(1));
    for case in &mut cases {
        progress(&format!("{all}: warming up {}", case.row.server));
        case.warm_up(warm_up).await;
    }
    let of_floor = cases
        .iter()
        .find(|case| case.row.server == FLOOR)
        .map_or(0.0, |case| case.most);
    for round in 0..options.rounds {
        // Forwards and backwards, so that nobody is always measured after the same neighbour.
        let mut order: Vec<usize> = (0..cases.len()).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for place in order {
            let case = &mut cases[place];
            progress(&format!(
                "{all}: round {} of {}: {}",
                round + 1,
                options.rounds,
                case.row.server
            ));
            case.round(options.round(), of_floor).await;
        }
    }
    Table {
        scenario,
        rows: cases.into_iter().map(|case| case.row).collect(),
    }
}

struct Case<'f> {
    offer: &'f Offer,
    load: Load,
    flow: Loop,
    upstream: u32,
    /// Requests in a second in the closed loop, while warming up.
    most: f64,
    row: Row,
}

impl<'f> Case<'f> {
    fn new(offer: &'f Offer, scenario: Scenario, tls: Option<Tls>, upstream: u32) -> Self {
        Self {
            offer,
            load: Load {
                address: offer.address,
                tls,
                exchange: Arc::clone(&offer.exchange),
                lanes: scenario.connections,
            },
            flow: scenario.flow,
            upstream,
            most: 0.0,
            row: Row {
                server: offer.server,
                rounds: Vec::new(),
                failure: None,
            },
        }
    }

    async fn warm_up(&mut self, length: Duration) {
        let warmed = async { self.load.ready().await?.closed(length).await };
        match warmed.await {
            Ok(run) => self.most = run.latencies.len() as f64 / run.seconds,
            Err(error) => self.row.failure = Some(error.to_string()),
        }
    }

    async fn round(&mut self, length: Duration, of_floor: f64) {
        if self.row.failure.is_some() {
            return;
        }
        match self.run(length, of_floor).await {
            Ok(round) => self.row.rounds.push(round),
            Err(error) => self.row.failure = Some(error.to_string()),
        }
    }

    /// In the open loop everybody gets half of what the floor can take, so that latencies compare; who could not take
    /// that gets 0.7 of what it can, and its row says so.
    async fn run(&self, length: Duration, of_floor: f64) -> io::Result<Round> {
        let ready = self.load.ready().await?;
        let times = || {
            [
                cpu_time(&self.offer.processes),
                cpu_time(&[self.upstream]),
                own_cpu_time(),
            ]
        };
        let before = times();
        let (run, asked) = match self.flow {
            Loop::Closed => (ready.closed(length).await?, None),
            Loop::Open => {
                let rate = (of_floor * 0.5).min(self.most * 0.7).max(1.0);
                (ready.open(length, rate).await?, Some(rate))
            }
        };
        let after = times();
        let used = |place: usize| after[place].saturating_sub(before[place]).as_secs_f64();
        Ok(Round {
            cpu: used(0),
            upstream_cpu: used(1),
            generator_cpu: used(2),
            memory: memory(&self.offer.processes),
            asked,
            ..Round::of(&run)
        })
    }
}

impl Round {
    fn of(run: &Run) -> Self {
        Self {
            requests: run.latencies.len(),
            seconds: run.seconds,
            cpu: 0.0,
            upstream_cpu: 0.0,
            generator_cpu: 0.0,
            latencies: [0.5, 0.99, 0.999].map(|quantile| run.latencies.value_at_quantile(quantile)),
            memory: 0,
            asked: None,
        }
    }

    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Microseconds of CPU time for a request.
    pub fn cost(&self) -> f64 {
        self.cpu * 1e6 / (self.requests.max(1)) as f64
    }
}
