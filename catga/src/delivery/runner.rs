//! The runner of one handler on one partition.

use std::{collections::HashMap, future::pending, sync::Arc, time::Duration};

use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Checkpoint, EventHandler, RunnerState,
    lanes::{Delivery, Lanes},
};
use crate::{
    DeadLetter, DeadLetterStatus, DecodeError, Error, Position, ReadModel, Record, StoreError,
    StreamId, Version,
    parked::{EventParked, Letters, ParkingEvent, StreamReleased},
    retry::Backoff,
    runtime::Runtime,
    telemetry,
};

/// How many commits a runner has in hand at most.
const WINDOW: usize = 1024;

/// How many commits are read at once.
const PAGE: usize = 256;

/// How long a checkpoint may lag behind what is done. After a crash, what is done since is handled again.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(100);

pub(crate) struct Runner {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) handler: Arc<dyn EventHandler>,
    pub(crate) state: Arc<RunnerState>,
    pub(crate) shutdown: CancellationToken,
}

/// How a delivery, or the drain of a parked stream, ended.
enum Ended {
    Handled(Delivery),
    Failed(Delivery, Failure),
    Drained(StreamId, Position),
    StillFailing(StreamId),
    /// The node is shutting down.
    Cancelled,
}

struct Failure {
    attempts: u32,
    error: String,
}

/// A parked stream.
struct Parked {
    is_draining: bool,
    /// The last event of the stream that was left to the parked, as far as this runner knows.
    last_left: Position,
}

/// What changes while a runner runs.
struct Progress {
    lanes: Lanes,
    /// Everything up to here was read.
    cursor: Position,
    parked: HashMap<StreamId, Parked>,
    /// The stored checkpoint's revision, and its position.
    saved: (u64, Position),
}

