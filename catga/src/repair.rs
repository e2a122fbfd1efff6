//! Repairing: giving event handlers a place to go on from, after a log lost the end that they had handled.

use crate::{
    cluster::{Checkpoint, Claim},
    log::{EventId, Position, Record, StoreError, Timestamp},
    store::{Backend, EventStore, PARTITIONS},
};

/// How many commits are read at once.
const PAGE: usize = 1000;

/// How far apart the clocks of two nodes may have been, in microseconds. What was committed so long before the event that was lost is taken
/// for handled; what came later is handled once more rather than never.
const CLOCKS: i64 = 60 * 1_000_000;

/// The checkpoint of an event handler on a partition whose event the log does not have any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostCheckpoint {
    /// The event handler.
    pub handler: String,
    /// The partition.
    pub partition: u16,
    /// Where the checkpoint is.
    pub position: Position,
    /// Where the handler can go on: everything up to here was handled for sure, and what comes behind it is handled,
    /// some of it maybe again.
    pub last_good: Position,
    claim: Claim,
    revision: u64,
}

/// Finds the checkpoints of `handlers` that a loss left behind the end of the log, so that the handlers stop. Nothing is changed.
///
/// The log may have grown again since. Where it was cut off is told by time: an event that was lost has an id with the time of
/// its commit, and what was committed a minute before that or earlier is from before the loss.
///
/// # Errors
/// [`StoreError`] when the store can't be read.
pub async fn lost_checkpoints(
    backend: &Backend,
    handlers: &[&str],
) -> Result<Vec<LostCheckpoint>, StoreError> {
    let (store, mut lost) = (&**backend.store(), Vec::new());
    for handler in handlers {
        for partition in 0..PARTITIONS {
            let Some(entry) = backend.kv().get(&Claim::key(handler, partition)).await? else {
                continue;
            };
            let claim = Claim::decode(&entry.value)?;
            // Those of another log are passed over by the handlers themselves.
            let is_ours = claim.log.is_none_or(|log| log == store.log_id());
            let Some(Checkpoint { position, event }) = claim.checkpoint.filter(|_| is_ours) else {
                continue;
            };
            if event_at(store, position).await? == Some(event) {
                continue;
            }
            let last_good = match time_of(event) {
                Some(time) => end_before(store, time, position).await?,
                None => Position::ZERO,
            };
            let (handler, revision) = ((*handler).to_owned(), entry.revision);
            lost.push(LostCheckpoint { handler, partition, position, last_good, claim, revision });
        }
    }
    Ok(lost)
}

/// Puts the checkpoint back to where the handler can go on. Answers `false`, with nothing done, when somebody else changed
/// it meanwhile.
///
/// # Errors
/// [`StoreError`] when the store can't be read or written.
pub async fn put_back(backend: &Backend, lost: &LostCheckpoint) -> Result<bool, StoreError> {
    let store = &**backend.store();
    let event = event_at(store, lost.last_good).await?;
    let checkpoint = event.map(|event| Checkpoint { position: lost.last_good, event });
    let claim = Claim { owner: None, checkpoint, log: Some(store.log_id()) };
    debug_assert!(claim.position() <= lost.claim.position(), "a repair skips nothing");
    let key = Claim::key(&lost.handler, lost.partition);
    Ok(backend.kv().put(&key, claim.encode(), lost.revision, None).await?.is_some())
}

/// The id of the event at `position`, if there is one.
async fn event_at(
    store: &dyn EventStore,
    position: Position,
) -> Result<Option<EventId>, StoreError> {
    if position == Position::ZERO {
        return Ok(None);
    }
    let page = store.read_log(position - 1, 1).await?;
    let Some(record) = page.first() else { return Ok(None) };
    record.event_at(position).map_err(StoreError::corrupt)
}

/// Before what time everything was committed before `event`, whatever node's clock told it; `None` when the id has no time.
fn time_of(event: EventId) -> Option<Timestamp> {
    let (seconds, nanoseconds) = event.get_timestamp()?.to_unix();
    let micros = i64::try_from(seconds).ok()?.checked_mul(1_000_000)?;
    Some(Timestamp::from_micros(micros + i64::from(nanoseconds / 1000) - CLOCKS))
}

/// The position before the first commit that was decided at `time` or later, and before `limit` at most.
async fn end_before(
    store: &dyn EventStore,
    time: Timestamp,
    limit: Position,
) -> Result<Position, StoreError> {
    let mut end = Position::ZERO;
    loop {
        let page = store.read_log(end, PAGE).await?;
        if page.is_empty() {
            return Ok(end);
        }
        for record in &page {
            let last = record.end().map_err(StoreError::corrupt)?;
            if last >= limit || is_from(record, time)? {
                return Ok(end);
            }
            end = last;
        }
    }
}

fn is_from(record: &Record, time: Timestamp) -> Result<bool, StoreError> {
    Ok(record.commit().map_err(StoreError::corrupt)?.time >= time)
}
