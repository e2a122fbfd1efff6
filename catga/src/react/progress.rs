//! How far a runner is.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::Held,
    log::{Position, StreamId, Version},
    react::{dead_letter_stream::DeadLetterStream, lanes::Lanes},
    store::Backoff,
};

/// How long a checkpoint may lag behind what is handled. After a crash, what is handled since is handled again.
pub(crate) const CHECKPOINT_EVERY: Duration = Duration::from_millis(100);

/// What changes while a runner runs.
pub(crate) struct RunnerProgress {
    pub(crate) held: Held,
    pub(crate) lanes: Lanes,
    /// Everything up to here was read.
    pub(crate) cursor: Position,
    pub(crate) parked: HashMap<StreamId, Parked>,
    /// How many of them are being drained.
    pub(crate) draining: usize,
    /// When which of them is tried again by itself.
    pub(crate) retries: BTreeSet<(Instant, StreamId)>,
    /// Where dead letters are written to.
    pub(crate) dead_letters: DeadLetterStream,
    /// The position of the last that was written there before the start. What the read models say of dead letters before
    /// they are there is old.
    pub(crate) dead_letters_at: Position,
    /// When the checkpoint is written next, if there is anything to write.
    pub(crate) save_at: Option<Instant>,
    /// Ends the deliveries, when the program or the turn of this node does.
    pub(crate) stop: CancellationToken,
}

impl RunnerProgress {
    pub(crate) fn save_within(&mut self, time: Duration) {
        let at = Instant::now() + time;
        self.save_at = Some(self.save_at.map_or(at, |earlier| earlier.min(at)));
    }
}

/// The drain of a parked stream.
pub(crate) struct Drain {
    /// The version that it began at.
    pub(crate) from: Version,
    pub(crate) stop: CancellationToken,
}

/// A parked stream.
pub(crate) struct Parked {
    /// The drain that is under way.
    pub(crate) drain: Option<Drain>,
    /// The waits between the retries that come by themselves, and how many of these are left.
    pub(crate) delays: Backoff,
    pub(crate) retries: u32,
    /// The version of the event that failed.
    pub(crate) from: Version,
    /// The last event of the stream that was left to the parked, as far as this runner knows.
    pub(crate) last_left: Position,
}
