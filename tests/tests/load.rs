//! Who tests the tests: the load and the checker on a store that only loses answers, which is
//! no fault of it, and on stores with a bug each. Every bug must be found.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use bytes::Bytes;
use catga::{
    log::{Commit, LogId, Position, Record, StreamId, Version},
    store::{
        Append, AppendError, Appended, BoxFuture, DurabilityReport, EventStore, MemoryStore,
        StoreError,
    },
};
use catga_tests::{
    history::{Recorder, Verdict, Violation},
    load::{self, Plan, Stop},
};

/// What is wrong with a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Bug {
    /// Nothing; but many answers get lost, some of them before the append and some after it.
    None,
    AcksWithoutStoring,
    StoresWhatItRefuses,
    StoresRetriesAgain,
    AnswersAnotherPosition,
    ChangesBytes,
    ReadsStreamsLate,
    SkipsInTheLog,
}

/// A store in memory with a bug that shows now and then.
struct Buggy {
    inner: MemoryStore,
    bug: Bug,
    calls: AtomicU64,
    /// A bug in reads must not show in the final read too.
    is_over: AtomicBool,
}

impl Buggy {
    fn shows(&self, bug: Bug) -> bool {
        self.bug == bug
            && !self.is_over.load(Ordering::SeqCst)
            && self.calls.fetch_add(1, Ordering::SeqCst) % 40 == 39
    }

    /// Appends at the end of the stream, wherever that is, and makes the frame fit there.
    async fn force(&self, append: &Append<'_>) {
        let mut append = append.clone();
        while let Err(AppendError::Conflict { actual }) = self.inner.append(append.clone()).await {
            let frame = append.frame.clone();
            let mut commit = Commit::decode(&frame).unwrap();
            commit.first_version = actual + 1;
            (append.version, append.frame) = (actual, commit.encode());
        }
    }

    async fn append_now(&self, append: Append<'_>) -> Result<Appended, AppendError> {
        let lost = || AppendError::Unknown(StoreError::unavailable("the answer was lost"));
        if self.bug == Bug::None {
            match self.calls.fetch_add(1, Ordering::SeqCst) % 5 {
                1 => return Err(lost()),
                3 => return self.inner.append(append).await.and_then(|_| Err(lost())),
                _ => {}
            }
        }
        if self.shows(Bug::AcksWithoutStoring) {
            return Ok(Appended { position: self.inner.head().await.unwrap() + 1, token: 0 });
        }
        if self.shows(Bug::StoresRetriesAgain) {
            self.force(&append).await;
            self.force(&append).await;
            return Err(lost());
        }
        if self.shows(Bug::ChangesBytes) {
            let mut bytes = append.frame.to_vec();
            *bytes.last_mut().unwrap() ^= 1;
            return self.inner.append(Append { frame: Bytes::from(bytes), ..append }).await;
        }
        let mut answer = self.inner.append(append.clone()).await;
        if self.bug == Bug::StoresWhatItRefuses && answer.is_err() {
            self.force(&append).await;
        }
        if let Ok(appended) = &mut answer
            && self.shows(Bug::AnswersAnotherPosition)
        {
            appended.position += 1;
        }
        answer
    }
}

impl EventStore for Buggy {
    fn log_id(&self) -> LogId {
        self.inner.log_id()
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
            let mut records = self.inner.read_stream(stream, from, limit).await?;
            if from == 1 && self.shows(Bug::ReadsStreamsLate) {
                records.clear();
            }
            Ok(records)
        })
    }

    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            let mut records = self.inner.read_log(after, limit).await?;
            if records.len() > 1 && self.shows(Bug::SkipsInTheLog) {
                records.remove(0);
            }
            Ok(records)
        })
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.inner.head()
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.wait(after)
    }

    fn durability(&self) -> BoxFuture<'_, Result<DurabilityReport, StoreError>> {
        self.inner.durability()
    }
}

async fn run(bug: Bug) -> Verdict {
    let (calls, is_over) = (AtomicU64::new(0), AtomicBool::new(false));
    let store = Arc::new(Buggy { inner: MemoryStore::new(), bug, calls, is_over });
    let recorder = Arc::new(Recorder::new());
    let plan = Plan { commits: 2000, ..Plan::default() };
    load::append(store.clone(), &plan, &recorder, &Stop::default()).await;
    store.is_over.store(true, Ordering::SeqCst);
    recorder.history().check(&load::final_log(&*store).await)
}

#[tokio::test(flavor = "multi_thread")]
async fn p3_lost_answers_lose_and_double_nothing() {
    let verdict = run(Bug::None).await;
    verdict.expect_clean(1000);
    assert!(verdict.in_doubt == 0 && verdict.refused > 0 && verdict.looks > 0, "{verdict}");
}

/// Asserts that the bug is found, and for the right reason.
async fn found(bug: Bug, is_wanted: fn(&Violation) -> bool) {
    let verdict = run(bug).await;
    assert!(verdict.violations.iter().any(is_wanted), "{bug:?}: {verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_ack_without_storing_is_found() {
    found(Bug::AcksWithoutStoring, |v| matches!(v, Violation::Lost { .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_append_that_is_stored_is_found() {
    found(Bug::StoresWhatItRefuses, |v| matches!(v, Violation::RefusedButStored { .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_append_that_is_stored_twice_is_found() {
    found(Bug::StoresRetriesAgain, |v| matches!(v, Violation::Twice { .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_answer_is_found() {
    found(Bug::AnswersAnotherPosition, |v| matches!(v, Violation::Moved { .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changed_bytes_are_found() {
    found(Bug::ChangesBytes, |v| matches!(v, Violation::Altered { .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stale_read_is_found() {
    found(Bug::ReadsStreamsLate, |v| matches!(v, Violation::StaleRead { .. })).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reader_that_skips_is_found() {
    found(Bug::SkipsInTheLog, |v| matches!(v, Violation::NotTheLog { .. })).await;
}
