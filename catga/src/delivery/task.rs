//! One delivery, with its attempts, and the drain of one parked stream.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::{
    EventHandler,
    feed::Fed,
    lanes::{Delivery, Lanes},
};
use crate::{
    DecodeError, Error, Position, StreamId, Version, retry::Backoff, runtime::Runtime, telemetry,
};

/// How many commits of a parked stream are read at once.
const PAGE: usize = 256;

/// How a delivery, or the drain of a parked stream, ended.
pub(super) enum Ended {
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

pub(super) struct Failure {
    pub(super) attempts: u32,
    pub(super) error: String,
}

/// What a task needs to run the handler.
#[derive(Clone)]
pub(super) struct Task {
    pub(super) runtime: Arc<Runtime>,
    pub(super) handler: Arc<dyn EventHandler>,
    pub(super) stop: CancellationToken,
}

pub(super) async fn deliver(task: Task, delivery: Delivery) -> Ended {
    match task.attempt(&delivery).await {
        Some(Ok(())) => Ended::Handled(delivery),
        Some(Err(failure)) => Ended::Failed(delivery, failure),
        None => Ended::Cancelled,
    }
}

/// Delivers what is parked of `stream`, in order: from version `from` and above position `after`, up to
/// position `to`.
pub(super) async fn drain(
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
