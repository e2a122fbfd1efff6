//! What a runner does about events that fail: it parks them, with what comes later of their stream, and drains the stream
//! when somebody wants that.

use std::time::Duration;

use tokio::{task::JoinSet, time::Instant};

use crate::{
    log::{Position, StreamId, Version},
    model::{DecodeError, Error},
    program::telemetry,
    react::{
        dead_letters::{DeadLetterStatus, DeadLetters},
        lanes::Delivery,
        parking_event::{EventParked, ParkingEvent, StreamReleased},
        progress::{CHECKPOINT_EVERY, Drain, Parked, RunnerProgress},
        runner::Runner,
        task::{Ended, HandlerFailure, Task, drain},
    },
    read::ReadModel,
    store::{Backoff, first_chars},
};

/// The longest wait before a parked event is tried again by itself.
const LONGEST_DELAY: Duration = Duration::from_secs(3600);

/// How many characters of a failure are kept: it may say anything.
const LONGEST_ERROR: usize = 2000;

impl Runner {
    /// Starts on the dead letters that somebody wants retried or dropped.
    pub(crate) fn drain_requested(
        &self,
        progress: &mut RunnerProgress,
        running: &mut JoinSet<Ended>,
    ) {
        if progress.parked.is_empty()
            || self.dispatcher.program.progress.position() < progress.dead_letters_at
        {
            return;
        }
        let model = self.dispatcher.program.extensions.expect::<ReadModel<DeadLetters>>().read();
        for letter in model.requested(self.handler.name(), self.partition) {
            let from = match letter.status {
                DeadLetterStatus::Parked => continue,
                DeadLetterStatus::Retrying => letter.version,
                DeadLetterStatus::Dropping => letter.version + 1,
            };
            Self::stop_before(progress, &letter.stream, from);
            if !self.has_room(progress) {
                break;
            }
            self.drain(progress, running, &letter.stream, from);
        }
    }

    /// Ends a drain of `stream` that began before version `from`, which is to be left out: it may be at that one for as long as the
    /// handler is paused.
    fn stop_before(progress: &RunnerProgress, stream: &StreamId, from: Version) {
        let drain = progress.parked.get(stream).and_then(|parked| parked.drain.as_ref());
        if let Some(drain) = drain.filter(|drain| drain.from < from) {
            drain.stop.cancel();
        }
    }

    /// Starts on the dead letters whose time has come to be tried again by themselves: most of what fails to its last attempt is
    /// well some minutes later.
    pub(crate) fn drain_due(&self, progress: &mut RunnerProgress, running: &mut JoinSet<Ended>) {
        let now = Instant::now();
        while self.next_retry(progress).is_some_and(|at| at <= now) {
            let Some((_, stream)) = progress.retries.pop_first() else { return };
            let Some(parked) = progress.parked.get(&stream) else { continue };
            let from = parked.from;
            self.drain(progress, running, &stream, from);
        }
    }

    /// When the next dead letter is tried again by itself, if there is room for it.
    pub(crate) fn next_retry(&self, progress: &RunnerProgress) -> Option<Instant> {
        progress.retries.first().filter(|_| self.has_room(progress)).map(|(at, _)| *at)
    }

    /// Whether one more stream may be drained: others must have room beside what is parked.
    fn has_room(&self, progress: &RunnerProgress) -> bool {
        progress.draining < self.dispatcher.settings.concurrency.div_ceil(2)
    }

    /// Begins to deliver what is parked of `stream`, from version `from` on.
    fn drain(
        &self,
        progress: &mut RunnerProgress,
        running: &mut JoinSet<Ended>,
        stream: &StreamId,
        from: Version,
    ) {
        let stop = progress.stop.child_token();
        let task = Task { stop: stop.clone(), ..self.task(progress) };
        let Some(parked) = progress.parked.get_mut(stream) else { return };
        if parked.drain.is_none() {
            parked.drain = Some(Drain { from, stop });
            progress.draining += 1;
            running.spawn(drain(task, stream.clone(), from, Position::ZERO, parked.last_left));
        }
    }

    /// Takes in that the event at `version` of `stream` is parked, and all that comes behind it, of which `last_left` is the last so
    /// far.
    pub(crate) fn set_aside(
        &self,
        progress: &mut RunnerProgress,
        stream: StreamId,
        from: Version,
        last_left: Position,
    ) {
        let settings = &self.dispatcher.settings;
        let delays = Backoff::new(settings.retry_delay, LONGEST_DELAY);
        let parked = Parked { drain: None, from, last_left, delays, retries: settings.retries };
        progress.parked.insert(stream.clone(), parked);
        Self::retry_later(progress, &stream);
    }