impl Runner {
    /// Runs until shutdown, or until the log turns out not to be the one the checkpoint was made on.
    pub(crate) async fn run(self) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        loop {
            let error = match self.run_from_checkpoint().await {
                Ok(()) => return,
                Err(error) => error,
            };
            if !error.is_retryable() {
                tracing::error!(handler = self.handler.name(), %error, "an event handler stopped");
                self.state.set_stopped(error.to_string());
                return;
            }
            tracing::warn!(handler = self.handler.name(), %error, "an event handler starts again");
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = sleep(backoff.next_delay()) => {}
            }
        }
    }

    async fn run_from_checkpoint(&self) -> Result<(), Error> {
        let (cursor, revision) = self.load_checkpoint().await?;
        let mut progress = Progress {
            lanes: Lanes::new(self.handler.types()),
            cursor,
            parked: HashMap::new(),
            saved: (revision, cursor),
        };
        self.state.set_position(cursor);
        for letter in self.runtime.letters(crate::Consistency::Latest).await? {
            if letter.handler == self.handler.name() {
                let parked = Parked { is_draining: false, last_left: cursor.max(letter.position) };
                progress.parked.insert(letter.stream, parked);
            }
        }
        let mut running = JoinSet::new();
        let outcome = self.work(&mut progress, &mut running).await;
        // What is still out is finished before the checkpoint is written, so that less is repeated.
        while let Some(ended) = running.join_next().await {
            if let Ok(Ended::Handled(delivery)) = ended {
                progress.lanes.finish(&delivery);
            }
        }
        outcome.and(self.save_checkpoint(&mut progress).await)
    }

    async fn work(
        &self,
        progress: &mut Progress,
        running: &mut JoinSet<Ended>,
    ) -> Result<(), Error> {
        let mut letters_may_have_changed = self.runtime.tail.subscribe();
        let mut next_save = Instant::now() + CHECKPOINT_EVERY;
        loop {
            self.drain_requested(progress, running);
            self.hand_out(progress, running);
            let has_room = progress.lanes.len() < WINDOW;
            let is_unsaved = progress.lanes.done().is_some_and(|(done, _)| done > progress.saved.1);
            tokio::select! {
                () = self.shutdown.cancelled() => {
                    let finished = self.finish_begun(progress, running);
                    let Ok(outcome) = timeout(self.runtime.delivery.drain, finished).await else {
                        tracing::warn!(handler = self.handler.name(), "events are left for the next start");
                        running.abort_all();
                        return Ok(());
                    };
                    return outcome;
                }
                Some(ended) = running.join_next() => self.take_in_joined(progress, ended).await?,
                page = self.next_page(progress.cursor), if has_room => {
                    for record in &page? {
                        self.push(progress, record)?;
                    }
                }
                // Only letters that somebody acted on matter here, and those only when there are any.
                Ok(()) = letters_may_have_changed.changed(), if !progress.parked.is_empty() => {}
                () = if is_unsaved { futures_util::future::Either::Left(sleep_until(next_save)) }
                     else { futures_util::future::Either::Right(pending()) } => {
                    self.save_checkpoint(progress).await?;
                    next_save = Instant::now() + CHECKPOINT_EVERY;
                }
            }
            if let Some((done, _)) = progress.lanes.done() {
                self.state.set_position(done);
            }
        }
    }

    fn hand_out(&self, progress: &mut Progress, running: &mut JoinSet<Ended>) {
        while running.len() < self.runtime.delivery.concurrency {
            let Some(delivery) = progress.lanes.next() else { break };
            running.spawn(deliver(self.task(), delivery));
        }
    }

    /// Finishes what is out and what lies below it in the log, so that a checkpoint can cover all that was handled,
    /// and a stop repeats nothing. An event that fails meanwhile is left, with its stream, for the next start.
    async fn finish_begun(
        &self,
        progress: &mut Progress,
        running: &mut JoinSet<Ended>,
    ) -> Result<(), Error> {
        progress.lanes.keep_begun();
        loop {
            self.hand_out(progress, running);
            let Some(ended) = running.join_next().await else { return Ok(()) };
            self.take_in_joined(progress, ended).await?;
        }
    }

    fn task(&self) -> Task {
        Task {
            runtime: self.runtime.clone(),
            handler: self.handler.clone(),
            shutdown: self.shutdown.clone(),
        }
    }

    fn push(&self, progress: &mut Progress, record: &Record) -> Result<(), Error> {
        let parked = &progress.parked;
        let is_parked = |stream: &StreamId| parked.contains_key(stream);
        let from = progress.cursor + 1;
        let (last, left) =
            progress.lanes.push(record, from, is_parked).map_err(DecodeError::from)?;
        progress.cursor = last;
        if let Some(parked) = left.and_then(|stream| progress.parked.get_mut(&stream)) {
            parked.last_left = last;
        }
        Ok(())
    }

    async fn take_in_joined(
        &self,
        progress: &mut Progress,
        ended: Result<Ended, JoinError>,
    ) -> Result<(), Error> {
        self.take_in(progress, ended.map_err(|error| Error::misuse(error.to_string()))?).await
    }

    async fn take_in(&self, progress: &mut Progress, ended: Ended) -> Result<(), Error> {
        match ended {
            Ended::Handled(delivery) => progress.lanes.finish(&delivery),
            Ended::Failed(delivery, failure) => {
                // Only once the letter is in the log may the checkpoint pass the event.
                self.park(&delivery, &failure).await?;
                let last_left = progress.lanes.park(&delivery);
                let parked = Parked { is_draining: false, last_left };
                progress.parked.insert(delivery.stream, parked);
            }
            Ended::StillFailing(stream) => {
                if let Some(parked) = progress.parked.get_mut(&stream) {
                    parked.is_draining = false;
                }
            }
            Ended::Drained(stream, to) => {
                let Some(parked) = progress.parked.get(&stream) else { return Ok(()) };
                if parked.last_left > to {
                    // More of the stream went by meanwhile.
                    return self.go_on_draining(progress, &stream, to).await;
                }
                let released = StreamReleased {
                    handler: self.handler.name().to_owned(),
                    stream: stream.to_string(),
                };
                let event = ParkingEvent::Released(released);
                let position = self.runtime.append_parking(self.handler.name(), &event).await?;
                // A letter seen before this would be acted on again.
                self.runtime.tail.wait_for(position).await?;
                progress.parked.remove(&stream);
            }
            Ended::Cancelled => {}
        }
        Ok(())
    }

    /// Drains what went by while an earlier drain was under way, in this task: it is little.
    async fn go_on_draining(
        &self,
        progress: &mut Progress,
        stream: &StreamId,
        after: Position,
    ) -> Result<(), Error> {
        let last_left = progress.parked[stream].last_left;
        let ended = drain(self.task(), stream.clone(), 1, after, last_left).await;
        Box::pin(self.take_in(progress, ended)).await
    }

    /// Starts on the letters that somebody wants retried or dropped.
    fn drain_requested(&self, progress: &mut Progress, running: &mut JoinSet<Ended>) {
        if progress.parked.is_empty() {
            return;
        }
        let letters =
            self.runtime.parts.expect::<ReadModel<Letters>>().read().of(self.handler.name());
        for letter in letters {
            let from = match letter.status {
                DeadLetterStatus::Parked => continue,
                DeadLetterStatus::Retrying => letter.version,
                DeadLetterStatus::Dropping => letter.version + 1,
            };
            let Some(parked) = progress.parked.get_mut(&letter.stream) else { continue };
            if !parked.is_draining {
                parked.is_draining = true;
                running.spawn(drain(self.task(), letter.stream, from, 0, parked.last_left));
            }
        }
    }

    async fn park(&self, delivery: &Delivery, failure: &Failure) -> Result<(), Error> {
        self.task().park(delivery, failure).await
    }

    async fn next_page(&self, after: Position) -> Result<Vec<Record>, StoreError> {
        loop {
            let page = self.runtime.transport.read(self.state.partition, after, PAGE).await?;
            if !page.is_empty() {
                return Ok(page);
            }
            self.runtime.transport.wait(self.state.partition, after).await?;
        }
    }

    fn checkpoint_key(&self) -> String {
        Checkpoint::key(self.handler.name(), self.state.partition)
    }

    /// The stored checkpoint's position and revision, checked against the log.
    async fn load_checkpoint(&self) -> Result<(Position, u64), Error> {
        let Some(entry) = self.runtime.keyed.get(&self.checkpoint_key()).await? else {
            return Ok((0, 0));
        };
        let Checkpoint { position, event: id } = Checkpoint::decode(&entry.value)?;
        let records = self.runtime.store().read_log(position - 1, 1).await?;
        let is_there = match records.first() {
            Some(record) => {
                let commit = record.commit().map_err(DecodeError::from)?;
                let events = (record.position..).zip(&commit.events);
                events.into_iter().any(|(at, event)| (at, event.id) == (position, id))
            }
            None => false,
        };
        if !is_there {
            return Err(StoreError::corrupt(format!(
                "the log lost its end: the checkpoint of `{}` is an event that is no longer there",
                self.handler.name()
            ))
            .into());
        }
        Ok((position, entry.revision))
    }

    async fn save_checkpoint(&self, progress: &mut Progress) -> Result<(), Error> {
        let Some((position, event)) =
            progress.lanes.done().filter(|done| done.0 > progress.saved.1)
        else {
            return Ok(());
        };
        let value = Checkpoint { position, event }.encode();
        let key = self.checkpoint_key();
        let put = self.runtime.keyed.put(&key, value, progress.saved.0, None).await?;
        let Some(revision) = put else {
            return Err(
                StoreError::unavailable("another node moved the handler's checkpoint").into()
            );
        };
        progress.saved = (revision, position);
        self.state.set_position(position);
        Ok(())
    }
}

