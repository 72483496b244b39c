//! What a gateway costs under load, beside a bare Pingora proxy and its peers, on one machine and in one run.
//!
//! `make bench`, or `cargo bench --bench load -- --help`. The gateway is the real binary in a process of its own, as an
//! operator runs it; so are the bare proxy, the upstream and the peers. Each server is measured in rounds that alternate
//! with the others', and is compared with the floor round by round. Requests per second depend on the machine and on the
//! load generator beside it; CPU time per request, read from the kernel, and the ratios do not nearly as much.
//! `docs/performance.md` says how to read the result.
//!
//! Everything is on loopback, and nothing leaves it.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
#![allow(clippy::print_stdout, clippy::print_stderr)]
// The tests' world: a gateway with WeChat and people around it. Not all of it is needed here.
#![allow(dead_code, unused_imports)]

mod certificate;
mod daemon;
mod field;
mod floor;
mod gateway;
mod generator;
mod growth;
mod lane;
mod logins;
mod machine;
mod measure;
mod options;
mod peers;
mod people;
mod report;
mod requests;
mod streams;
mod targets;
mod upstream;

#[path = "../../tests/integration/support/mod.rs"]
mod support;

use std::io::IsTerminal;
use std::path::Path;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;
use tokio::runtime::{Builder, Runtime};

use field::{Field, Protocol, SERVERS};
use measure::Scenario;
use options::Options;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [upstream::ARGUMENT] => upstream::serve(),
        [floor::ARGUMENT, application, certificate] => {
            floor::serve(application.parse().expect("an address"), Path::new(certificate));
        }
        _ => {}
    }
    let options = Options::read();
    if options.list {
        for name in names(&options) {
            println!("{name}");
        }
        return;
    }
    if names(&options).is_empty() && !options.growth {
        eprintln!(
            "error: no measurement has any of {:?} in its name: --list prints them",
            options.only
        );
        std::process::exit(2);
    }
    support::world::install_crypto();
    raise_limit();
    let runtime = |name: &str, threads| -> Runtime {
        let mut builder = Builder::new_multi_thread();
        builder.enable_all().thread_name(name).worker_threads(threads);
        builder.build().expect("a runtime")
    };
    let wechat = runtime(WECHAT, 2);
    runtime("generator", machine::cores()).block_on(Box::pin(run(&options, &wechat)));
    wechat.shutdown_background();
}

async fn run(options: &Options, wechat: &Runtime) {
    let noise = machine::Noise::listen();
    let scenarios = Scenario::all(&options.connections);
    let wants = |server: &str, protocol: Protocol| {
        let mut of_protocol = scenarios.iter().filter(|scenario| scenario.protocol == protocol);
        of_protocol.any(|scenario| options.wants(&scenario.name_of(server)))
    };
    progress("starting");
    let more = MORE.iter().any(|name| options.wants(name));
    let field = Box::pin(Field::start(wants, more, wechat)).await;
    let mut tables = Vec::new();
    for &scenario in &scenarios {
        if SERVERS
            .iter()
            .any(|(server, _)| options.wants(&scenario.name_of(server)))
        {
            tables.push(measure::measure(&field, scenario, options).await);
        }
    }
    let gateway = || field.plain.as_ref().expect("a gateway");
    let length = std::time::Duration::from_secs(if options.quick { 3 } else { 10 });
    let mut views = None;
    if options.wants(VIEWS) {
        views = Some(logins::views_write_nothing(gateway(), length).await);
    }
    let mut whole = None;
    if options.wants(LOGINS) {
        whole = Some(logins::sustained(gateway(), length).await);
    }
    let mut waiting = None;
    if options.wants(STREAMS) {
        waiting = Some(Box::pin(streams::measure(gateway(), options)).await);
    }
    let mut grown = Vec::new();
    if options.growth {
        grown = Box::pin(growth::measure(field.application_address, wechat, options)).await;
    }
    progress("");
    let mut verdicts = targets::judge(&tables);
    verdicts.extend(waiting.iter().flat_map(targets::judge_streams));
    verdicts.extend(targets::judge_growth(&grown));
    let machine = machine::describe();
    let heard = noise.heard();
    if options.json {
        let result = json!({
            "machine": machine,
            "noise": heard,
            "rounds": options.rounds,
            "seconds": options.seconds,
            "tables": tables.iter().map(measure::Table::json).collect::<Vec<_>>(),
            "anonymous_views": views,
            "logins": whole.as_ref().map(logins::Logins::json),
            "waiting_pages": waiting.as_ref().map(streams::Streams::json),
            "growth": growth::json(&grown),
            "left_out": field.left_out,
            "targets": targets::json(&verdicts),
        });
        println!("{result:#}");
        return;
    }
    println!("machine: {machine}\nnoise: {heard}");
    println!("{} rounds of {} s each\n", options.rounds, options.seconds);
    for table in &tables {
        println!("{}", table.print());
    }
    if let Some(views) = &views {
        println!("Anonymous login pages: {views}\n");
    }
    if let Some(logins) = &whole {
        println!("{}", logins.print());
    }
    if let Some(streams) = &waiting {
        println!("{}", streams.print());
    }
    println!("{}", growth::print(&grown));
    for line in &field.left_out {
        println!("left out: {line}");
    }
    print!("{}", targets::print(&verdicts));
}

/// Of all measurements that are wanted.
fn names(options: &Options) -> Vec<String> {
    let mut names: Vec<String> = Vec::new();
    for scenario in Scenario::all(&options.connections) {
        for (server, _) in SERVERS {
            let name = scenario.name_of(server);
            if field::is_offered(server, scenario.protocol, scenario.size) && !names.contains(&name) {
                names.push(name);
            }
        }
    }
    names.extend(MORE.map(str::to_owned));
    names.retain(|name| options.wants(name));
    names
}

/// Thousands of streams need as many files.
fn raise_limit() {
    let of_own = getrlimit(Resource::Nofile).maximum;
    // Root may go above its own limit.
    for limit in [Some(1 << 20), of_own] {
        let most = Rlimit {
            current: limit,
            maximum: limit,
        };
        if setrlimit(Resource::Nofile, most).is_ok() {
            return;
        }
    }
}

/// On a terminal only.
pub fn progress(text: &str) {
    if std::io::stderr().is_terminal() {
        eprint!("\r\x1b[K{text}");
    }
}

const VIEWS: &str = "anonymous views";
const LOGINS: &str = "logins";
const STREAMS: &str = "waiting pages";
/// What is measured besides requests.
const MORE: [&str; 3] = [VIEWS, LOGINS, STREAMS];
/// The threads on which WeChat's stand-in runs.
pub const WECHAT: &str = "wechat";
