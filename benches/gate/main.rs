//! How long the parts take.
//!
//! `make bench`. The numbers are for comparing one change with the other on one machine, not for promises.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
// The tests' world: a gateway with WeChat and people around it. Not all of it is needed here.
#![allow(dead_code, unused_imports)]

#[path = "../../tests/integration/support/mod.rs"]
mod support;

mod subjects;

use criterion::{Criterion, criterion_group, criterion_main};
use tokio::runtime::Runtime;

use subjects::Tickets;

fn parts(c: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let _entered = runtime.enter();
    let world = runtime.block_on(Box::pin(subjects::world()));
    for mut subject in subjects::all(&world) {
        c.benchmark_group(subject.group)
            .bench_function(subject.name, |b| b.iter(&mut subject.call));
    }
    let mut tickets = runtime.block_on(Tickets::of(&world));
    let mut group = c.benchmark_group("ticket");
    group.bench_function("scan, lease, confirm, redeem", |b| {
        b.iter(|| runtime.block_on(tickets.whole_life()));
    });
    group.bench_function("look", |b| b.iter(|| runtime.block_on(tickets.look())));
}

criterion_group!(benches, parts);
criterion_main!(benches);
