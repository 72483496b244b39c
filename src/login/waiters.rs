//! Who waits for a ticket on this node, and how they are woken.
//!
//! A waiter subscribes before it reads the store, so that no change between the two is lost; a wake-up says only that
//! something changed, the store says what. An entry lives as long as somebody holds a subscription to it.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The waiting room of one node.
#[derive(Debug, Default, Clone)]
pub struct Waiters {
    closed: Arc<AtomicBool>,
    rooms: Arc<Mutex<Rooms>>,
}

/// A place in the waiting room; given up when dropped.
#[derive(Debug)]
pub struct Waiter {
    id: Arc<str>,
    room: Arc<Room>,
    /// The change that was noticed last.
    seen: u64,
    rooms: Arc<Mutex<Rooms>>,
}

/// With the number of places that are taken. A room's own count of references would not do: of two who leave at a time
/// each may still see the other.
type Rooms = HashMap<Arc<str>, (Arc<Room>, usize)>;

/// What changed of one ticket. A `tokio::sync::watch` would take half a kilobyte for each.
#[derive(Debug, Default)]
struct Room {
    changes: AtomicU64,
    bell: Notify,
}

impl Room {
    fn wake(&self) {
        self.changes.fetch_add(1, Ordering::AcqRel);
        self.bell.notify_waiters();
    }
}

impl Waiters {
    /// Takes a place for this ticket. What changes from now on is noticed.
    pub fn subscribe(&self, id: &str) -> Waiter {
        let id: Arc<str> = id.into();
        let mut rooms = lock(&self.rooms);
        let (room, taken) = rooms.entry(Arc::clone(&id)).or_default();
        *taken += 1;
        let room = Arc::clone(room);
        Waiter {
            id,
            seen: room.changes.load(Ordering::Acquire),
            room,
            rooms: Arc::clone(&self.rooms),
        }
    }

    /// Wakes all who wait for this ticket on this node.
    pub fn wake(&self, id: &str) {
        if let Some((room, _)) = lock(&self.rooms).get(id) {
            room.wake();
        }
    }

    /// Wakes all who wait on this node.
    pub fn wake_all(&self) {
        lock(&self.rooms).values().for_each(|(room, _)| room.wake());
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
        lock(&self.rooms).len()
    }

    /// Whether nobody waits.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Waiter {
    /// Completes at the next wake-up, or at once when there was one since the last call. Cancel safe.
    pub async fn changed(&mut self) {
        loop {
            // Made before the look, so that a wake-up between the two is not lost.
            let rung = self.room.bell.notified();
            let changes = self.room.changes.load(Ordering::Acquire);
            if changes != self.seen {
                self.seen = changes;
                return;
            }
            rung.await;
        }
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let mut rooms = lock(&self.rooms);
        if let Some((_, taken)) = rooms.get_mut(&self.id) {
            *taken -= 1;
            if *taken == 0 {
                rooms.remove(&self.id);
            }
        }
    }
}

fn lock(rooms: &Mutex<Rooms>) -> MutexGuard<'_, Rooms> {
    rooms.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::pin;
    use std::sync::Barrier;
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

    #[test]
    fn room_of_two_who_leave_at_the_same_time_is_left_empty() {
        for _ in 0..1_000 {
            let waiters = Waiters::default();
            let (one, two) = (waiters.subscribe("a"), waiters.subscribe("a"));
            let together = Barrier::new(2);
            let leave = |waiter: Waiter| {
                together.wait();
                drop(waiter);
            };
            std::thread::scope(|scope| {
                scope.spawn(|| leave(one));
                leave(two);
            });
            assert!(waiters.is_empty());
        }
    }
}
