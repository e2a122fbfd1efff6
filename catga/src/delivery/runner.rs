//! The runner of one handler on one partition.

use std::{collections::HashMap, future::pending, sync::Arc, time::Duration};

use futures_util::future::OptionFuture;
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use super::{
    Checkpoint, EventHandler, WorkState,
    feed::Fed,
    lanes::{Delivery, Lanes},
};
use crate::{
    DeadLetter, DeadLetterStatus, DecodeError, Error, Position, ReadModel, StoreError, StreamId,
    Version,
    cluster::{Held, Over},
    parked::{EventParked, HandlerTaken, Letters, ParkedStream, ParkingEvent, StreamReleased},
    retry::Backoff,
    runtime::Runtime,
    telemetry,
    transport::partition,
};

/// How many commits a runner has in hand at most.
const WINDOW: usize = 1024;

/// How many commits of a parked stream are read at once.
const PAGE: usize = 256;

/// How long a checkpoint may lag behind what is handled. After a crash, what is handled since is handled again.
const CHECKPOINT_EVERY: Duration = Duration::from_millis(100);

/// How long it may lag behind what only went by.
const CHECKPOINT_IDLE: Duration = Duration::from_secs(1);

pub(crate) struct Runner {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) handler: Arc<dyn EventHandler>,
    pub(crate) partition: u16,
    pub(crate) state: Arc<WorkState>,
    pub(crate) shutdown: CancellationToken,
}

/// How a delivery, or the drain of a parked stream, ended.
enum Ended {
    Handled(Delivery),
    Failed(Delivery, Failure),
    Drained(StreamId, Position),
    /// An event of the parked stream failed again.
    StillFailing(Delivery, Failure),
    /// The log could not be read.
    Undrained(StreamId),
    /// The work is over.
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
    held: Held,
    lanes: Lanes,
    /// Everything up to here was read.
    cursor: Position,
    parked: HashMap<StreamId, Parked>,
    /// Where letters are written to.
    letters: ParkedStream,
    /// When the checkpoint is written next, if there is anything to write.
    save_at: Option<Instant>,
    /// Ends the deliveries, when the program or the turn of this node does.
    stop: CancellationToken,
}

impl Progress {
    fn save_within(&mut self, time: Duration) {
        let at = Instant::now() + time;
        self.save_at = Some(self.save_at.map_or(at, |earlier| earlier.min(at)));
    }
}

