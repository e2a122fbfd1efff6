//! What all runners of a node's event handlers share.

use std::{sync::Arc, time::Duration};

use crate::{
    cluster::Leases,
    follow::Feed,
    program::Program,
    store::{Backoff, Transport},
};

/// How events are delivered to event handlers.
#[derive(Debug, Clone, Copy)]
pub struct DeliverySettings {
    /// How often an event is tried before it is parked; 1 or more.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first_delay: Duration,
    /// The longest wait between two attempts, and between two events that a paused handler is tried with.
    pub longest_delay: Duration,
    /// How often a parked event is tried again by itself, each time with as many attempts. After that it waits for somebody.
    pub retries: u32,
    /// The wait before the first of these retries; it doubles with each further one, up to an hour.
    pub retry_delay: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many streams one handler works on at once in a partition; 1 or more.
    pub concurrency: usize,
    /// How long a shutdown goes on delivering what must be delivered so that nothing is repeated after the next
    /// start. What is not done by then is cut off, and comes again.
    pub drain: Duration,
}

impl DeliverySettings {
    /// The waits between the attempts of one event.
    pub(crate) fn delays(&self) -> Backoff {
        Backoff::new(self.first_delay, self.longest_delay)
    }

    /// How long an event may be under way, with all its attempts, before it is parked.
    pub(crate) fn longest(&self) -> Duration {
        let delays = self.delays().longest(self.attempts.saturating_sub(1));
        delays.saturating_add(self.timeout.saturating_mul(self.attempts))
    }
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(10),
            retries: 4,
            retry_delay: Duration::from_secs(60),
            timeout: Duration::from_secs(30),
            concurrency: 32,
            drain: Duration::from_secs(10),
        }
    }
}

/// What all runners of a node's event handlers share.
pub(crate) struct Dispatcher {
    pub(crate) program: Arc<Program>,
    pub(crate) leases: Leases,
    pub(crate) feed: Arc<Feed>,
    /// Where the relay brings the log to; `None` when event handlers read the log itself.
    pub(crate) transport: Option<Arc<dyn Transport>>,
    pub(crate) settings: DeliverySettings,
}
