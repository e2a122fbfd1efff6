//! Migrating: copying a log from one store to another.

use std::collections::HashMap;

use crate::{
    cluster::{Checkpoint, Claim},
    log::{Commit, FrameError, Position, Record, StoreError, StreamId, Version},
    store::{Append, AppendError, Backend, EventStore, PARTITIONS},
};

/// How many commits are read at once.
const PAGE: usize = 1000;

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// What is being done.
    pub step: CopyStep,
    /// The position in the source.
    pub position: Position,
    /// Where the step ends.
    pub end: Position,
}

/// The steps of a copy, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyStep {
    /// What an earlier, interrupted copy left in the target is compared.
    Resume,
    /// Commits are written to the target.
    Copy,
    /// The whole target is read and compared.
    Verify,
}

/// What a copy did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copied {
    /// How many commits were written.
    pub written: u64,
    /// How many commits were there already, from a copy before.
    pub found: u64,
    /// How many event handlers go on where they were.
    pub checkpoints: u64,
}

/// Why a copy stopped. What was written stays, and the same call goes on from there.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CopyError {
    /// The source can't be read.
    #[error("the source: {0}")]
    Source(StoreError),
    /// The target can't be read or written.
    #[error("the target: {0}")]
    Target(StoreError),
    /// The source holds something that is no commit.
    #[error("the source, at position {0}: {1}")]
    Frame(Position, FrameError),
    /// The target holds something else than the source: another log, or more than the source.
    #[error(
        "the target holds another log: it differs from the source at the source's position {0}"
    )]
    Differs(Position),
}

/// Copies the log of `from` to `to`, which is empty or holds the result of an earlier, interrupted copy, and
/// compares all of it in the end. Streams, versions, event ids, times and order stay; positions may differ. Commits
/// that are added to the source meanwhile are left out.
///
/// The checkpoints of `handlers` move along, so that nothing is delivered again; those that the target has stay.
/// Snapshots don't move: they are made again when they are missed.
///
/// # Errors
/// [`CopyError`]; a call with the same stores goes on where this one stopped.
pub async fn copy(
    from: &Backend,
    to: &Backend,
    handlers: &[&str],
    progress: impl Fn(CopyProgress),
) -> Result<Copied, CopyError> {
    let (source, target) = (&**from.store(), &**to.store());
    let end = source.head().await.map_err(CopyError::Source)?;
    let report = |step| {
        let progress = &progress;
        move |position| progress(CopyProgress { step, position, end })
    };
    let (after, found) = compare(source, target, end, report(CopyStep::Resume)).await?;
    let written = write(source, target, after, end, report(CopyStep::Copy)).await?;
    let (same, _) = compare(source, target, end, report(CopyStep::Verify)).await?;
    if same < end {
        return Err(CopyError::Differs(same + 1));
    }
    let checkpoints = move_checkpoints(from, to, handlers).await?;
    Ok(Copied { written, found, checkpoints })
}

fn decode(record: &Record) -> Result<Commit<'_>, CopyError> {
    record.commit().map_err(|error| CopyError::Frame(record.position, error))
}

/// Compares all of `to` with the begin of `from`. Answers the source's position up to which they are the same, and
/// how many commits that are.
async fn compare(
    from: &dyn EventStore,
    to: &dyn EventStore,
    end: Position,
    progress: impl Fn(Position),
) -> Result<(Position, u64), CopyError> {
    let (mut here, mut there, mut commits) = (Position::ZERO, Position::ZERO, 0);
    loop {
        let theirs = to.read_log(there, PAGE).await.map_err(CopyError::Target)?;
        if theirs.is_empty() {
            return Ok((here, commits));
        }
        let ours = from.read_log(here, theirs.len()).await.map_err(CopyError::Source)?;
        if ours.is_empty() {
            return Err(CopyError::Differs(here.next()));
        }
        // Either page may be shorter than asked for; what is left of the other is read again.
        for (ours, theirs) in ours.iter().zip(&theirs) {
            if here >= end || ours.frame != theirs.frame {
                return Err(CopyError::Differs(here.next()));
            }
            let commit = decode(ours)?;
            here = commit.last_position(ours.position);
            there = commit.last_position(theirs.position);
            commits += 1;
        }
        progress(here);
    }
}

