//! A name for each request, in its answer, in the log and at the upstream.

use std::cell::Cell;
use std::sync::Arc;

use aws_lc_rs::rand::{SecureRandom, SystemRandom};

/// 128 bits as text. The first half is random and a thread's own, the second counts its requests in an order that only
/// the thread knows: never the same twice, and no randomness is asked of the system for a request, which takes longer
/// than deciding about it.
pub(super) fn request_id() -> Arc<str> {
    thread_local! {
        static SERIES: Cell<(u64, u64)> = Cell::new((random(), random()));
    }
    let (thread, count) = SERIES.get();
    SERIES.set((thread, count.wrapping_add(STEP)));
    let mut text = [0; 32];
    for (place, byte) in [thread, scattered(count)]
        .into_iter()
        .flat_map(u64::to_be_bytes)
        .enumerate()
    {
        text[2 * place] = HEX[usize::from(byte >> 4)];
        text[2 * place + 1] = HEX[usize::from(byte & 15)];
    }
    std::str::from_utf8(&text).unwrap_or_default().into()
}

/// The finaliser of SplitMix64, which takes no two numbers to the same.
fn scattered(number: u64) -> u64 {
    let number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    number ^ (number >> 31)
}

fn random() -> u64 {
    let mut bytes = [0_u8; 8];
    // Without randomness nothing else works either; the id is for logs only.
    let _ = SystemRandom::new().fill(&mut bytes);
    u64::from_ne_bytes(bytes)
}

/// Odd, so that all numbers are passed before one comes again (Weyl); 2⁶⁴ over the golden ratio.
const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
const HEX: &[u8; 16] = b"0123456789abcdef";

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn request_ids_are_32_hexadecimal_digits_and_never_the_same() {
        let of_a_thread = || (0..10_000).map(|_| request_id()).collect::<Vec<_>>();
        let ids: Vec<_> = std::thread::scope(|scope| {
            let threads = [scope.spawn(of_a_thread), scope.spawn(of_a_thread)];
            threads
                .into_iter()
                .flat_map(|thread| thread.join().unwrap_or_default())
                .collect()
        });
        assert_eq!(ids.iter().collect::<HashSet<_>>().len(), 20_000);
        let well_formed = |id: &str| id.len() == 32 && id.bytes().all(|byte| HEX.contains(&byte));
        assert!(ids.iter().all(|id| well_formed(id)));
    }
}