impl Runner {
    /// Runs until shutdown, or until the log turns out not to be the one the checkpoint was made on.
    pub(crate) async fn run(self) {
        let (first, longest) = (Duration::from_millis(50), Duration::from_secs(2));
        let mut backoff = Backoff::new(first, longest);
        // Whether the former owner has still to be kept from writing letters.
        let mut is_taken_over = false;
        loop {
            let outcome = tokio::select! {
                // Who has just handed over must not claim again.
                biased;
                () = self.shutdown.cancelled() => return,
                held = self.runtime.leases.claim(self.state.share) => match held {
                    Ok(mut held) => {
                        held.is_taken_over |= is_taken_over;
                        is_taken_over = held.is_taken_over;
                        backoff = Backoff::new(first, longest);
                        self.run_as_owner(held, &mut is_taken_over).await
                    }
                    Err(error) => Err(error.into()),
                },
            };
            self.state.set_held(false);
            let Err(error) = outcome else { continue };
            if !error.is_retryable() {
                tracing::error!(share = %self.state.share, %error, "an event handler stopped");
                self.state.set_stopped(error.to_string());
                return;
            }
            tracing::warn!(share = %self.state.share, %error, "an event handler starts again");
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = sleep(backoff.next_delay()) => {}
            }
        }
    }

    async fn run_as_owner(&self, held: Held, is_taken_over: &mut bool) -> Result<(), Error> {
        let over = held.over();
        let stop = self.shutdown.child_token();
        let (work, lost) = (self.run_from_checkpoint(held, stop.clone(), is_taken_over), async {
            match over.await {
                Over::Lost => {}
                Over::Reassigned => {
                    stop.cancel();
                    pending::<()>().await;
                }
            }
        });
        tokio::select! {
            outcome = work => outcome,
            // With the work its deliveries end, wherever they are: somebody else does them now.
            () = lost => Err(StoreError::unavailable("the cluster has given this node up").into()),
        }
    }

    async fn run_from_checkpoint(
        &self,
        held: Held,
        stop: CancellationToken,
        is_taken_over: &mut bool,
    ) -> Result<(), Error> {
        let mut letters = self.runtime.parked_stream(self.handler.name(), self.partition)?;
        if held.is_taken_over {
            // After this, what the former owner knows of the letters is old, and what it writes there is refused.
            let taken = HandlerTaken {
                handler: self.handler.name().to_owned(),
                partition: self.partition,
                node: self.runtime.node.clone(),
            };
            self.runtime.append_parking(&mut letters, &held, &ParkingEvent::Taken(taken)).await?;
            *is_taken_over = false;
        }
        if let Some(checkpoint) = held.checkpoint {
            self.check_log(checkpoint).await?;
        }
        let cursor = held.checkpoint.map_or(0, |checkpoint| checkpoint.position);
        let mut progress = Progress {
            held,
            lanes: Lanes::new(self.handler.types()),
            cursor,
            parked: HashMap::new(),
            letters,
            save_at: None,
            stop,
        };
        self.state.set_position(cursor);
        self.state.set_held(true);
        for letter in self.runtime.letters(crate::Consistency::Latest).await? {
            let share = (letter.handler.as_str(), partition(&letter.stream));
            if share == (self.handler.name(), self.partition) {
                let parked = Parked { is_draining: false, last_left: cursor.max(letter.position) };
                progress.parked.insert(letter.stream, parked);
            }
        }
        let mut running = JoinSet::new();
        let outcome = self.work(&mut progress, &mut running).await;
        progress.stop.cancel();
        // What is still out is finished before the checkpoint is written, so that less is repeated.
        while let Some(ended) = running.join_next().await {
            if let Ok(Ended::Handled(delivery)) = ended {
                progress.lanes.finish(&delivery);
            }
        }
        match outcome {
            Ok(()) => progress.held.release(progress.lanes.done()).await?,
            Err(_) => self.save_checkpoint(&mut progress).await?,
        }
        outcome
    }

    async fn work(
        &self,
        progress: &mut Progress,
        running: &mut JoinSet<Ended>,
    ) -> Result<(), Error> {
        let mut letters_may_have_changed = self.runtime.tail.subscribe();
        let stop = progress.stop.clone();
        let mut reading = None;
        loop {
            self.drain_requested(progress, running);
            self.hand_out(progress, running);
            if progress.lanes.len() < WINDOW {
                reading.get_or_insert_with(|| self.read_after(progress.cursor));
            }
            let save_at = progress.save_at;
            tokio::select! {
                () = stop.cancelled() => {
                    let finished = self.finish_begun(progress, running);
                    let Ok(outcome) = timeout(self.runtime.delivery.drain, finished).await else {
                        tracing::warn!(share = %self.state.share, "events are left for who comes next");
                        running.abort_all();
                        return Ok(());
                    };
                    return outcome;
                }
                Some(ended) = running.join_next() => self.take_in_joined(progress, ended).await?,
                Some(page) = OptionFuture::from(reading.as_mut()) => {
                    reading = None;
                    for fed in &page.map_err(|error| Error::misuse(error.to_string()))?? {
                        self.push(progress, fed)?;
                    }
                    progress.save_within(CHECKPOINT_IDLE);
                }
                // Only letters that somebody acted on matter here, and those only when there are any.
                Ok(()) = letters_may_have_changed.changed(), if !progress.parked.is_empty() => {}
                () = sleep_until(save_at.unwrap_or_else(Instant::now)), if save_at.is_some() => {
                    self.save_checkpoint(progress).await?;
                }
            }
            if let Some(done) = progress.lanes.done() {
                self.state.set_position(done.position);
            }
        }
    }

    /// Reads in a task of its own: whatever else this runner has to do meanwhile neither ends the read nor keeps
    /// those waiting who want the same.
    fn read_after(&self, cursor: Position) -> AbortOnDropHandle<Result<Vec<Arc<Fed>>, Error>> {
        let runtime = self.runtime.clone();
        AbortOnDropHandle::new(tokio::spawn(async move { runtime.feed.next(cursor).await }))
    }

    fn hand_out(&self, progress: &mut Progress, running: &mut JoinSet<Ended>) {
        while running.len() < self.runtime.delivery.concurrency {
            let Some(delivery) = progress.lanes.next() else { break };
            running.spawn(deliver(self.task(progress), delivery));
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

    fn task(&self, progress: &Progress) -> Task {
        Task {
            runtime: self.runtime.clone(),
            handler: self.handler.clone(),
            stop: progress.stop.clone(),
        }
    }

    fn push(&self, progress: &mut Progress, fed: &Arc<Fed>) -> Result<(), Error> {
        let from = progress.cursor + 1;
        progress.cursor = fed.last.position;
        if fed.partition != self.partition {
            progress.lanes.pass(fed);
            return Ok(());
        }
        let parked = &progress.parked;
        let left = progress.lanes.push(fed, from, |stream| parked.contains_key(stream))?;
        if let Some(parked) = left.and_then(|stream| progress.parked.get_mut(&stream)) {
            parked.last_left = fed.last.position;
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
            Ended::Handled(delivery) => {
                progress.lanes.finish(&delivery);
                progress.save_within(CHECKPOINT_EVERY);
            }
            Ended::Failed(delivery, failure) => {
                // Only once the letter is in the log may the checkpoint pass the event.
                self.park(progress, &delivery, &failure).await?;
                let last_left = progress.lanes.park(&delivery);
                let parked = Parked { is_draining: false, last_left };
                progress.parked.insert(delivery.stream, parked);
                progress.save_within(CHECKPOINT_EVERY);
            }
            Ended::StillFailing(delivery, failure) => {
                self.park(progress, &delivery, &failure).await?;
                Self::stop_draining(progress, &delivery.stream);
            }
            Ended::Undrained(stream) => Self::stop_draining(progress, &stream),
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
                self.write_letter(progress, ParkingEvent::Released(released)).await?;
                progress.parked.remove(&stream);
            }
            Ended::Cancelled => {}
        }
        Ok(())
    }

    fn stop_draining(progress: &mut Progress, stream: &StreamId) {
        if let Some(parked) = progress.parked.get_mut(stream) {
            parked.is_draining = false;
        }
    }

    /// Drains what went by while an earlier drain was under way, in this task: it is little.
    async fn go_on_draining(
        &self,
        progress: &mut Progress,
        stream: &StreamId,
        after: Position,
    ) -> Result<(), Error> {
        let last_left = progress.parked[stream].last_left;
        let ended = drain(self.task(progress), stream.clone(), 1, after, last_left).await;
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
            let task = self.task(progress);
            let Some(parked) = progress.parked.get_mut(&letter.stream) else { continue };
            if !parked.is_draining {
                parked.is_draining = true;
                running.spawn(drain(task, letter.stream, from, 0, parked.last_left));
            }
        }
    }

    async fn park(
        &self,
        progress: &mut Progress,
        delivery: &Delivery,
        failure: &Failure,
    ) -> Result<(), Error> {
        let handler = self.handler.name();
        let commit = delivery.fed.record.commit().map_err(DecodeError::from)?;
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
        metrics::counter!(telemetry::EVENTS_PARKED, "handler" => handler).increment(1);
        self.write_letter(progress, ParkingEvent::Parked(parked)).await
    }

    /// Writes to the log, and waits until this node's read models have it: a letter seen before it would be acted
    /// on again.
    async fn write_letter(
        &self,
        progress: &mut Progress,
        event: ParkingEvent,
    ) -> Result<(), Error> {
        let Progress { letters, held, .. } = progress;
        let position = self.runtime.append_parking(letters, held, &event).await?;
        self.runtime.tail.wait_for(position).await
    }

    /// # Errors
    /// When the event at the checkpoint is not in the log: it is not the log that the checkpoint was made on.
    async fn check_log(&self, Checkpoint { position, event }: Checkpoint) -> Result<(), Error> {
        let records = self.runtime.store().read_log(position - 1, 1).await?;
        let is_there = match records.first() {
            Some(record) => {
                let commit = record.commit().map_err(DecodeError::from)?;
                let events = (record.position..).zip(&commit.events);
                events.into_iter().any(|(at, found)| (at, found.id) == (position, event))
            }
            None => false,
        };
        if is_there {
            return Ok(());
        }
        Err(StoreError::corrupt(format!(
            "the log lost its end: the checkpoint of `{}` is an event that is no longer there",
            self.handler.name()
        ))
        .into())
    }

    async fn save_checkpoint(&self, progress: &mut Progress) -> Result<(), Error> {
        progress.save_at = None;
        let done = progress.lanes.done();
        let Some(done) = done.filter(|done| progress.held.checkpoint != Some(*done)) else {
            return Ok(());
        };
        progress.held.save(done).await?;
        Ok(())
    }
}

