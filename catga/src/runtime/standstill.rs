//! Whether what follows the log moves, and fast enough. Positions are compared over time, so whatever the reason is that something
//! stands still while the log goes on, or falls further and further behind, it is seen.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use crate::log::Position;

/// How often positions are looked at.
pub(super) const LOOK_EVERY: Duration = Duration::from_secs(5);

/// How long what is behind the log may stay where it is.
pub(super) const PATIENCE: Duration = Duration::from_secs(30);

/// A lag is compared with what it was so long ago: what goes up and down with each page that is read does not grow.
const COMPARE: Duration = Duration::from_secs(10);

/// What was seen of each that follows the log, by its name.
#[derive(Debug, Default)]
pub(crate) struct Standstill {
    seen: Mutex<HashMap<String, Seen>>,
    lags: Mutex<HashMap<String, Lag>>,
    /// What nobody works on, since when, and whether that was told.
    idle: Mutex<HashMap<String, (Instant, bool)>>,
}

#[derive(Debug, Clone, Copy)]
struct Seen {
    position: Position,
    /// Since when it is behind the log and has not moved.
    since: Instant,
    is_told: bool,
}

/// How far something was behind the log.
#[derive(Debug, Clone, Copy)]
struct Lag {
    positions: u64,
    at: Instant,
    /// Since when it was larger each time.
    since: Instant,
    is_told: bool,
}

impl Standstill {
    /// What is seen from now on counts, and nothing before.
    pub(super) fn forget(&self) {
        self.all().clear();
        self.lags().clear();
        self.idle().clear();
    }

    /// What is seen of `name` from now on counts, and nothing before.
    pub(super) fn forget_one(&self, name: &str) {
        self.all().remove(name);
        self.lags().remove(name);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lags(&self) -> MutexGuard<'_, HashMap<String, Lag>> {
        self.lags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn idle(&self) -> MutexGuard<'_, HashMap<String, (Instant, bool)>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes in whether somebody works on `name` now. Answers what to say when nobody has for `patience`.
    pub(super) fn lies_idle(
        &self,
        name: &str,
        is_idle: bool,
        patience: Duration,
    ) -> Option<String> {
        let mut idle = self.idle();
        if !is_idle {
            idle.remove(name);
            return None;
        }
        let (since, is_told) = idle.entry(name.to_owned()).or_insert((Instant::now(), false));
        let idle = since.elapsed();
        if idle < patience {
            return None;
        }
        let seconds = idle.as_secs();
        if !std::mem::replace(is_told, true) {
            tracing::error!(name, seconds, "no node works on it");
        }
        Some(format!("is worked on by no node for {seconds} s"))
    }

    /// Takes in where `name` and the log are now. Answers what to say when it has fallen further and further behind for
    /// [`PATIENCE`].
    pub(super) fn falls_behind(
        &self,
        name: &str,
        position: Position,
        head: Position,
    ) -> Option<String> {
        let now = Instant::now();
        let positions = head.saturating_sub(position);
        let mut lags = self.lags();
        let new = Lag { positions, at: now, since: now, is_told: false };
        let lag = lags.entry(name.to_owned()).or_insert(new);
        if now - lag.at >= COMPARE {
            *lag = if positions > lag.positions { Lag { positions, at: now, ..*lag } } else { new };
        }
        let growing = now - lag.since;
        if growing < PATIENCE {
            return None;
        }
        let seconds = growing.as_secs();
        if !std::mem::replace(&mut lag.is_told, true) {
            tracing::warn!(
                name,
                lag = positions,
                seconds,
                "it falls further and further behind the log"
            );
        }
        Some(format!(
            "is {positions} positions behind the log, and further and further for {seconds} s"
        ))
    }

    /// Takes in where `name` and the log are now. Answers what to say when it has stood still behind the log for `patience`.
    pub(super) fn look(
        &self,
        name: &str,
        position: Position,
        head: Position,
        patience: Duration,
    ) -> Option<String> {
        let now = Instant::now();
        let mut all = self.all();
        if position >= head {
            all.remove(name);
            return None;
        }
        let new = Seen { position, since: now, is_told: false };
        let seen = all.entry(name.to_owned()).or_insert(new);
        if seen.position != position {
            *seen = new;
        }
        let still = now - seen.since;
        if still < patience {
            return None;
        }
        let seconds = still.as_secs();
        if !std::mem::replace(&mut seen.is_told, true) {
            let (position, head) = (position.get(), head.get());
            tracing::error!(name, position, head, seconds, "it stands still behind the log");
        }
        Some(format!(
            "stood still at position {position} for {seconds} s, and the log is at {head}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn only_what_does_not_move_behind_the_log_stands_still() {
        let standstill = Standstill::default();
        let look = |position: u64, head: u64| {
            standstill.look("tail", position.into(), head.into(), PATIENCE)
        };
        let later = tokio::time::advance;
        assert_eq!(look(5, 5), None);
        later(2 * PATIENCE).await;
        assert_eq!(look(5, 6), None, "the log has only just gone on");
        later(PATIENCE / 2).await;
        assert_eq!(look(6, 9), None);
        later(PATIENCE / 2).await;
        assert_eq!(look(6, 9), None, "it moved meanwhile");
        later(PATIENCE / 2).await;
        let said = look(6, 10).unwrap();
        assert_eq!(said, "stood still at position 6 for 30 s, and the log is at 10");
        assert_eq!(look(7, 10), None);
        later(PATIENCE).await;
        assert!(look(7, 10).is_some());
        standstill.forget();
        assert_eq!(look(7, 10), None, "nobody could move");
        assert_eq!(look(10, 10), None);
    }

    #[tokio::test(start_paused = true)]
    async fn what_no_node_works_on_for_long_is_said() {
        let standstill = Standstill::default();
        let look = |is_idle| standstill.lies_idle("mail/3", is_idle, PATIENCE);
        for is_idle in [true, false, true] {
            assert_eq!(look(is_idle), None);
            tokio::time::advance(PATIENCE / 2).await;
        }
        assert_eq!(look(true), None, "somebody did meanwhile");
        tokio::time::advance(PATIENCE / 2).await;
        assert_eq!(look(true).unwrap(), "is worked on by no node for 30 s");
        assert_eq!(look(false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_lag_that_grows_for_half_a_minute_is_said() {
        let standstill = Standstill::default();
        let look = async |lags: &[u64]| {
            let mut said = None;
            for lag in lags {
                tokio::time::advance(COMPARE).await;
                said = standstill.falls_behind("tail", 100.into(), (100 + lag).into());
            }
            said
        };
        assert_eq!(look(&[1, 7, 3, 8, 2, 9, 4, 4, 4, 4, 0, 0, 0, 0]).await, None, "up and down");
        assert_eq!(look(&[1, 2]).await, None, "not for long enough yet");
        let said = look(&[3]).await.unwrap();
        assert_eq!(said, "is 3 positions behind the log, and further and further for 30 s");
        assert!(look(&[4]).await.is_some());
        assert_eq!(look(&[4]).await, None, "it keeps up");
        assert!(look(&[5, 6, 7]).await.is_some());
        standstill.forget();
        assert_eq!(look(&[8]).await, None);
    }
}
