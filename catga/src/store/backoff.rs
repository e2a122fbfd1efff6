//! How long to wait before trying again.

use std::{
    hash::{BuildHasher, RandomState},
    time::Duration,
};

/// Delays that double from a first to a longest one, each with full jitter: a random share of the
/// step, so that those who collided do not meet again
/// ([Exponential Backoff And Jitter](https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/)).
#[derive(Debug, Clone)]
pub(crate) struct Backoff {
    step: Duration,
    longest: Duration,
}

impl Backoff {
    pub(crate) const fn new(first: Duration, longest: Duration) -> Self {
        Self { step: first, longest }
    }

    pub(crate) fn next_delay(&mut self) -> Duration {
        self.next_step().mul_f64(0.5 + random_share() / 2.0)
    }

    /// How long the next `n` delays take at most.
    pub(crate) fn longest(mut self, n: u32) -> Duration {
        (0..n).map(|_| self.next_step()).fold(Duration::ZERO, Duration::saturating_add)
    }

    fn next_step(&mut self) -> Duration {
        let step = self.step.min(self.longest);
        self.step = step.saturating_mul(2);
        step
    }
}

/// A number in `0.0..1.0` that is different each time. The standard library's hash keys are random
/// enough to spread retries, and cost no dependency.
fn random_share() -> f64 {
    let bits = u32::try_from(RandomState::new().hash_one(()) >> 32).expect("the upper half");
    f64::from(bits) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_longest_and_are_jittered() {
        let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(35));
        assert_eq!(backoff.clone().longest(4), Duration::from_millis(100));
        for step in [10, 20, 35, 35] {
            let delay = backoff.next_delay();
            assert!(
                delay >= Duration::from_millis(step) / 2 && delay <= Duration::from_millis(step)
            );
        }
        let first = |_| Backoff::new(Duration::from_secs(1), Duration::from_secs(1)).next_delay();
        let delays: std::collections::HashSet<_> = (0..20).map(first).collect();
        assert!(delays.len() > 10, "jitter spreads them: {delays:?}");
    }
}
