//! Which address takes a request. Pure but for counters that it reads.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::sync::Arc;

use crate::config::settings::Balance;
use crate::proxy::upstream::endpoint::Endpoint;

/// One of `endpoints`: a fit one if there is any, and not `avoid` if there is another. `turn` grows with every request.
pub(super) fn pick<'e>(
    endpoints: &'e [Arc<Endpoint>],
    balance: Balance,
    client: IpAddr,
    turn: usize,
    avoid: Option<&Arc<Endpoint>>,
    now: u64,
) -> Option<&'e Arc<Endpoint>> {
    let other = |endpoint: &Arc<Endpoint>| avoid.is_none_or(|avoid| !Arc::ptr_eq(avoid, endpoint));
    let fit = |endpoint: &Arc<Endpoint>| endpoint.condition.is_fit(now);
    choose(endpoints, balance, client, turn, |endpoint| {
        fit(endpoint) && other(endpoint)
    })
    .or_else(|| choose(endpoints, balance, client, turn, other))
    .or_else(|| endpoints.first())
}

fn choose(
    endpoints: &[Arc<Endpoint>],
    balance: Balance,
    client: IpAddr,
    turn: usize,
    admitted: impl Fn(&Arc<Endpoint>) -> bool,
) -> Option<&Arc<Endpoint>> {
    let start = turn % endpoints.len().max(1);
    let mut in_turn = endpoints
        .iter()
        .cycle()
        .skip(start)
        .take(endpoints.len())
        .filter(|endpoint| admitted(endpoint));
    match balance {
        Balance::RoundRobin => in_turn.next(),
        Balance::LeastConnections => in_turn.min_by_key(|endpoint| endpoint.in_flight()),
        // The highest of all hashes wins: when an address goes, only its own clients move.
        Balance::ClientAddress => in_turn.max_by_key(|endpoint| weight(client, endpoint)),
    }
}

fn weight(client: IpAddr, endpoint: &Endpoint) -> u64 {
    let mut hasher = DefaultHasher::new();
    client.to_canonical().hash(&mut hasher);
    endpoint.place.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;
    use crate::proxy::upstream::endpoint::{Lease, Place};

    const CLIENT: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(203, 0, 113, 9));

    fn endpoints(count: u16) -> Vec<Arc<Endpoint>> {
        let place = |port| Place::Network(([10, 0, 0, 1], port).into());
        (0..count)
            .map(|port| Arc::new(Endpoint::new(usize::from(port), place(port))))
            .collect()
    }

    fn fall_ill(endpoint: &Endpoint) {
        endpoint.condition.probed(false);
        endpoint.condition.probed(false);
    }

    fn place_of(endpoints: &[Arc<Endpoint>], balance: Balance, client: IpAddr, turn: usize) -> usize {
        pick(endpoints, balance, client, turn, None, 0).unwrap().target
    }

    #[test]
    fn round_robin_takes_each_in_turn_and_passes_over_the_unfit() {
        let endpoints = endpoints(3);
        let round = |turns: std::ops::Range<usize>| {
            turns
                .map(|turn| place_of(&endpoints, Balance::RoundRobin, CLIENT, turn))
                .collect::<Vec<_>>()
        };
        assert_eq!(round(0..4), [0, 1, 2, 0]);
        fall_ill(&endpoints[1]);
        assert_eq!(round(0..4), [0, 2, 2, 0]);
    }

    #[test]
    fn least_connections_takes_the_one_with_the_fewest_requests() {
        let endpoints = endpoints(3);
        let _busy = (
            Lease::of(Arc::clone(&endpoints[0])),
            Lease::of(Arc::clone(&endpoints[2])),
        );
        for turn in 0..3 {
            assert_eq!(place_of(&endpoints, Balance::LeastConnections, CLIENT, turn), 1);
        }
    }

    #[test]
    fn a_client_keeps_its_upstream_and_only_the_clients_of_a_lost_one_move() {
        let endpoints = endpoints(4);
        let clients = (0..200_u8).map(|last| IpAddr::from([203, 0, 113, last]));
        let before: Vec<_> = clients
            .map(|client| (client, place_of(&endpoints, Balance::ClientAddress, client, 7)))
            .collect();
        fall_ill(&endpoints[2]);
        for (client, place) in before {
            let after = place_of(&endpoints, Balance::ClientAddress, client, 9);
            assert!(
                if place == 2 { after != 2 } else { after == place },
                "{client}: {place} {after}"
            );
        }
    }

    #[test]
    fn the_one_that_was_not_reached_is_avoided_while_there_is_another() {
        let two = endpoints(2);
        for turn in 0..4 {
            assert_eq!(
                pick(&two, Balance::RoundRobin, CLIENT, turn, Some(&two[0]), 0)
                    .unwrap()
                    .target,
                1
            );
        }
        let one = endpoints(1);
        assert!(pick(&one, Balance::RoundRobin, CLIENT, 0, Some(&one[0]), 0).is_some());
    }

    #[test]
    fn when_none_is_fit_all_are_tried() {
        let endpoints = endpoints(2);
        endpoints.iter().for_each(|endpoint| fall_ill(endpoint));
        assert!(pick(&endpoints, Balance::RoundRobin, CLIENT, 0, None, 0).is_some());
        assert!(pick(&[], Balance::RoundRobin, CLIENT, 0, None, 0).is_none());
    }
}
