//! A log in memory that is right, or wrong in one way.

use std::{
    future::pending,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use catga::{
    log::{LogId, Position, Record, StreamId, Version},
    store::{
        Append, AppendError, Appended, BoxFuture, Durability, DurabilityReport, EventStore,
        StoreError,
    },
};
use tokio::{
    sync::{Notify, Semaphore},
    task::yield_now,
};

/// What a log does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrong {
    AnswersTheLastPosition,
    AnswersANoFromAConflict,
    AnswersOkToAConflict,
    ChangesLargeFrames,
    ChecksThenWrites,
    ConflictsAcrossStreams,
    CutsLargeCommits,
    EndsStreamPagesEarly,
    ForgetsCommands,
    HasACommitAtFirst,
    HasAnIdPerHandle,
    HeadLagsOnOtherHandles,
    IgnoresLimits,
    KeepsItsLock,
    LocksPerHandle,
    LosesTheLastCommitAtAStart,
    NeverWakes,
    OtherHandlesLag,
    OtherHandlesSkip,
    RefusesCatgasOwnStreams,
    ReusesPositions,
    SaysShortStreamsAreLong,
    SaysTwoLevels,
    ShowsCommitsBeforeEarlierOnes,
    ShowsCommitsOnlyFromTheirFirstPosition,
    ShowsCommitsOnlyFromTheirFirstVersion,
    ShowsNoUnknownEvents,
    SkipsAtPageEnds,
    StartsAtLargePositions,
    StoresWhatItRefuses,
    TakesAnyVersion,
    TakesCaseForNothing,
    TakesTheSameFrameTwice,
    TellsTheWrongVersion,
    WaitsForTheNextCommit,
    WritesAtAConflict,
}

#[derive(Debug, Clone)]
struct Stored {
    stream: StreamId,
    first: Version,
    last: Version,
    record: Record,
    end: Position,
}

/// What all handles share.
#[derive(Default)]
pub(crate) struct Log {
    commits: Mutex<Vec<Stored>>,
    /// The last position that was given out.
    given: Mutex<Position>,
    appended: Notify,
    handles: AtomicUsize,
    id: OnceLock<LogId>,
}

/// A handle on a log.
pub(crate) struct PlantedStore {
    log: Arc<Log>,
    wrong: Option<Wrong>,
    /// 0 for the first handle, 1 for the next.
    number: usize,
    lock: Semaphore,
    id: LogId,
}

impl PlantedStore {
    /// A handle on `log`, which is the first one when `is_start`.
    pub(crate) fn open(log: &Arc<Log>, wrong: Option<Wrong>, is_start: bool) -> Self {
        if is_start {
            log.handles.store(0, Ordering::Relaxed);
            if wrong == Some(Wrong::LosesTheLastCommitAtAStart) {
                log.commits.lock().unwrap().pop();
            }
        }
        let number = log.handles.fetch_add(1, Ordering::Relaxed);
        let id = match wrong {
            Some(Wrong::HasAnIdPerHandle) => LogId::random(),
            _ => *log.id.get_or_init(LogId::random),
        };
        let store = Self { log: log.clone(), wrong, number, lock: Semaphore::new(1), id };
        if wrong == Some(Wrong::HasACommitAtFirst) && store.commits().is_empty() {
            let stream = StreamId::new("other", "a").unwrap();
            let commit = catga::testing::commit(&stream, 0.into(), [event("Tested")]);
            let append = Append {
                stream: &stream,
                version: 0.into(),
                token: 0,
                events: 1,
                frame: commit.encode(),
            };
            let position = store.next_position(1);
            store.write(&append, position);
        }
        store
    }

    fn is(&self, wrong: Wrong) -> bool {
        self.wrong == Some(wrong)
    }

    /// Whether it does wrong, as it is not the first handle.
    fn other_is(&self, wrong: Wrong) -> bool {
        self.number > 0 && self.is(wrong)
    }

