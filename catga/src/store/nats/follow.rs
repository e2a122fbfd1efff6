//! Following the log, so that its head and its end are known without asking.
//!
//! A consumer brings what other nodes append. It also brings this node's own commits, which costs the server and the
//! client as much as appending them did. So while only this node appends, the consumer is dropped and the answers to
//! the appends are used: they say the sequence of each commit. When they leave a gap, or no append is under way, a
//! consumer is made again.

use std::{
    convert::Infallible,
    future::pending,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use tokio::time::{MissedTickBehavior, interval, sleep};

use super::{
    log::{LogConsumer, Message, NatsLog},
    message::{last_position, sequence_after},
    publication::locked,
};
use crate::{log::StoreError, store::Backoff};

/// How often the end of the log is checked, beside what the consumer brings.
const LOOK: Duration = Duration::from_secs(1);

/// How often several servers are asked for a commit before it is taken for lost.
const ASKED: u32 = 3;

/// Check after this many commits whether all were our own. Until then the server sends a node that begins to write each of
/// its commits back, and its clients wait longer. Fewer would give false results: a commit that arrives before its answer
/// counts as another node's, and by chance nearly all of a few could be our own although others write too.
const ALONE: u64 = 128;

/// As [`ALONE`], after another node's commit. A node that writes now and then would otherwise cost a new consumer each time.
const NOT_ALONE: u64 = 4 * ALONE;

/// How often to check whether the answers leave a gap, or no append is under way.
const MOMENT: Duration = Duration::from_millis(2);

/// Make a consumer again after seeing the same gap this many times: another node's commit is then known at most three
/// moments late. On busy processors an answer is often late by one moment, behind those to hundreds of other appends.
const LOOKS: u32 = 2;

impl NatsLog {
    /// Follows the log for as long as the store is open, over every outage of the server.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut backoff = new_backoff();
        loop {
            let Err(error) = self.follow_connected(&mut backoff).await;
            if self.head.check().is_err() {
                // There is nothing that could be followed until the store is opened anew.
                return;
            }
            tracing::debug!(%error, "NATS is followed anew");
            // What follows is not next to what is kept.
            locked(&self.recent).begin(0);
            sleep(backoff.next_delay()).await;
        }
    }

    async fn follow_connected(&self, backoff: &mut Backoff) -> Result<Infallible, StoreError> {
        let lost = self.topic.lost();
        self.check_last().await?;
        locked(&self.recent).begin(sequence_after(self.head.position()));
        tokio::select! {
            // The client would make the consumer anew by itself, on whatever is there then.
            error = lost => Err(error),
            stopped = self.look() => stopped,
            stopped = self.follow_end(backoff) => stopped,
        }
    }

    /// After an outage others may have filled the places of commits that were lost.
    async fn check_last(&self) -> Result<(), StoreError> {
        let Some(last) = locked(&self.recent).last().cloned() else { return Ok(()) };
        let mut asked = 0;
        let is_there = loop {
            asked += 1;
            match (self.topic.get(last.token).await, &self.barriers) {
                (Ok(message), _) => break message.payload == last.frame,
                (Err(error), _) if error.is_unavailable() => return Err(error),
                // A server that is behind the others may not have it yet.
                (Err(_), Some(barriers)) if asked < ASKED => {
                    self.pass_barrier(barriers).await?;
                    sleep(LOOK).await;
                }
                (Err(_), _) => break false,
            }
        };
        if !is_there {
            self.head.lose("the last commit that was seen is not there");
        }
        Ok(())
    }

    /// Checks regularly whether the server still has what was seen, and whether all that it has was followed.
    async fn look(&self) -> Result<Infallible, StoreError> {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut missing = None;
        loop {
            look.tick().await;
            // What was seen before the server is asked can't be more than it has, if it lost nothing.
            let seen = self.seen();
            let end = self.ask_end().await?;
            if end < seen {
                self.check_end(seen).await?;
            }
            if self.barriers.is_none() {
                self.head.rise_to(last_position(end), || ());
            }
            // The client finds out late that a server which was away has forgotten the consumer.
            let next = locked(&self.recent).next();
            let mut is_behind = next <= end;
            if is_behind && self.barriers.is_some() {
                // Barriers at the end may be gone by now.
                is_behind = self.topic.next(next).await?.is_some();
            }
            let is_behind = is_behind.then_some(next);
            if is_behind.is_some() && is_behind == missing {
                return Err(StoreError::unavailable("the consumer stands still"));
            }
            missing = is_behind;
        }
    }

    async fn follow_end(&self, backoff: &mut Backoff) -> Result<Infallible, StoreError> {
        let mut alone = ALONE;
        loop {
            let cursor = self.follow_all(alone, backoff).await?;
            let has_gap = tokio::select! {
                has_gap = self.follow_ours() => has_gap,
                // Nobody waits for it: a user may not be allowed to delete consumers.
                has_gap = async { cursor.close(&self.topic).await; pending().await } => has_gap,
            };
            alone = if has_gap { NOT_ALONE } else { ALONE };
        }
    }

    /// Takes in what everybody appends, until so many were only ours. Answers the consumer that is not needed then.
    async fn follow_all(
        &self,
        alone: u64,
        backoff: &mut Backoff,
    ) -> Result<LogConsumer, StoreError> {
        let next = locked(&self.recent).next();
        let mut cursor = LogConsumer::new(&self.topic, next).await?;
        loop {
            let ours = locked(&self.recent).ours();
            for _ in 0..alone {
                let message = cursor.next_checked(&self.topic).await?;
                self.take_in(|recent| match message {
                    Message::Commit(commit) => recent.put(commit.record()),
                    Message::Barrier(sequence) => recent.pass(sequence),
                });
                *backoff = new_backoff();
            }
            // Some that came were not answered yet.
            if locked(&self.recent).ours() - ours >= alone - alone / 8 {
                return Ok(cursor);
            }
        }
    }

    /// Leaves it to the answers to our appends to say what is in the log, for as long as there are any. When they leave a
    /// gap that stays, another node's commit is in it. Answers whether it is that.
    async fn follow_ours(&self) -> bool {
        let (mut known, mut looks) = (0, 0);
        loop {
            let (next, has_gap) = {
                let recent = locked(&self.recent);
                (recent.next(), recent.has_gap())
            };
            let is_quiet = self.appending.load(Ordering::Relaxed) == 0;
            let is_still = next == known && (has_gap || is_quiet);
            looks = if is_still { looks + 1 } else { 0 };
            if is_still && (is_quiet || looks == LOOKS) {
                return has_gap;
            }
            known = next;
            sleep(MOMENT).await;
        }
    }
}

fn new_backoff() -> Backoff {
    Backoff::new(Duration::from_millis(10), Duration::from_millis(250))
}