/// What a task needs to run the handler.
#[derive(Clone)]
struct Task {
    runtime: Arc<Runtime>,
    handler: Arc<dyn EventHandler>,
    shutdown: CancellationToken,
}

async fn deliver(task: Task, delivery: Delivery) -> Ended {
    match task.attempt(&delivery.record, delivery.index).await {
        Some(Ok(())) => Ended::Handled(delivery),
        Some(Err(failure)) => Ended::Failed(delivery, failure),
        None => Ended::Cancelled,
    }
}

/// Delivers what is parked of `stream`, in order: from version `from` and above position `after`, up to
/// position `to`.
async fn drain(
    task: Task,
    stream: StreamId,
    from: Version,
    after: Position,
    to: Position,
) -> Ended {
    match task.drain(&stream, from, after, to).await {
        Ok(Some(true)) => Ended::Drained(stream, to),
        Ok(Some(false)) => Ended::StillFailing(stream),
        Ok(None) => Ended::Cancelled,
        Err(error) => {
            tracing::warn!(handler = task.handler.name(), %stream, %error, "a drain is tried again");
            tokio::select! {
                () = task.shutdown.cancelled() => Ended::Cancelled,
                () = sleep(Duration::from_secs(1)) => Ended::StillFailing(stream),
            }
        }
    }
}

