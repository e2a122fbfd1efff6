//! What all runners of a node's event handlers share.

use std::{sync::Arc, time::Duration};

use crate::{cluster::Leases, follow::Feed, program::Program, store::Transport};

/// How events are delivered to event handlers.
#[derive(Debug, Clone, Copy)]
pub struct DeliverySettings {
    /// How often an event is tried before it is parked; 1 or more.
    pub attempts: u32,
    /// The wait after the first failure; it doubles with each further one.
    pub first_delay: Duration,
    /// The longest wait between two attempts.
    pub longest_delay: Duration,
    /// How long one attempt may take.
    pub timeout: Duration,
    /// How many streams one handler works on at once in a partition; 1 or more.
    pub concurrency: usize,
    /// How long a shutdown goes on delivering what must be delivered so that nothing is repeated after the next
    /// start. What is not done by then is cut off, and comes again.
    pub drain: Duration,
}

impl DeliverySettings {
    /// How long an event may be under way, with all its attempts, before it is parked.
    pub(crate) fn longest(&self) -> Duration {
        let delays = (0..self.attempts.saturating_sub(1)).scan(self.first_delay, |next, _| {
            let delay = (*next).min(self.longest_delay);
            *next = delay.saturating_mul(2);
            Some(delay)
        });
        delays.fold(self.timeout.saturating_mul(self.attempts), Duration::saturating_add)
    }
}

impl Default for DeliverySettings {
    fn default() -> Self {
        Self {
            attempts: 5,
            first_delay: Duration::from_millis(100),
            longest_delay: Duration::from_secs(10),
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
