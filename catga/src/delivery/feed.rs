//! The end of the topic in memory: all runners of a node read it, and the transport is asked once.

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::Checkpoint;
use crate::{DecodeError, Error, Position, Record, Transport, transport::partition_of};

/// How many commits are read at once.
pub(super) const PAGE: usize = 256;

/// How many bytes of frames are kept.
const RECENT_BYTES: usize = 8 << 20;

/// A commit with what every runner wants to know of it.
#[derive(Debug)]
pub(crate) struct Fed {
    pub(super) record: Record,
    pub(super) partition: u16,
    /// Its last event.
    pub(super) last: Checkpoint,
}

impl Fed {
    pub(super) fn new(record: Record) -> Result<Self, DecodeError> {
        let commit = record.commit()?;
        let at = commit.events.len() - 1;
        let last =
            Checkpoint { position: record.position + at as u64, event: commit.events[at].id };
        let partition = partition_of(commit.stream);
        Ok(Self { record, partition, last })
    }
}

/// Reads the topic for all runners.
pub(crate) struct Feed {
    transport: Arc<dyn Transport>,
    recent: Mutex<Recent>,
    /// Held by who reads from the transport: the others find it in memory afterwards.
    reading: tokio::sync::Mutex<()>,
}

/// Consecutive commits.
#[derive(Default)]
struct Recent {
    /// Where they begin: right after this position.
    start: Position,
    commits: VecDeque<Arc<Fed>>,
    bytes: usize,
}

impl Feed {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> Self {
        Self { transport, recent: Mutex::default(), reading: tokio::sync::Mutex::default() }
    }

    /// The next commits after `after`, as soon as there are any.
    pub(super) async fn next(&self, after: Position) -> Result<Vec<Arc<Fed>>, Error> {
        loop {
            let page = self.read(after).await?;
            if !page.is_empty() {
                return Ok(page);
            }
            self.transport.wait(after).await?;
        }
    }

    async fn read(&self, after: Position) -> Result<Vec<Arc<Fed>>, Error> {
        let recent = self.recent().after(after);
        if !recent.is_empty() {
            return Ok(recent);
        }
        let _turn = self.reading.lock().await;
        let recent = self.recent().after(after);
        if !recent.is_empty() {
            return Ok(recent);
        }
        let page = self.transport.read(after, PAGE).await?;
        let page = page
            .into_iter()
            .map(|record| Ok(Arc::new(Fed::new(record)?)))
            .collect::<Result<Vec<_>, DecodeError>>()?;
        self.recent().push(after, &page);
        Ok(page)
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recent {
    fn end(&self) -> Position {
        self.commits.back().map_or(self.start, |fed| fed.last.position)
    }

    fn after(&self, after: Position) -> Vec<Arc<Fed>> {
        if after < self.start {
            return Vec::new();
        }
        let first = self.commits.partition_point(|fed| fed.last.position <= after);
        self.commits.range(first..).take(PAGE).cloned().collect()
    }

    /// Takes in what follows `after`, unless it is from far back: who catches up must not make the others read
    /// again.
    fn push(&mut self, after: Position, page: &[Arc<Fed>]) {
        if after < self.end() {
            return;
        }
        if after > self.end() {
            *self = Self { start: after, ..Self::default() };
        }
        for fed in page {
            self.bytes += fed.record.frame.len();
            self.commits.push_back(fed.clone());
        }
        while self.bytes > RECENT_BYTES {
            let Some(oldest) = self.commits.pop_front() else { return };
            self.bytes -= oldest.record.frame.len();
            self.start = oldest.last.position;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    fn page(positions: impl IntoIterator<Item = Position>, bytes: usize) -> Vec<Arc<Fed>> {
        let fed = |position| {
            let record = Record { position, token: 0, frame: vec![0; bytes].into() };
            let last = Checkpoint { position, event: Uuid::nil() };
            Arc::new(Fed { record, partition: 0, last })
        };
        positions.into_iter().map(fed).collect()
    }

    fn positions(page: &[Arc<Fed>]) -> Vec<Position> {
        page.iter().map(|fed| fed.last.position).collect()
    }

    #[test]
    fn what_was_read_is_found_again_and_never_with_a_gap() {
        let mut recent = Recent::default();
        recent.push(0, &page(1..=3, 10));
        recent.push(3, &page(4..=5, 10));
        assert_eq!(positions(&recent.after(0)), [1, 2, 3, 4, 5]);
        assert_eq!(positions(&recent.after(4)), [5]);
        // Somebody far behind changes nothing.
        recent.push(1, &page(2..=3, 10));
        assert_eq!(positions(&recent.after(3)), [4, 5]);
        // Somebody far ahead begins anew, and nobody reads across the gap.
        recent.push(100, &page(101..=102, 10));
        assert!(recent.after(5).is_empty());
        assert_eq!(positions(&recent.after(100)), [101, 102]);
    }

    #[test]
    fn it_is_bounded_in_bytes() {
        let mut recent = Recent::default();
        recent.push(0, &page(1..=20, 1 << 20));
        assert!(recent.bytes <= RECENT_BYTES);
        assert!(recent.after(0).is_empty());
        let first = recent.start;
        assert_eq!(positions(&recent.after(first)).first(), Some(&(first + 1)));
        assert_eq!(recent.end(), 20);
    }
}