impl Task {
    /// Tries an event until it is handled or has failed too often; `None` at shutdown.
    async fn attempt(&self, record: &Record, index: usize) -> Option<Result<(), Failure>> {
        let settings = self.runtime.delivery;
        let mut backoff = Backoff::new(settings.first_delay, settings.longest_delay);
        for attempt in 1.. {
            let outcome = self.handler.handle(&self.runtime, record, index, attempt).await;
            let Err(error) = outcome else { return Some(Ok(())) };
            let handler = self.handler.name();
            metrics::counter!(telemetry::EVENT_FAILURES, "handler" => handler).increment(1);
            tracing::warn!(handler, position = record.position + index as u64, attempt, %error, "an event handler failed");
            if attempt >= settings.attempts {
                return Some(Err(Failure { attempts: attempt, error: error.to_string() }));
            }
            tokio::select! {
                () = self.shutdown.cancelled() => return None,
                () = sleep(backoff.next_delay()) => {}
            }
        }
        None
    }

    /// Whether all was handled; `None` at shutdown. What fails is parked anew.
    async fn drain(
        &self,
        stream: &StreamId,
        from: Version,
        after: Position,
        to: Position,
    ) -> Result<Option<bool>, Error> {
        let mut lanes = Lanes::new(self.handler.types());
        let mut next = from;
        loop {
            let page = self.runtime.store().read_stream(stream, next, PAGE).await?;
            let Some(end) = page.last() else { return Ok(Some(true)) };
            for record in &page {
                let first = record.commit().map_err(DecodeError::from)?.first_version;
                let skip = from.saturating_sub(first);
                let start = (record.position + skip).max(after + 1);
                lanes.push(record, start, |_| false).map_err(DecodeError::from)?;
                while let Some(delivery) = lanes.next() {
                    if delivery.position() > to {
                        return Ok(Some(true));
                    }
                    match self.attempt(&delivery.record, delivery.index).await {
                        None => return Ok(None),
                        Some(Ok(())) => lanes.finish(&delivery),
                        Some(Err(failure)) => {
                            self.park(&delivery, &failure).await?;
                            return Ok(Some(false));
                        }
                    }
                }
            }
            next = end.commit().map_err(DecodeError::from)?.last_version() + 1;
        }
    }

    /// Writes the letter, and waits until this node's read models have it.
    async fn park(&self, delivery: &Delivery, failure: &Failure) -> Result<(), Error> {
        let handler = self.handler.name();
        let commit = delivery.record.commit().map_err(DecodeError::from)?;
        let event = &commit.events[delivery.index];
        let parked = EventParked {
            handler: handler.to_owned(),
            stream: delivery.stream.to_string(),
            version: commit.first_version + delivery.index as u64,
            position: delivery.position(),
            event_id: event.id,
            event_type: event.name.to_owned(),
            attempts: failure.attempts,
            error: failure.error.clone(),
        };
        let position = self.runtime.append_parking(handler, &ParkingEvent::Parked(parked)).await?;
        metrics::counter!(telemetry::EVENTS_PARKED, "handler" => handler).increment(1);
        self.runtime.tail.wait_for(position).await
    }
}

impl DeadLetter {
    /// Whether somebody acted on it and its handler has not finished yet.
    pub fn is_in_progress(&self) -> bool {
        self.status != DeadLetterStatus::Parked
    }
}