/// What a task needs to run the handler.
#[derive(Clone)]
struct Task {
    runtime: Arc<Runtime>,
    handler: Arc<dyn EventHandler>,
    stop: CancellationToken,
}

async fn deliver(task: Task, delivery: Delivery) -> Ended {
    match task.attempt(&delivery).await {
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
        Ok(ended) => ended,
        Err(error) => {
            tracing::warn!(handler = task.handler.name(), %stream, %error, "a drain is tried again");
            tokio::select! {
                () = task.stop.cancelled() => Ended::Cancelled,
                () = sleep(Duration::from_secs(1)) => Ended::Undrained(stream),
            }
        }
    }
}

impl Task {
    /// Tries an event until it is handled or has failed too often; `None` when the work is over.
    async fn attempt(&self, delivery: &Delivery) -> Option<Result<(), Failure>> {
        let (record, index) = (&delivery.fed.record, delivery.index);
        let settings = self.runtime.delivery;
        let mut backoff = Backoff::new(settings.first_delay, settings.longest_delay);
        for attempt in 1.. {
            let outcome = self.handler.handle(&self.runtime, record, index, attempt).await;
            let Err(error) = outcome else { return Some(Ok(())) };
            let handler = self.handler.name();
            metrics::counter!(telemetry::EVENT_FAILURES, "handler" => handler).increment(1);
            tracing::warn!(handler, position = delivery.position(), attempt, %error, "an event handler failed");
            if attempt >= settings.attempts {
                return Some(Err(Failure { attempts: attempt, error: error.to_string() }));
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = sleep(backoff.next_delay()) => {}
            }
        }
        None
    }