/// Appends what `from` holds above `after`, one after the other, so that whatever happens the target holds a
/// beginning of the log. Answers how many commits that were.
async fn write(
    from: &dyn EventStore,
    to: &dyn EventStore,
    mut after: Position,
    end: Position,
    progress: impl Fn(Position),
) -> Result<u64, CopyError> {
    let mut commits = 0;
    // What the target wants for the next commit of each stream.
    let mut tokens = HashMap::new();
    while after < end {
        let page = from.read_log(after, PAGE).await.map_err(CopyError::Source)?;
        let page = &page[..page.partition_point(|record| record.position <= end)];
        if page.is_empty() {
            return Err(CopyError::Source(StoreError::corrupt("the log lost its end")));
        }
        for record in page {
            after = append(to, record, &mut tokens).await?;
        }
        commits += page.len() as u64;
        progress(after);
    }
    Ok(commits)
}

/// Appends one commit. Answers its last position in the source.
async fn append(
    to: &dyn EventStore,
    record: &Record,
    tokens: &mut HashMap<StreamId, u64>,
) -> Result<Position, CopyError> {
    let commit = decode(record)?;
    let stream = commit.stream_id().map_err(|e| CopyError::Frame(record.position, e))?;
    let version = commit.first_version - 1;
    let token = match tokens.get(&stream) {
        Some(token) => *token,
        None if version == 0 => 0,
        None => token_at(to, &stream, version).await?,
    };
    let (events, frame) = (commit.events.len(), record.frame.clone());
    let appended = to.append(Append { stream: &stream, version, token, events, frame }).await;
    let token = match appended {
        Ok(appended) => appended.token,
        Err(AppendError::Conflict { .. }) => return Err(CopyError::Differs(record.position)),
        Err(AppendError::Refused(error) | AppendError::Unknown(error)) => {
            return Err(CopyError::Target(error));
        }
    };
    tokens.insert(stream, token);
    Ok(commit.last_position(record.position))
}

/// The target's token of the commit that ends at `version`.
async fn token_at(
    to: &dyn EventStore,
    stream: &StreamId,
    version: Version,
) -> Result<u64, CopyError> {
    let found = to.read_stream(stream, version, 1).await.map_err(CopyError::Target)?;
    let missing =
        || CopyError::Target(StoreError::corrupt(format!("stream {stream} lost its end")));
    Ok(found.first().ok_or_else(missing)?.token)
}

async fn move_checkpoints(
    from: &Backend,
    to: &Backend,
    handlers: &[&str],
) -> Result<u64, CopyError> {
    let mut moved = 0;
    for handler in handlers {
        let mut is_moved = false;
        for partition in 0..PARTITIONS {
            let key = Claim::key(handler, partition);
            let Some(entry) = from.kv().get(&key).await.map_err(CopyError::Source)? else {
                continue;
            };
            let claim = Claim::decode(&entry.value).map_err(CopyError::Source)?;
            let Some(mut checkpoint) = claim.checkpoint else { continue };
            let position = position_of(&**from.store(), &**to.store(), checkpoint).await?;
            let Some(position) = position else { continue };
            checkpoint.position = position;
            let (checkpoint, log) = (Some(checkpoint), Some(to.store().log_id()));
            let claim = Claim { owner: None, checkpoint, log };
            let put = to.kv().put(&key, claim.encode(), 0, None).await;
            is_moved |= put.map_err(CopyError::Target)?.is_some();
        }
        moved += u64::from(is_moved);
    }
    Ok(moved)
}

/// The target's position of the event at `checkpoint` in the source; `None` when the source lost it.
async fn position_of(
    from: &dyn EventStore,
    to: &dyn EventStore,
    Checkpoint { position, event }: Checkpoint,
) -> Result<Option<Position>, CopyError> {
    let ours = from.read_log(position - 1, 1).await.map_err(CopyError::Source)?;
    let Some(ours) = ours.first() else { return Ok(None) };
    let commit = decode(ours)?;
    let Some(at) = commit.events.iter().position(|e| e.id == event) else { return Ok(None) };
    let stream = commit.stream_id().map_err(|e| CopyError::Frame(position, e))?;
    let theirs = to.read_stream(&stream, commit.first_version, 1).await;
    let theirs = theirs.map_err(CopyError::Target)?;
    Ok(theirs.first().map(|theirs| theirs.position + at as u64))
}
