//! Commits that are appended and not yet synced.
//!
//! An append checks the version, gives the commit its place and encodes it, under one lock. So a group fills while the
//! one before it is being written, and the writing thread has little else to do. Later appends see the commit at once;
//! everyone else sees it when it is synced.

use std::{
    collections::{HashMap, VecDeque},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use foldhash::fast::RandomState;
use tokio::sync::{Semaphore, oneshot};

use super::{
    recovery::Address,
    segment::{HEADER, Header, RECORD, Record, small},
};
use crate::{
    log::{Position, StoreError, StreamId, Version},
    store::{Append, AppendError, Appended, index::Index},
};

/// How many appends may be queued; further ones wait until there is room.
const ROOM: usize = 4096;

/// The most commits that are synced at once.
const GROUP: usize = 512;

/// The most bytes of commits that are synced at once; one commit may be larger.
const GROUP_BYTES: usize = 4 << 20;

/// A group is written when no append has arrived for this part (1/LULL) of the time that it may wait.
const LULL: u32 = 4;

/// How long after an answer the same client is expected to append again.
const COMES_AGAIN: Duration = Duration::from_micros(1);

type Outcome = Result<Appended, AppendError>;

/// The queued commits, in the groups that they will be synced in.
pub(super) struct Pending {
    index: Arc<Index<Address>>,
    room: Semaphore,
    state: Mutex<Queue>,
    /// Notified when as many commits are queued as the writing thread wants, and when the store closes.
    filled: Condvar,
}

struct Queue {
    /// The last one may take more.
    groups: VecDeque<SyncGroup>,
    /// The versions of the streams that have unpublished commits, counting those commits.
    versions: HashMap<StreamId, Version, RandomState>,
    /// Where the next record goes.
    place: SegmentOffset,
    /// Of the next event.
    position: Position,
    /// How large a segment is, unless one commit needs more.
    segment_bytes: usize,
    /// How many were answered with the last group.
    answered: usize,
    /// How many commits the writing thread waits for; 0 when it does not wait.
    wanted: usize,
    is_closed: bool,
}

/// A place in the log. The next segment begins behind the last byte of one.
#[derive(Debug, Clone, Copy)]
pub(super) struct SegmentOffset {
    pub(super) segment: Header,
    pub(super) offset: usize,
}

/// Commits that are written with one call, and synced once.
pub(super) struct SyncGroup {
    pub(super) place: SegmentOffset,
    /// The encoded records.
    pub(super) bytes: Vec<u8>,
    pub(super) commits: Vec<QueuedCommit>,
    /// Appends that conflict with an unpublished commit, in this group or one before it. They are answered once it is
    /// published, since a reader must find the version that they are told.
    conflicts: Vec<(Version, oneshot::Sender<Outcome>)>,
}

/// A queued commit.
pub(super) struct QueuedCommit {
    pub(super) stream: StreamId,
    pub(super) version: Version,
    pub(super) events: usize,
    pub(super) address: Address,
    position: Position,
    /// Taken when it is answered.
    reply: Option<oneshot::Sender<Outcome>>,
}

impl Pending {
    pub(super) fn new(
        index: Arc<Index<Address>>,
        place: SegmentOffset,
        segment_bytes: usize,
    ) -> Self {
        let state = Queue {
            groups: VecDeque::new(),
            versions: HashMap::default(),
            place,
            position: index.head().next(),
            segment_bytes,
            answered: 0,
            wanted: 0,
            is_closed: false,
        };
        Self { index, room: Semaphore::new(ROOM), state: Mutex::new(state), filled: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends a commit as soon as there is room for it. What it answers tells how that ended.
    pub(super) async fn hand_in(
        &self,
        append: &Append<'_>,
    ) -> Result<oneshot::Receiver<Outcome>, AppendError> {
        let room = self.room.acquire().await.map_err(|_| AppendError::Refused(gone()))?;
        let answer = self.add(append)?;
        room.forget();
        Ok(answer)
    }

    pub(super) fn add(
        &self,
        append: &Append<'_>,
    ) -> Result<oneshot::Receiver<Outcome>, AppendError> {
        let (reply, answer) = oneshot::channel();
        let mut state = self.lock();
        if state.is_closed {
            return Err(AppendError::Refused(gone()));
        }
        let pending = state.versions.get(append.stream).copied();
        let actual = pending.unwrap_or_else(|| self.index.version(append.stream));
        if actual == append.version {
            state.add(append, reply);
        } else if pending.is_some() {
            state.group(0).conflicts.push((actual, reply));
        } else {
            return Err(AppendError::Conflict { actual });
        }
        // Each time somebody is told takes a call of the system, also when nobody waits.
        let is_enough = state.wanted > 0 && !state.is_short(state.wanted);
        if is_enough {
            state.wanted = 0;
        }
        drop(state);
        if is_enough {
            self.filled.notify_one();
        }
        Ok(answer)
    }

    /// The next group; `None` when no more come.
    ///
    /// Those who were answered with the group before come again one by one, and a sync takes about as long for one as
    /// for all of them. So while they keep coming, the group waits until there are as many, for half of `sync` at most:
    /// what the disk took for the last one. When it takes less than they need to come again, nobody is waited for.
    pub(super) fn next(&self, sync: Duration) -> Option<SyncGroup> {
        let mut state = self.lock();
        state.wanted = 1;
        let is_waiting = |state: &mut Queue| state.groups.is_empty() && !state.is_closed;
        state = self.filled.wait_while(state, is_waiting).unwrap_or_else(PoisonError::into_inner);
        let (begin, patience) = (Instant::now(), sync / 2);
        let is_faster = COMES_AGAIN.as_nanos() * state.answered as u128 <= sync.as_nanos();
        while is_faster && state.is_short(state.answered) {
            let (len, left) = (state.groups[0].len(), patience.saturating_sub(begin.elapsed()));
            if left.is_zero() {
                break;
            }
            state.wanted = state.answered;
            let waited = self.filled.wait_timeout(state, left.min(patience / LULL));
            let waited = waited.unwrap_or_else(PoisonError::into_inner);
            state = waited.0;
            if waited.1.timed_out() && state.groups[0].len() == len {
                break;
            }
        }
        state.wanted = 0;
        state.groups.pop_front()
    }

    /// Whether the thread that writes waits, for so many or for the first one.
    #[cfg(test)]
    pub(super) fn is_waited_for(&self) -> bool {
        self.lock().wanted > 0
    }

    /// After what is in `group` was published.
    pub(super) fn settle(&self, group: SyncGroup) {
        let mut state = self.lock();
        for commit in &group.commits {
            let end = commit.version + commit.events as u64;
            if state.versions.get(&commit.stream) == Some(&end) {
                state.versions.remove(&commit.stream);
            }
        }
        state.answered = group.len();
        drop(state);
        self.room.add_permits(group.len());
        for (actual, reply) in group.conflicts {
            answer(reply, Err(AppendError::Conflict { actual }));
        }
    }

    /// After `group` was not written, or only perhaps (`is_in_doubt`). What waits behind it rests on it, so it is
    /// refused, and what comes next goes to `place`.
    pub(super) fn fail(
        &self,
        group: SyncGroup,
        place: SegmentOffset,
        why: &str,
        is_in_doubt: bool,
    ) {
        let mut state = self.lock();
        let behind = std::mem::take(&mut state.groups);
        state.versions.clear();
        state.place = place;
        state.position = self.index.head().next();
        drop(state);
        let refused = || AppendError::Refused(StoreError::unavailable(why));
        let in_doubt = || AppendError::Unknown(StoreError::unavailable(why));
        self.refuse(group, if is_in_doubt { &in_doubt } else { &refused });
        for group in behind {
            self.refuse(group, &refused);
        }
    }

    fn refuse(&self, mut group: SyncGroup, error: &dyn Fn() -> AppendError) {
        self.room.add_permits(group.len());
        for commit in &mut group.commits {
            commit.answer(Err(error()));
        }
        for (_, reply) in group.conflicts {
            answer(reply, Err(error()));
        }
    }

    /// Takes no more. What waits is still given out.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.room.close();
        self.filled.notify_one();
    }

    /// When nobody writes any more: takes no more, and leaves what waits without an answer.
    pub(super) fn abandon(&self) {
        self.close();
        self.lock().groups.clear();
    }
}

impl Queue {
    fn add(&mut self, append: &Append<'_>, reply: oneshot::Sender<Outcome>) {
        let frame = &append.frame[..];
        let position = self.position;
        let group = self.group(RECORD + frame.len());
        let SegmentOffset { segment, offset } = group.place;
        let address = Address {
            segment: small(usize::try_from(segment.number).unwrap_or(usize::MAX)),
            offset: small(group.end()),
            length: small(frame.len()),
        };
        // It is written after all before the group was synced.
        Record { synced: offset, position, frame }.encode(&segment.log, &mut group.bytes);
        let (stream, version, events) = (append.stream.clone(), append.version, append.events);
        let end = group.end();
        group.commits.push(QueuedCommit {
            stream: stream.clone(),
            version,
            events,
            address,
            position,
            reply: Some(reply),
        });
        self.place = SegmentOffset { segment, offset: end };
        self.position += events as u64;
        self.versions.insert(stream, version + events as u64);
    }

    /// Whether the first group takes more, and has fewer than `wanted`. Once another one has begun, it takes no more.
    fn is_short(&self, wanted: usize) -> bool {
        !self.is_closed && self.groups.len() == 1 && self.groups[0].len() < wanted
    }

    /// The group that takes `bytes` more.
    fn group(&mut self, bytes: usize) -> &mut SyncGroup {
        if !self.groups.back().is_some_and(|last| last.takes(bytes)) {
            let SegmentOffset { segment, offset } = self.place;
            if (offset + bytes) as u64 > segment.size {
                let segment = Header {
                    number: segment.number + 1,
                    position: self.position,
                    size: self.segment_bytes.max(HEADER + bytes) as u64,
                    ..segment
                };
                self.place = SegmentOffset { segment, offset: HEADER };
            }
            self.groups.push_back(SyncGroup {
                place: self.place,
                bytes: Vec::new(),
                commits: Vec::new(),
                conflicts: Vec::new(),
            });
        }
        self.groups.back_mut().expect("there is one that takes it")
    }
}

impl SyncGroup {
    /// Behind its last byte, in the segment.
    pub(super) fn end(&self) -> usize {
        self.place.offset + self.bytes.len()
    }

    fn takes(&self, bytes: usize) -> bool {
        let has_room = (self.end() + bytes) as u64 <= self.place.segment.size;
        let is_full = self.commits.len() >= GROUP || self.bytes.len() + bytes > GROUP_BYTES;
        has_room && (self.bytes.is_empty() || !is_full)
    }

    /// How many appends wait for it.
    fn len(&self) -> usize {
        self.commits.len() + self.conflicts.len()
    }
}

impl QueuedCommit {
    /// Tells who waits that the commit is there.
    pub(super) fn acknowledge(&mut self) {
        let position = self.position;
        self.answer(Ok(Appended { position, token: 0 }));
    }

    fn answer(&mut self, outcome: Outcome) {
        if let Some(reply) = self.reply.take() {
            answer(reply, outcome);
        }
    }
}

fn answer(reply: oneshot::Sender<Outcome>, outcome: Outcome) {
    // Whoever asked may have given up; the outcome stands.
    let _ = reply.send(outcome);
}

pub(super) fn gone() -> StoreError {
    StoreError::ended("the writer of the log has ended; start again to write on")
}