    async fn drain(
        &self,
        stream: &StreamId,
        from: Version,
        after: Position,
        to: Position,
    ) -> Result<Ended, Error> {
        let mut lanes = Lanes::new(self.handler.types());
        let mut next = from;
        loop {
            let page = self.runtime.store().read_stream(stream, next, PAGE).await?;
            if page.is_empty() {
                return Ok(Ended::Drained(stream.clone(), to));
            }
            for record in page {
                let commit = record.commit().map_err(DecodeError::from)?;
                next = commit.last_version() + 1;
                let skip = from.saturating_sub(commit.first_version);
                let start = (record.position + skip).max(after + 1);
                lanes.push(&Arc::new(Fed::new(record)?), start, |_| false)?;
                while let Some(delivery) = lanes.next() {
                    if delivery.position() > to {
                        return Ok(Ended::Drained(stream.clone(), to));
                    }
                    match self.attempt(&delivery).await {
                        None => return Ok(Ended::Cancelled),
                        Some(Ok(())) => lanes.finish(&delivery),
                        Some(Err(failure)) => return Ok(Ended::StillFailing(delivery, failure)),
                    }
                }
            }
        }
    }
}

impl DeadLetter {
    /// Whether somebody acted on it and its handler has not finished yet.
    pub fn is_in_progress(&self) -> bool {
        self.status != DeadLetterStatus::Parked
    }
}