    fn retry_later(progress: &mut RunnerProgress, stream: &StreamId) {
        let Some(parked) = progress.parked.get_mut(stream) else { return };
        let Some(left) = parked.retries.checked_sub(1) else { return };
        parked.retries = left;
        let at = Instant::now() + parked.delays.next_delay();
        progress.retries.insert((at, stream.clone()));
    }

    /// Does what follows from how a delivery, or the drain of a parked stream, ended.
    pub(crate) async fn take_in(
        &self,
        progress: &mut RunnerProgress,
        running: &mut JoinSet<Ended>,
        ended: Ended,
    ) -> Result<(), Error> {
        match ended {
            Ended::Handled(delivery) => Self::handled(progress, &delivery),
            Ended::Failed(delivery, failure) => {
                // Only once the letter is in the log may the checkpoint pass the event.
                self.park(progress, &delivery, &failure).await?;
                let last_left = progress.lanes.park(&delivery);
                let version = Self::version(&delivery)?;
                self.set_aside(progress, delivery.stream, version, last_left);
                progress.save_within(CHECKPOINT_EVERY);
            }
            Ended::StillFailing(delivery, failure) => {
                self.park(progress, &delivery, &failure).await?;
                Self::stop_draining(progress, &delivery.stream);
                if let Some(parked) = progress.parked.get_mut(&delivery.stream) {
                    parked.from = Self::version(&delivery)?;
                }
                Self::retry_later(progress, &delivery.stream);
            }
            Ended::Undrained(stream) => {
                Self::stop_draining(progress, &stream);
                // It is not the event that failed.
                if let Some(parked) = progress.parked.get_mut(&stream) {
                    parked.retries += 1;
                }
                Self::retry_later(progress, &stream);
            }
            Ended::Interrupted(stream) => Self::stop_draining(progress, &stream),
            Ended::Drained(stream, to) => {
                let Some(parked) = progress.parked.get(&stream) else { return Ok(()) };
                if parked.last_left > to {
                    // More of the stream went by meanwhile.
                    let last_left = parked.last_left;
                    let stop = parked.drain.as_ref().map(|drain| drain.stop.clone());
                    let task = self.task(progress);
                    let task = Task { stop: stop.unwrap_or(task.stop), ..task };
                    running.spawn(drain(task, stream, Version::FIRST, to, last_left));
                    return Ok(());
                }
                let released = StreamReleased {
                    handler: self.handler.name().to_owned(),
                    stream: stream.to_string(),
                };
                self.write_dead_letter(progress, ParkingEvent::Released(released)).await?;
                Self::stop_draining(progress, &stream);
                progress.parked.remove(&stream);
            }
            Ended::Cancelled => {}
        }
        Ok(())
    }

    fn stop_draining(progress: &mut RunnerProgress, stream: &StreamId) {
        if let Some(parked) = progress.parked.get_mut(stream) {
            parked.drain = None;
            progress.draining -= 1;
        }
    }

    fn version(delivery: &Delivery) -> Result<Version, Error> {
        let commit = delivery.commit.record.commit().map_err(DecodeError::from)?;
        Ok(commit.first_version + delivery.index as u64)
    }

    async fn park(
        &self,
        progress: &mut RunnerProgress,
        delivery: &Delivery,
        failure: &HandlerFailure,
    ) -> Result<(), Error> {
        let handler = self.handler.name();
        let commit = delivery.commit.record.commit().map_err(DecodeError::from)?;
        let event = &commit.events[delivery.index];
        let parked = EventParked {
            handler: handler.to_owned(),
            stream: delivery.stream.to_string(),
            version: Self::version(delivery)?,
            position: delivery.position(),
            event_id: event.id,
            event_type: event.name.to_owned(),
            attempts: failure.attempts,
            error: first_chars(&failure.error, LONGEST_ERROR).to_owned(),
        };
        metrics::counter!(telemetry::EVENTS_PARKED, "handler" => handler).increment(1);
        tracing::error!(
            handler,
            stream = parked.stream,
            position = parked.position.get(),
            event_type = parked.event_type,
            attempts = parked.attempts,
            error = parked.error,
            "an event handler gave up: the event is a dead letter, and its stream waits behind it"
        );
        self.write_dead_letter(progress, ParkingEvent::Parked(parked)).await
    }

    /// Writes to the log, and waits until this node's read models have it: a letter seen before it would be acted
    /// on again.
    async fn write_dead_letter(
        &self,
        progress: &mut RunnerProgress,
        event: ParkingEvent,
    ) -> Result<(), Error> {
        let program = &*self.dispatcher.program;
        let RunnerProgress { dead_letters, held, .. } = progress;
        let position = dead_letters.append(program, held, &event).await?;
        program.progress.wait_for(position).await
    }
}
