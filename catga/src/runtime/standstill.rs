//! Whether what follows the log moves. Positions are compared over time, so whatever the reason is that something stands still
//! while the log goes on, it is seen.

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

/// What was seen of each that follows the log, by its name.
#[derive(Debug, Default)]
pub(crate) struct Standstill(Mutex<HashMap<String, Seen>>);

#[derive(Debug, Clone, Copy)]
struct Seen {
    position: Position,
    /// Since when it is behind the log and has not moved.
    since: Instant,
    is_told: bool,
}

impl Standstill {
    /// What is seen from now on counts, and nothing before.
    pub(super) fn forget(&self) {
        self.all().clear();
    }

    /// What is seen of `name` from now on counts, and nothing before.
    pub(super) fn forget_one(&self, name: &str) {
        self.all().remove(name);
    }

    fn all(&self) -> MutexGuard<'_, HashMap<String, Seen>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
}