    fn commits(&self) -> MutexGuard<'_, Vec<Stored>> {
        self.log.commits.lock().unwrap()
    }

    fn is_stream(&self, stored: &StreamId, asked: &StreamId) -> bool {
        match self.is(Wrong::TakesCaseForNothing) {
            true => stored.as_str().eq_ignore_ascii_case(asked.as_str()),
            false => stored == asked,
        }
    }

    fn version(&self, stream: &StreamId) -> Version {
        let commits = self.commits();
        let last = commits.iter().rev().find(|c| self.is_stream(&c.stream, stream));
        last.map_or(0.into(), |commit| commit.last)
    }

    /// Gives out positions for `events` events.
    fn next_position(&self, events: usize) -> Position {
        let mut given = self.log.given.lock().unwrap();
        if self.is(Wrong::StartsAtLargePositions) && *given == 0 {
            *given = (1 << 53).into();
        }
        if self.is(Wrong::ReusesPositions) && *given > 0 {
            *given = *given - 1;
        }
        let position = *given + 1;
        *given += events as u64;
        position
    }

    fn frame(&self, append: &Append<'_>) -> Bytes {
        let frame = &append.frame;
        let record = Record { position: 1.into(), token: 0, frame: frame.clone() };
        if self.is(Wrong::CutsLargeCommits) && append.events > 100 {
            let mut commit = record.commit().unwrap();
            commit.events = commit.events.into_iter().take(100).collect();
            return commit.encode();
        }
        if self.is(Wrong::ForgetsCommands) {
            return catga::log::Commit { command: None, ..record.commit().unwrap() }.encode();
        }
        if self.is(Wrong::ChangesLargeFrames) && frame.len() > 100_000 {
            let mut changed = frame.to_vec();
            *changed.last_mut().unwrap() ^= 1;
            return changed.into();
        }
        frame.clone()
    }

    /// Writes a commit at the end of its stream, whatever the append says.
    fn write(&self, append: &Append<'_>, position: Position) -> Appended {
        let first = self.version(append.stream) + 1;
        let events = append.events as u64;
        let record = Record { position, token: 0, frame: self.frame(append) };
        let (last, end) = (first + events - 1, position + events - 1);
        let stored = Stored { stream: append.stream.clone(), first, last, record, end };
        let mut commits = self.commits();
        let at = commits.partition_point(|commit| commit.record.position <= position);
        commits.insert(at, stored);
        drop(commits);
        self.log.appended.notify_waiters();
        let last_position = self.is(Wrong::AnswersTheLastPosition);
        Appended { position: if last_position { end } else { position }, token: 0 }
    }

    /// The version that `append` conflicts with, if it does.
    fn conflict(&self, append: &Append<'_>) -> Option<Version> {
        let version = self.version(append.stream);
        let commits = self.commits();
        let last = commits.iter().rev().find(|c| self.is_stream(&c.stream, append.stream));
        let is_last = last.is_some_and(|commit| commit.record.frame == append.frame);
        if self.is(Wrong::TakesAnyVersion) || self.is(Wrong::TakesTheSameFrameTwice) && is_last {
            return None;
        }
        let is_interrupted = commits.last().is_some_and(|c| c.stream != *append.stream);
        if self.is(Wrong::ConflictsAcrossStreams) && version > 0 && is_interrupted {
            return Some(version);
        }
        (version != append.version).then_some(version)
    }

    fn answer_conflict(
        &self,
        append: &Append<'_>,
        actual: Version,
    ) -> Result<Appended, AppendError> {
        match self.wrong {
            Some(Wrong::AnswersANoFromAConflict) => {
                Err(AppendError::Refused(StoreError::unavailable("it is at another version")))
            }
            Some(Wrong::AnswersOkToAConflict) => {
                let commits = self.commits();
                let there = commits
                    .iter()
                    .find(|c| c.stream == *append.stream && c.first == append.version + 1);
                match there {
                    Some(c) => Ok(Appended { position: c.record.position, token: 0 }),
                    None => Err(AppendError::Conflict { actual }),
                }
            }
            Some(Wrong::TellsTheWrongVersion) => {
                Err(AppendError::Conflict { actual: append.version })
            }
            Some(Wrong::WritesAtAConflict) => {
                let position = self.next_position(append.events);
                self.write(append, position);
                Err(AppendError::Conflict { actual })
            }
            _ => Err(AppendError::Conflict { actual }),
        }
    }

    async fn append_now(&self, append: Append<'_>) -> Result<Appended, AppendError> {
        if self.is(Wrong::RefusesCatgasOwnStreams) && append.stream.as_str().starts_with("catga-") {
            return Err(AppendError::Refused(StoreError::unavailable("not such a stream")));
        }
        if self.is(Wrong::StoresWhatItRefuses) && append.frame.len() > 1 << 20 {
            let position = self.next_position(append.events);
            self.write(&append, position);
            return Err(AppendError::Refused(StoreError::too_large("the frame is too large")));
        }
        let permit = match self.wrong {
            Some(Wrong::KeepsItsLock | Wrong::LocksPerHandle) => self.lock.acquire().await.ok(),
            _ => None,
        };
        if let Some(actual) = self.conflict(&append) {
            return self.answer_conflict(&append, actual);
        }
        if self.is(Wrong::KeepsItsLock) {
            // Whoever is dropped here takes the lock along.
            permit.unwrap().forget();
            yield_now().await;
            self.lock.add_permits(1);
            if let Some(actual) = self.conflict(&append) {
                return Err(AppendError::Conflict { actual });
            }
            let position = self.next_position(append.events);
            return Ok(self.write(&append, position));
        }
        if self.is(Wrong::ChecksThenWrites) || self.is(Wrong::LocksPerHandle) {
            yield_now().await;
        }
        let position = self.next_position(append.events);
        if self.is(Wrong::ShowsCommitsBeforeEarlierOnes) {
            for _ in 0..position.get() % 5 {
                yield_now().await;
            }
        }
        Ok(self.write(&append, position))
    }

    /// The commits that this handle shows.
    fn shown(&self) -> Vec<Stored> {
        let mut commits = self.commits().clone();
        if self.other_is(Wrong::OtherHandlesLag) {
            commits.pop();
        }
        if self.other_is(Wrong::OtherHandlesSkip) {
            commits.retain(|commit| commit.record.position.get() % 11 != 0);
        }
        if self.is(Wrong::ShowsNoUnknownEvents) {
            commits.retain(|c| c.record.commit().is_ok_and(|c| c.events[0].name != "Strange"));
        }
        commits
    }

    fn page(&self, commits: impl Iterator<Item = Stored>, limit: usize) -> Vec<Record> {
        let limit = if self.is(Wrong::IgnoresLimits) { usize::MAX } else { limit };
        commits.take(limit).map(|commit| commit.record).collect()
    }
}

