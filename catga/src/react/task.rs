//! One delivery, with its attempts, and the drain of one parked stream.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::{
    follow::DecodedCommit,
    log::{Position, StreamId, Version},
    model::{DecodeError, Error},
    program::telemetry,
    react::{
        Dispatcher, EventHandler,
        breaker::{Breaker, Turn},
        lanes::{Delivery, Lanes},
    },
    store::BoxFuture,
};

/// How many commits of a parked stream are read at once.
const PAGE: usize = 256;

/// How a delivery, or the drain of a parked stream, ended.
pub(crate) enum Ended {
    Handled(Delivery),
    Failed(Delivery, HandlerFailure),
    Drained(StreamId, Position),
    /// An event of the parked stream failed again.
    StillFailing(Delivery, HandlerFailure),
    /// The log could not be read.
    Undrained(StreamId),
    /// The drain of a parked stream was stopped.
    Interrupted(StreamId),
    /// The work is over.
    Cancelled,
}

pub(crate) struct HandlerFailure {
    pub(crate) attempts: u32,
    pub(crate) error: String,
}

/// One run of the handler on one event.
pub(crate) type Attempt = BoxFuture<'static, Result<(), Error>>;

/// How a delivery begins.
pub(crate) enum First {
    /// This attempt has begun.
    Begun(Attempt),
    /// It waits for the handler, which is paused.
    Waits,
    /// It was parked, and waits if the handler is paused.
    Drained,
}

/// What a task needs to run the handler.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) handler: Arc<dyn EventHandler>,
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) stop: CancellationToken,
}

/// Goes on with a delivery to its end.
pub(crate) async fn deliver(task: Task, delivery: Delivery, first: First) -> Ended {
    match task.finish(&delivery, first).await {
        Some(Ok(())) => Ended::Handled(delivery),
        Some(Err(failure)) => Ended::Failed(delivery, failure),
        None => Ended::Cancelled,
    }
}

/// Delivers what is parked of `stream`, in order: from version `from` and above position `after`, up to
/// position `to`.
pub(crate) async fn drain(
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
                () = task.stop.cancelled() => Ended::Interrupted(stream),
                () = sleep(Duration::from_secs(1)) => Ended::Undrained(stream),
            }
        }
    }
}

impl Task {
    pub(crate) fn attempt(&self, delivery: &Delivery, attempt: u32) -> Attempt {
        let Dispatcher { program, settings, .. } = &*self.dispatcher;
        self.handler.clone().handle(program.clone(), delivery.clone(), attempt, settings.timeout)
    }

    /// Tries an event until it is handled, or has failed too often while the handler can do its work; `None` when the work is
    /// over.
    async fn finish(
        &self,
        delivery: &Delivery,
        first: First,
    ) -> Option<Result<(), HandlerFailure>> {
        let Dispatcher { settings, .. } = &*self.dispatcher;
        let (handler, position) = (self.handler.name(), delivery.position());
        let (mut turn, begun) = match first {
            First::Begun(attempt) => (Turn::free(&self.breaker), Some(attempt)),
            First::Waits => (self.turn(true).await?, None),
            First::Drained => (self.turn(false).await?, None),
        };
        let mut trying = begun.unwrap_or_else(|| self.attempt(delivery, 1));
        let (mut delays, mut tries) = (settings.delays(), 0);
        // How often others were handled when this failed first.
        let mut successes = None;
        for attempt in 1.. {
            let Err(error) = trying.await else {
                self.breaker.succeeded();
                return Some(Ok(()));
            };
            // The breaker compares reasons, which a cause may make different.
            let (reason, text) = (error.to_string(), format!("{error:#}"));
            metrics::counter!(telemetry::EVENT_FAILURES, "handler" => handler).increment(1);
            tracing::warn!(
                handler,
                position = position.get(),
                attempt,
                error = text,
                "an event handler failed"
            );
            let successes = *successes.get_or_insert_with(|| self.breaker.successes());
            self.breaker.failed(position, &reason);
            // What fails while the handler is paused is not to blame for it.
            tries += u32::from(!turn.is_probe);
            drop(turn);
            if tries >= settings.attempts && self.breaker.is_poison(successes, &reason) {
                return Some(Err(HandlerFailure { attempts: attempt, error: text }));
            }
            if !self.breaker.is_paused() {
                tokio::select! {
                    () = self.stop.cancelled() => return None,
                    () = sleep(delays.next_delay()) => {}
                }
            }
            turn = self.turn(false).await?;
            if turn.has_waited {
                (delays, tries) = (settings.delays(), 0);
            }
            trying = self.attempt(delivery, attempt + 1);
        }
        None
    }

    /// Waits until the handler may be run; `None` when the work is over.
    async fn turn(&self, is_new: bool) -> Option<Turn<'_>> {
        tokio::select! {
            () = self.stop.cancelled() => None,
            turn = self.breaker.turn(is_new) => Some(turn),
        }
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
            let page = self.dispatcher.program.store().read_stream(stream, next, PAGE).await?;
            if page.is_empty() {
                return Ok(Ended::Drained(stream.clone(), to));
            }
            for record in page {
                let commit = record.commit().map_err(DecodeError::from)?;
                next = commit.last_version().next();
                let skip = from.saturating_sub(commit.first_version);
                let start = (record.position + skip).max(after.next());
                lanes.push(&Arc::new(DecodedCommit::new(&record)?), start, |_| false)?;
                while let Some(delivery) = lanes.next() {
                    if delivery.position() > to {
                        return Ok(Ended::Drained(stream.clone(), to));
                    }
                    match self.finish(&delivery, First::Drained).await {
                        None => return Ok(Ended::Interrupted(stream.clone())),
                        Some(Ok(())) => lanes.finish(&delivery),
                        Some(Err(failure)) => return Ok(Ended::StillFailing(delivery, failure)),
                    }
                }
            }
        }
    }
}
