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
        lanes::{Delivery, Lanes},
    },
    store::{Backoff, BoxFuture},
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
    /// The work is over.
    Cancelled,
}

pub(crate) struct HandlerFailure {
    pub(crate) attempts: u32,
    pub(crate) error: String,
}

/// One run of the handler on one event.
pub(crate) type Attempt = BoxFuture<'static, Result<(), Error>>;

/// What a task needs to run the handler.
#[derive(Clone)]
pub(crate) struct Task {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) handler: Arc<dyn EventHandler>,
    pub(crate) stop: CancellationToken,
}

/// Goes on with a delivery whose first attempt has begun.
pub(crate) async fn deliver(task: Task, delivery: Delivery, first: Attempt) -> Ended {
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
                () = task.stop.cancelled() => Ended::Cancelled,
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

    /// Tries an event until it is handled or has failed too often; `None` when the work is over.
    async fn finish(
        &self,
        delivery: &Delivery,
        mut trying: Attempt,
    ) -> Option<Result<(), HandlerFailure>> {
        let settings = self.dispatcher.settings;
        let mut backoff = Backoff::new(settings.first_delay, settings.longest_delay);
        for attempt in 1.. {
            let Err(error) = trying.await else { return Some(Ok(())) };
            let handler = self.handler.name();
            metrics::counter!(telemetry::EVENT_FAILURES, "handler" => handler).increment(1);
            tracing::warn!(handler, position = delivery.position().get(), attempt, %error, "an event handler failed");
            if attempt >= settings.attempts {
                return Some(Err(HandlerFailure { attempts: attempt, error: error.to_string() }));
            }
            tokio::select! {
                () = self.stop.cancelled() => return None,
                () = sleep(backoff.next_delay()) => {}
            }
            trying = self.attempt(delivery, attempt + 1);
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
                    let first = self.attempt(&delivery, 1);
                    match self.finish(&delivery, first).await {
                        None => return Ok(Ended::Cancelled),
                        Some(Ok(())) => lanes.finish(&delivery),
                        Some(Err(failure)) => return Ok(Ended::StillFailing(delivery, failure)),
                    }
                }
            }
        }
    }
}
