//! What stays in memory when a call is over.

use allocation_counter::{AllocationInfo, measure};
use futures_util::FutureExt;
use menshen::session::registry::Lookup;
use menshen::session::token::SessionId;

use crate::subjects;
use crate::support::World;
use crate::support::world::SITE;

/// For each session more that this node knows, with the headers that one site gets and its signed assertion.
pub fn sessions(world: &World) -> (f64, f64) {
    let (snapshot, now) = (world.snapshot(), world.clock.now());
    let seal = |_| {
        let mut session = subjects::session();
        session.id = SessionId::random().expect("randomness");
        session.expires_at = now + 86_400;
        session.renewed_at = now;
        session.known_at = now;
        session
            .seal(&snapshot.keyring.sealing, "menshen", SITE, now)
            .expect("a cookie")
    };
    let cookies: Vec<String> = (0..FIRST + MORE).map(seal).collect();
    let (plan, keys) = (snapshot.plans.first().expect("a site"), &snapshot.keyring.signing);
    let used = |cookies: &[String]| -> AllocationInfo {
        measure(|| {
            for cookie in cookies {
                let found = snapshot.registry.find(SITE, cookie.as_bytes()).now_or_never();
                let Some(Lookup::Live(session)) = found else {
                    panic!("no session of {cookie}");
                };
                let outgoing = snapshot.registry.outgoing(&session, 0, snapshot.generation, plan, keys);
                assert!(outgoing.is_ok());
            }
        })
    };
    // Of so many, headers are kept as they are sent.
    let _ = used(&cookies[..FIRST]);
    let more = used(&cookies[FIRST..]);
    let each = |total: i64| total as f64 / MORE as f64;
    (each(more.count_current), each(more.bytes_current))
}

const FIRST: usize = 2_000;
const MORE: usize = 4_000;
