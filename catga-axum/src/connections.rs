//! How many connections there can be, and who leaves when there are more.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::timeout,
};

use crate::timer::RequestTimer;

/// How many connections are served at once at most.
const MOST: u64 = 10_000;

/// How many descriptors are for all else: the store's files and connections, and what the program opens itself.
const OTHERS: u64 = 256;

/// How many connections leave at once when others have no room: to find them takes a look at all.
const AT_ONCE: usize = 32;

/// How long it is waited for one to leave before the next ones are found.
const PATIENCE: Duration = Duration::from_millis(50);

/// What this process can have open.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// `RLIMIT_NOFILE`; `None` when there is none.
    pub(crate) descriptors: Option<u64>,
    /// How many connections are served at once.
    pub(crate) connections: usize,
    /// How many of them can be feeds.
    pub(crate) feeds: usize,
}

impl Limits {
    /// Raises the number of descriptors as far as the system lets it, and shares them out.
    pub(crate) fn raise() -> Self {
        let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
        let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum });
        Self::of(if raised.is_ok() { maximum } else { current })
    }

    fn of(descriptors: Option<u64>) -> Self {
        let room = descriptors.unwrap_or(u64::MAX);
        // Of very few, half.
        let connections = (room.saturating_sub(OTHERS)).max(room / 2).min(MOST);
        let connections = usize::try_from(connections).expect("it is small");
        Self { descriptors, connections, feeds: connections / 2 }
    }
}

/// All connections. There can be as many as there are places.
pub(crate) struct Connections {
    places: Arc<Semaphore>,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    next: u64,
    timers: HashMap<u64, RequestTimer>,
}

/// A place that is taken.
pub(crate) struct Slot {
    _permit: OwnedSemaphorePermit,
    number: u64,
    connections: Arc<Connections>,
}

impl Connections {
    pub(crate) fn new(most: usize) -> Self {
        Self { places: Arc::new(Semaphore::new(most)), open: Mutex::default() }
    }

    /// A place for a connection with this timer. When there is none, those whose clients have been waited for longest leave:
    /// idle ones, and those that are slow to send or to read. So others are served however many of them there are.
    pub(crate) async fn enter(self: &Arc<Self>, timer: RequestTimer) -> Slot {
        let permit = loop {
            if let Ok(permit) = self.places.clone().try_acquire_owned() {
                break permit;
            }
            self.make_room();
            if let Ok(permit) = timeout(PATIENCE, self.places.clone().acquire_owned()).await {
                break permit.expect("it is never closed");
            }
        };
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let number = open.next;
        open.next += 1;
        open.timers.insert(number, timer);
        Slot { _permit: permit, number, connections: self.clone() }
    }

    fn make_room(&self) {
        let open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = open.timers.values().filter_map(|timer| Some((timer.waited()?, timer)));
        let mut waited: Vec<_> = waited.collect();
        // Of few, not all.
        let leave = AT_ONCE.min(open.timers.len().div_ceil(8));
        waited.sort_unstable_by_key(|(time, _)| std::cmp::Reverse(*time));
        waited.into_iter().take(leave).for_each(|(_, timer)| timer.make_room());
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let open = &self.connections.open;
        open.lock().unwrap_or_else(PoisonError::into_inner).timers.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_leave_descriptors_for_all_else() {
        let limits = |descriptors| {
            let Limits { connections, feeds, .. } = Limits::of(descriptors);
            (connections, feeds)
        };
        assert_eq!(limits(None), (10_000, 5_000));
        assert_eq!(limits(Some(1_048_576)), (10_000, 5_000));
        assert_eq!(limits(Some(1024)), (768, 384));
        assert_eq!(limits(Some(64)), (32, 16));
    }
}
