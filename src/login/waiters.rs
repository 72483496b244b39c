//! Who waits for a ticket on this node, and how they are woken.
//!
//! A waiter subscribes before it reads the store, so that no change between the two is lost; a wake-up says only that
//! something changed, the store says what. An entry lives as long as somebody holds a subscription to it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;

/// The waiting room of one node.
#[derive(Debug, Default, Clone)]
pub struct Waiters {
    closed: Arc<AtomicBool>,
    rooms: Arc<Mutex<HashMap<String, watch::Sender<u64>>>>,
}

/// A place in the waiting room; given up when dropped.
#[derive(Debug)]
pub struct Waiter {
    id: String,
    changes: watch::Receiver<u64>,
    rooms: Arc<Mutex<HashMap<String, watch::Sender<u64>>>>,
}

impl Waiters {
    /// Takes a place for this ticket. What changes from now on is noticed.
    pub fn subscribe(&self, id: &str) -> Waiter {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = rooms
            .entry(id.to_owned())
            .or_insert_with(|| watch::Sender::new(0))
            .subscribe();
        Waiter {
            id: id.to_owned(),
            changes,
            rooms: Arc::clone(&self.rooms),
        }
    }

    /// Wakes all who wait for this ticket on this node.
    pub fn wake(&self, id: &str) {
        let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(room) = rooms.get(id) {
            room.send_modify(|version| *version += 1);
        }
    }

    /// Wakes all who wait on this node.
    pub fn wake_all(&self) {
        let rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        for room in rooms.values() {
            room.send_modify(|version| *version += 1);
        }
    }

    /// Wakes all who wait, for good: this node stops.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
        self.wake_all();
    }

    /// Whether waiting is over here: what stands now is the answer.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// How many tickets are waited for.
    pub fn len(&self) -> usize {
        self.rooms.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Waiter {
    /// Completes at the next wake-up, or at once when there was one since the last call. Cancel safe.
    pub async fn changed(&mut self) {
        // The sender lives in the room as long as this waiter does, so that an error cannot occur.
        let _ = self.changes.changed().await;
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut rooms = self.rooms.lock().unwrap_or_else(PoisonError::into_inner);
        // Our own receiver is still counted.
        if rooms.get(&self.id).is_some_and(|room| room.receiver_count() <= 1) {
            rooms.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;

    fn is_ready(future: impl Future) -> bool {
        matches!(
            pin!(future).poll(&mut Context::from_waker(Waker::noop())),
            Poll::Ready(_)
        )
    }

    #[test]
    fn change_between_subscription_and_wait_is_not_lost() {
        let waiters = Waiters::default();
        let mut waiter = waiters.subscribe("a");
        assert!(!is_ready(waiter.changed()));
        waiters.wake("a");
        assert!(is_ready(waiter.changed()));
        assert!(!is_ready(waiter.changed()));
    }

    #[test]
    fn only_this_ticket_is_woken_and_all_who_wait_for_it() {
        let waiters = Waiters::default();
        let (mut one, mut two, mut other) = (waiters.subscribe("a"), waiters.subscribe("a"), waiters.subscribe("b"));
        waiters.wake("a");
        assert!(is_ready(one.changed()) && is_ready(two.changed()));
        assert!(!is_ready(other.changed()));
    }

    #[test]
    fn room_is_left_empty() {
        let waiters = Waiters::default();
        let (one, two) = (waiters.subscribe("a"), waiters.subscribe("a"));
        drop(one);
        assert_eq!(waiters.len(), 1);
        drop(two);
        assert!(waiters.is_empty());
        waiters.wake("a");
        assert!(waiters.is_empty());
    }
}
