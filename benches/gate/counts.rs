//! What can be counted instead of timed: the same on every run, whatever else the machine does.
//!
//! Without arguments: allocations of each part, and the memory that a cached session holds. With `--instructions`, under valgrind (`.ci/instructions` does it):
//! calls each part twenty times in [`hot_path`], of which callgrind writes one file for each part.

#![allow(
    missing_docs,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic
)]
#![allow(clippy::print_stdout)]
// The tests' world: a gateway with WeChat and people around it. Not all of it is needed here.
#![allow(dead_code, unused_imports)]

#[path = "../../tests/integration/support/mod.rs"]
mod support;

mod held;
mod subjects;

use allocation_counter::measure;
use subjects::Subject;

fn main() {
    // callgrind loses its place on a stack that has been left by an unwinding or a switch; this one is fresh.
    std::thread::spawn(count).join().expect("it counts");
}

fn count() {
    let instructions = std::env::args().any(|argument| argument == "--instructions");
    // Of one thread, so that the gateway rests while its parts are counted.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let _entered = runtime.enter();
    let world = runtime.block_on(Box::pin(subjects::world()));
    let mut subjects = subjects::all(&world);
    for subject in &mut subjects {
        // Caches fill, tables grow, signatures are made.
        warm_up(&mut *subject.call);
        if instructions {
            println!("{}: {}", subject.group, subject.name);
            hot_path(&mut *subject.call);
        } else {
            print(subject);
        }
    }
    if !instructions {
        let (pieces, bytes) = held::sessions(&world);
        println!(
            "{:<45} {pieces:>6.1} pieces      {bytes:>9.0} bytes",
            "held: a known session"
        );
    }
}

fn print(subject: &mut Subject) {
    let used = measure(|| {
        for _ in 0..CALLS {
            (subject.call)();
        }
    });
    println!(
        "{:<45} {:>6.1} allocations {:>9.0} bytes",
        format!("{}: {}", subject.group, subject.name),
        used.count_total as f64 / f64::from(CALLS),
        used.bytes_total as f64 / f64::from(CALLS),
    );
}

/// The same calls uncounted.
fn warm_up(call: &mut dyn FnMut()) {
    for _ in 0..CALLS {
        call();
    }
}

/// callgrind counts what happens below this name.
#[inline(never)]
fn hot_path(call: &mut dyn FnMut()) {
    for _ in 0..CALLS {
        call();
    }
}

/// A call is some fifty times as slow under valgrind.
const CALLS: u32 = 20;
