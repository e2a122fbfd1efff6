//! The relay: brings the log to the transport, in order, from where the transport ends.
//!
//! It runs on one node of a cluster at a time. It keeps no checkpoint: the transport is its own, and takes commits
//! only behind the last one it has, so a crash repeats nothing and of two relays one is refused.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Leases, Over, Work},
    log::{Position, Record, StoreError},
    model::{DecodeError, Error},
    react::WorkState,
    store::{Backoff, EventStore, RUNS_WELL, Transport},
};

/// How many commits are published at once.
const PAGE: usize = 256;

/// From one log to one transport.
pub(crate) struct Relay {
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) state: Arc<WorkState>,
}

impl Relay {
    /// Runs until `shutdown`, or until the transport turns out to hold another log.
    pub(crate) async fn run(&self, leases: &Leases, shutdown: CancellationToken) {
        let (first, longest) = (Duration::from_millis(20), Duration::from_secs(1));
        let mut backoff = Backoff::new(first, longest);
        loop {
            let outcome = tokio::select! {
                // Who has just handed over must not claim again.
                biased;
                () = shutdown.cancelled() => return,
                held = leases.claim(Work::Relay, false) => match held {
                    Ok(held) => {
                        self.state.set_held(true);
                        let begun = Instant::now();
                        let over = held.over();
                        let outcome = tokio::select! {
                            outcome = self.state.guard(self.work()) => outcome,
                            over = over => Ok(over),
                            () = shutdown.cancelled() => Ok(Over::Reassigned),
                        };
                        self.state.set_held(false);
                        if begun.elapsed() > RUNS_WELL {
                            backoff = Backoff::new(first, longest);
                        }
                        match outcome {
                            Ok(Over::Reassigned) => held.release(None).await.map_err(Error::from),
                            Ok(Over::Lost) => Ok(()),
                            Err(error) => Err(error),
                        }
                    }
                    Err(error) => Err(error.into()),
                },
            };
            let Err(error) = outcome else { continue };
            if !error.is_retryable() {
                tracing::error!(%error, "the relay stopped");
                self.state.set_stopped(error.to_string());
                shutdown.run_until_cancelled(leases.give_back(Work::Relay, false)).await;
                return;
            }
            tracing::warn!(%error, "the relay starts again");
            tokio::select! {
                () = shutdown.cancelled() => return,
                () = sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// Publishes what comes, for as long as it goes well.
    async fn work(&self) -> Result<Over, Error> {
        let mut end = self.find_end().await?;
        loop {
            end = self.publish_after(end).await?;
            self.store.wait(end).await?;
        }
    }

    /// Publishes what the log has by now.
    pub(crate) async fn catch_up(&self) -> Result<Position, Error> {
        let end = self.find_end().await?;
        self.publish_after(end).await
    }

    async fn publish_after(&self, mut end: Position) -> Result<Position, Error> {
        loop {
            let page = self.store.read_log(end, PAGE).await?;
            let Some(last) = page.last() else { return Ok(end) };
            end = if self.transport.publish(end, &page).await? {
                last.end().map_err(DecodeError::from)?
            } else {
                // Somebody else did, or the transport lost its end.
                self.find_end().await?
            };
            self.state.set_position(end);
        }
    }

    /// Where the transport ends.
    ///
    /// # Errors
    /// When what it has there is not what the log has.
    async fn find_end(&self) -> Result<Position, Error> {
        let end = self.transport.end().await?;
        if end > 0 && is_copy(&*self.transport, &*self.store, end - 1).await? != Some(true) {
            return Err(other_log());
        }
        self.state.set_position(end);
        Ok(end)
    }
}

/// Whether what the transport has first behind `after` is what the log has there; `None` when it has nothing.
pub(crate) async fn is_copy(
    transport: &dyn Transport,
    store: &dyn EventStore,
    after: Position,
) -> Result<Option<bool>, StoreError> {
    let theirs = transport.read(after, 1).await?;
    let Some(theirs) = theirs.first() else { return Ok(None) };
    let ours = store.read_log(after, 1).await?;
    let is_same = |ours: &Record| (ours.position, &ours.frame) == (theirs.position, &theirs.frame);
    Ok(Some(ours.first().is_some_and(is_same)))
}

fn other_log() -> Error {
    StoreError::corrupt("the transport holds another log than the store, or more of it").into()
}
