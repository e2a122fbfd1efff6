//! The tail: one task per node that reads the log and feeds every read model in log order.
//!
//! Where the log is the topic, it also hands what it has read to the event handlers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::sleep;
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use crate::{
    follow::{DecodedCommit, TailPublisher},
    log::{Position, Record, StoreError},
    model::{DecodeError, Error, ParsedRecord},
    program::{BlockingWatch, EventTypes, Kind, Program, telemetry},
    read::{End, Fold, ModelSnapshots, SharedPages},
    store::{Backoff, EventStore, guarded},
};

/// How many commits the tail reads and applies at once.
const PAGE: usize = 512;

/// A read of a page of the log.
type Reading = AbortOnDropHandle<Result<Vec<Record>, StoreError>>;

/// What feeds the read models of a node.
pub(crate) struct Tail {
    program: Arc<Program>,
    folds: Arc<[Box<dyn Fold>]>,
    /// Of each fold, whether it blocks; `None` for one of catga's own, which does not.
    watches: Vec<Option<BlockingWatch>>,
    snapshots: ModelSnapshots,
    /// Hands on what was read, where the log is the topic.
    publisher: Option<TailPublisher>,
}

impl Tail {
    pub(crate) fn new(
        program: Arc<Program>,
        folds: Vec<Box<dyn Fold>>,
        publisher: Option<TailPublisher>,
    ) -> Self {
        let folds: Arc<[_]> = folds.into();
        let (store, kv) = (program.store.clone(), program.kv.clone());
        let snapshots = ModelSnapshots::new(store, kv, folds.clone());
        let is_own = |name: &str| name.starts_with("catga-");
        let watched = folds.iter().map(|fold| !is_own(fold.name()));
        let watches = watched.map(|is_watched| is_watched.then(BlockingWatch::default)).collect();
        Self { program, folds, watches, snapshots, publisher }
    }

    /// Runs until `stop`, or until an event can't be read: the log is never skipped.
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        let restored = stop.run_until_cancelled(self.snapshots.restore()).await;
        let Some(position) = restored else { return };
        self.program.progress.advance(position);
        if let Some(publisher) = &self.publisher {
            publisher.begin(position);
        }
        match self.feed(&stop).await {
            Ok(()) => self.snapshots.finish().await,
            // Read models that stopped half-way must not become a snapshot.
            Err(error) => {
                let after = self.program.progress.position();
                tracing::error!(%error, after = after.get(), "the read models stopped");
                self.program.progress.stop(error.to_string());
            }
        }
    }

    /// Feeds the read models until `stop`.
    async fn feed(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let backoff = || Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let (mut delays, mut ahead) = (backoff(), None);
        while !stop.is_cancelled() {
            let after = self.program.progress.position();
            let step = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                page = self.next_page(after, &mut ahead) => {
                    page.map_err(Error::from).and_then(|page| Ok(self.take_in(after, &page)?))
                }
            };
            match step {
                Ok(end) => {
                    self.program.progress.advance(end.position);
                    // While there is more to read, read it before writing a snapshot.
                    let is_at_end = ahead.is_none();
                    self.snapshots.taken_in(end, is_at_end).await;
                    delays = backoff();
                    // Other tasks get their turn while a long log is replayed.
                    tokio::task::yield_now().await;
                }
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "the log can't be read; trying again");
                    tokio::select! {
                        () = stop.cancelled() => return Ok(()),
                        () = sleep(delays.next_delay()) => {}
                    }
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The next commits after `after`, as soon as there are any. `ahead` reads the page behind the last one while that one
    /// is applied; it is started when the last page was at least half full, which says that there is more.
    async fn next_page(
        &self,
        after: Position,
        ahead: &mut Option<Reading>,
    ) -> Result<Vec<Record>, StoreError> {
        let store: &Arc<dyn EventStore> = &self.program.store;
        loop {
            let page = match ahead.take() {
                Some(reading) => reading.await.map_err(StoreError::unavailable)??,
                None => store.read_log(after, PAGE).await?,
            };
            if let Some(last) = page.last().filter(|_| page.len() >= PAGE / 2) {
                let (store, end) = (store.clone(), last.end().map_err(StoreError::corrupt)?);
                // A shutdown waits until it has let go of the store.
                let tasks = &self.program.tasks;
                let reading = tasks.spawn(async move {
                    let page = guarded("tail", store.read_log(end, PAGE)).await;
                    page.unwrap_or_else(|reason| Err(StoreError::unavailable(reason)))
                });
                *ahead = Some(AbortOnDropHandle::new(reading));
            }
            if !page.is_empty() {
                return Ok(page);
            }
            self.program.progress.caught_up();
            store.wait(after).await?;
        }
    }

    /// Applies a page, which begins after `after`, and shares it with the subscriptions. Answers where it ends.
    fn take_in(&self, after: Position, page: &[Record]) -> Result<End, DecodeError> {
        let end = self.apply(after, page)?;
        self.program.extensions.expect::<SharedPages>().push(after, end.position, page);
        Ok(end)
    }

    /// Publishes a page, which begins after `after`, and applies it to every fold. Answers where it ends.
    fn apply(&self, after: Position, page: &[Record]) -> Result<End, DecodeError> {
        let skipped = &self.program.skipped;
        let parsed = page.iter().map(|record| ParsedRecord::of(record, skipped));
        let commits: Vec<_> = parsed.collect::<Result<_, _>>()?;
        if let Some(publisher) = &self.publisher {
            let decoded = commits.iter().map(|commit| Ok(Arc::new(DecodedCommit::of(commit)?)));
            publisher.push(after, &decoded.collect::<Result<Vec<_>, DecodeError>>()?);
        }
        let known = self.program.extensions.expect::<EventTypes>();
        for ParsedRecord { record, commit, .. } in &commits {
            for (i, frame) in (0..).zip(&commit.events) {
                if !known.contains_key(frame.name) && !skipped.contains(frame.id) {
                    return Err(DecodeError::unknown_type(frame, record.position + i));
                }
            }
        }
        for (fold, watch) in self.folds.iter().zip(&self.watches) {
            let watch = watch.as_ref().map(|watch| (watch, Instant::now()));
            // The others go on: those of the dead letters are needed, whatever becomes of a projection of the user's.
            if let Err(reason) = fold.apply(&commits) {
                tracing::error!(projection = fold.name(), reason, "a projection stopped");
                metrics::counter!(telemetry::PROJECTIONS_STOPPED, "projection" => fold.name())
                    .increment(1);
                self.program.progress.fail(reason);
            }
            if let Some((watch, begun)) = watch {
                watch.held(Kind::Projection, fold.name(), begun.elapsed());
            }
        }
        let last = commits.last().expect("a page has commits");
        Ok(End { position: last.end(), commit: last.commit.id() })
    }
}
