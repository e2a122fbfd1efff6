//! Waiting until there is nothing left to do: for tests of what events cause.

use std::{sync::Arc, time::Duration};

use tokio::time::sleep;

use crate::{
    cluster::Work,
    log::Position,
    model::{DecodeError, Error, ErrorKind},
    react::WorkState,
    runtime::{background::Runtime, catga::Catga},
    store::{PARTITIONS, partition_of},
};

/// How often the event handlers are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// How many commits are read at once.
const PAGE: usize = 512;

impl Catga {
    /// Returns once everything in the log is in the read models, and handled or parked by every event handler of this node,
    /// with whatever they have added to the log meanwhile. In a cluster it waits for the handlers that this node
    /// has now, and not for those of others.
    ///
    /// It is for tests: while others write it may never return, and it reads what the handlers have before them.
    ///
    /// ```standalone_crate
    /// # use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
    /// # use catga::prelude::*; use serde::{Serialize, Deserialize};
    /// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)] #[event(name = "DocRung", version = 1)] struct Rung {}
    /// # #[derive(Debug, Clone, PartialEq, Event)] enum BellEvent { Rung(Rung) }
    /// # #[derive(Debug, Clone, Default)] struct Bell;
    /// # impl Aggregate for Bell { type Event = BellEvent; const NAME: &'static str = "docbell"; fn apply(&mut self, _: BellEvent) {} }
    /// # #[derive(Debug, Clone, Serialize, Command)] #[command(name = "doc.ring")] struct Ring { #[key] bell: String }
    /// # #[command_handler] fn ring(_: Ring, bell: &mut Root<Bell>) -> Result<(), catga::Error> { bell.record(Rung {}); Ok(()) }
    /// static HEARD: AtomicU64 = AtomicU64::new(0);
    ///
    /// #[event_handler(name = "ears")]
    /// async fn hear(_: Recorded<Rung>) -> Result<(), std::convert::Infallible> {
    ///     HEARD.fetch_add(1, SeqCst);
    ///     Ok(())
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let catga = Catga::builder().start().await?;
    /// catga.send(Ring { bell: "door".to_owned() }).await?;
    /// catga.idle().await?;
    /// assert_eq!(HEARD.load(SeqCst), 1);
    /// # catga.shutdown().await; Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`Error`] when the store can't be read, or when the read models or an event handler have stopped for good,
    /// or an event handler is paused, as every event fails.
    pub async fn idle(&self) -> Result<(), Error> {
        let program = &self.runtime.program;
        let mut head = program.store().head().await?;
        loop {
            program.progress.wait_for(head).await?;
            if let Some(reason) = program.progress.now().failed.into_iter().next() {
                return Err(ErrorKind::ReadModel(reason).into());
            }
            self.runtime.wait_for_handlers(head).await?;
            let now = program.store().head().await?;
            if now == head {
                return Ok(());
            }
            head = now;
        }
    }
}

impl Runtime {
    /// Waits until every event handler of this node has done what its partitions have up to `head`.
    async fn wait_for_handlers(&self, head: Position) -> Result<(), Error> {
        // A node alone has all the work, also what it has not begun yet.
        let is_alone = self.dispatcher.leases.is_member().is_none();
        let is_mine = |work: &&Arc<WorkState>| is_alone || work.is_held();
        let after = self.runners.iter().filter(is_mine).map(|work| work.position()).min();
        let Some(after) = after else { return Ok(()) };
        let ends = self.ends_of_partitions(after, head).await?;
        for work in &self.runners {
            let Work::Handler { name, partition } = work.work else { continue };
            let end = ends[usize::from(partition)];
            while is_mine(&work) && work.position() < end {
                if let Some(reason) = work.stopped() {
                    return Err(Error::misuse(format!("{} stopped: {reason}", work.work)));
                }
                let breaker = self.breakers.iter().find(|breaker| breaker.handler() == name);
                if let Some((_, reason)) = breaker.and_then(|breaker| breaker.pause()) {
                    return Err(Error::misuse(format!("{name} is paused: {reason}")));
                }
                sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }

    /// The position of the last event of each partition, of those above `after` and up to `head`.
    async fn ends_of_partitions(
        &self,
        mut after: Position,
        head: Position,
    ) -> Result<[Position; PARTITIONS as usize], Error> {
        let mut ends = [Position::default(); PARTITIONS as usize];
        while after < head {
            let page = self.program.store().read_log(after, PAGE).await?;
            if page.is_empty() {
                break;
            }
            for record in &page {
                let commit = record.commit().map_err(DecodeError::from)?;
                after = commit.last_position(record.position);
                ends[usize::from(partition_of(commit.stream))] = after;
            }
        }
        Ok(ends)
    }
}