impl EventStore for PlantedStore {
    fn log_id(&self) -> LogId {
        self.id
    }

    fn append<'a>(&'a self, append: Append<'a>) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(self.append_now(append))
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let whole = !self.is(Wrong::ShowsCommitsOnlyFromTheirFirstVersion);
            let limit = match self.is(Wrong::EndsStreamPagesEarly) {
                true => limit.div_ceil(2),
                false => limit,
            };
            let commits = self.shown().into_iter().filter(|commit| {
                let holds = if whole { commit.last >= from } else { commit.first >= from };
                holds && self.is_stream(&commit.stream, stream)
            });
            Ok(self.page(commits, limit))
        })
    }

    fn read_short<'a>(
        &'a self,
        stream: &'a StreamId,
        limit: usize,
    ) -> BoxFuture<'a, Result<Option<Vec<Record>>, StoreError>> {
        Box::pin(async move {
            let is_long = self.version(stream) > limit as u64 / 2;
            if self.is(Wrong::SaysShortStreamsAreLong) && is_long {
                return Ok(None);
            }
            self.read_stream(stream, 1.into(), limit).await.map(Some)
        })
    }

    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let whole = !self.is(Wrong::ShowsCommitsOnlyFromTheirFirstPosition);
            let mut commits: Vec<_> = self.shown();
            commits.retain(|c| if whole { c.end > after } else { c.record.position > after });
            if self.is(Wrong::SkipsAtPageEnds) && limit > 1 && commits.len() > limit {
                commits.remove(limit - 1);
            }
            Ok(self.page(commits.into_iter(), limit))
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move {
            let commits = self.commits();
            let lag = usize::from(self.other_is(Wrong::HeadLagsOnOtherHandles));
            Ok(commits.iter().rev().nth(lag).map_or(Position::ZERO, |commit| commit.end))
        })
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            if self.is(Wrong::WaitsForTheNextCommit) {
                self.log.appended.notified().await;
                return Ok(());
            }
            loop {
                let appended = self.log.appended.notified();
                if self.shown().last().is_some_and(|commit| commit.end > after) {
                    return Ok(());
                }
                if self.is(Wrong::NeverWakes) {
                    pending::<()>().await;
                }
                appended.await;
            }
        })
    }

    fn durability(&self) -> BoxFuture<'_, Result<DurabilityReport, StoreError>> {
        Box::pin(async move {
            let is_new = self.commits().is_empty();
            Ok(match self.is(Wrong::SaysTwoLevels) && is_new {
                true => Durability::PowerLoss.into(),
                false => Durability::Memory.into(),
            })
        })
    }
}

fn event(name: &str) -> catga::log::EventFrame<'_> {
    catga::log::EventFrame { id: catga::log::EventId::nil(), name, schema: 1, payload: b"" }
}
