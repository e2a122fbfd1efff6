//! Bounded load on an [`EventStore`], by writers that behave like the runtime: they append at the
//! version they know, stay with a commit in doubt until its end is known, and read again after a
//! conflict. What they see goes into a [`Recorder`].

pub mod http;
mod reads;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use catga::{
    log::{Commit, EventFrame, Position, Record, StreamId, Version},
    store::{Append, AppendError, Appended, EventStore, StoreError},
    testing,
};
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{Instant, sleep, timeout_at},
};
use uuid::Uuid;

use crate::{
    dice::Dice,
    history::{Outcome, Recorder, Sent, Stored, Tail, digest},
};

/// How long a writer waits before it asks a store again that did not answer.
const PAUSE: Duration = Duration::from_millis(5);

/// How many commits are read at once.
const PAGE: usize = 500;

/// What to do to a store.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How many writers append at once.
    pub writers: usize,
    /// How many readers follow the log meanwhile.
    pub readers: usize,
    /// How many streams they share.
    pub streams: usize,
    /// How many appends are begun, over all writers.
    pub commits: usize,
    /// When no more is begun, and what is in doubt stays so.
    pub time: Duration,
    /// The most events a commit has; each has at least one.
    pub events: usize,
    /// How many bytes each event has.
    pub payload: usize,
    /// Makes the choices of streams and sizes repeatable.
    pub seed: u64,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            writers: 8,
            readers: 1,
            streams: 20,
            commits: 1000,
            time: Duration::from_secs(10),
            events: 3,
            payload: 100,
            seed: 1,
        }
    }
}

/// Ends a load before its plan does: what is under way then is in doubt.
#[derive(Debug, Clone, Default)]
pub struct Stop(watch::Sender<bool>);

impl Stop {
    /// Ends it.
    pub fn now(&self) {
        self.0.send_replace(true);
    }

    /// Whether it has ended.
    pub fn is_now(&self) -> bool {
        *self.0.borrow()
    }

    /// Returns once it has ended.
    pub async fn wait(&self) {
        let mut stop = self.0.subscribe();
        stop.wait_for(|stop| *stop).await.expect("its sender is here");
    }
}

/// Appends to `store` as `plan` says, until the plan's end or `stop`.
///
/// # Panics
/// When a frame comes back damaged.
pub async fn append(
    store: Arc<dyn EventStore>,
    plan: &Plan,
    recorder: &Arc<Recorder>,
    stop: &Stop,
) {
    let begun = Arc::new(AtomicUsize::new(0));
    let deadline = Instant::now() + plan.time;
    let is_written = Stop::default();
    // Tasks of their own, so that they run at the same time on several threads.
    let (mut readers, mut writers) = (JoinSet::new(), JoinSet::new());
    for _ in 0..plan.readers {
        let (store, recorder) = (store.clone(), recorder.clone());
        readers.spawn(follow(store, recorder, stop.clone(), is_written.clone()));
    }
    for client in 0..plan.writers {
        let writer = Writer {
            store: store.clone(),
            plan: plan.clone(),
            recorder: recorder.clone(),
            stop: stop.clone(),
            client,
            deadline,
            dice: Dice::new(plan.seed ^ (client as u64) << 32),
            ends: HashMap::new(),
        };
        writers.spawn(writer.run(begun.clone()));
    }
    writers.join_all().await;
    is_written.now();
    readers.join_all().await;
}

/// Reads the log as it grows, until the load stops or has ended and all of it is read.
async fn follow(store: Arc<dyn EventStore>, recorder: Arc<Recorder>, stop: Stop, is_written: Stop) {
    let (mut tail, mut after) = (Tail::default(), Position::ZERO);
    let reading = async {
        loop {
            let is_last = is_written.is_now();
            // Small pages, so that the reader is in the middle of things.
            let page = store.read_log(after, 7).await.unwrap_or_default();
            match page.last() {
                Some(last) => after = decoded(last).last_position(last.position),
                None if is_last => return,
                None => sleep(PAUSE).await,
            }
            let given = |record: &Record| (record.position, decoded(record).id().to_string());
            tail.commits.extend(page.iter().map(given));
        }
    };
    tokio::select! {
        () = reading => {}
        () = stop.wait() => {}
    }
    recorder.tail(tail);
}

struct Writer {
    store: Arc<dyn EventStore>,
    plan: Plan,
    recorder: Arc<Recorder>,
    stop: Stop,
    client: usize,
    deadline: Instant,
    dice: Dice,
    /// The version and token that each stream had when last seen.
    ends: HashMap<usize, (Version, u64)>,
}

impl Writer {
    async fn run(mut self, begun: Arc<AtomicUsize>) {
        while begun.fetch_add(1, Ordering::SeqCst) < self.plan.commits
            && !self.stop.is_now()
            && Instant::now() < self.deadline
        {
            tokio::task::yield_now().await;
            // Mostly a stream of its own, or nearly every append would conflict; and after a conflict
            // the same one again, as the runtime runs its handler again.
            let own = self.client % self.plan.streams;
            let any = self.dice.index(self.plan.streams);
            let stream = if self.dice.below(4) == 0 { any } else { own };
            for _ in 0..3 {
                if self.append(stream).await != Outcome::Failed {
                    break;
                }
            }
        }
    }

    /// One commit, from its first sending to a known end.
    async fn append(&mut self, number: usize) -> Outcome {
        let stream = stream(number);
        let (version, token) = self.ends.get(&number).copied().unwrap_or_default();
        let events = 1 + self.dice.index(self.plan.events);
        let (frame, id) = self.frame(&stream, version, events);
        let sent = Sent {
            stream: stream.to_string(),
            id: id.to_string(),
            events: events as u64,
            digest: digest(&frame),
        };
        let append = Append { stream: &stream, version, token, events, frame };
        let called = self.recorder.now();
        let ended = tokio::select! {
            biased;
            ended = timeout_at(self.deadline, append_once(&*self.store, append, id)) => ended.ok(),
            () = self.stop.wait() => None,
        };
        let outcome = match ended {
            Some(Some(Appended { position, .. })) => {
                Outcome::Ok { first_version: version + 1, position }
            }
            Some(None) => Outcome::Failed,
            None => Outcome::Unknown,
        };
        self.recorder.attempt(self.client, called, sent, Some(version), outcome);
        let stop = self.stop.clone();
        match ended {
            Some(Some(appended)) => {
                self.ends.insert(number, (version + events as u64, appended.token));
            }
            _ => tokio::select! {
                biased;
                () = stop.wait() => {}
                () = self.read_again(number, &stream) => {}
            },
        }
        outcome
    }

    fn frame(&mut self, stream: &StreamId, version: Version, events: usize) -> (Bytes, Uuid) {
        let payload: Vec<u8> =
            (0..self.plan.payload).map(|_| self.dice.next_u64().to_le_bytes()[0]).collect();
        let event =
            |_| EventFrame { id: Uuid::new_v4(), name: "Loaded", schema: 1, payload: &payload };
        let commit = testing::commit(stream, version, (0..events).map(event));
        (commit.encode(), commit.id())
    }

    /// Reads the stream, which is also what a checked read is. A store that does not answer leaves the
    /// writer with what it knew.
    async fn read_again(&mut self, number: usize, stream: &StreamId) {
        let called = self.recorder.now();
        let read = timeout_at(self.deadline, whole_stream(&*self.store, stream)).await;
        let Ok(Ok(records)) = read else {
            return sleep(PAUSE).await;
        };
        let commits: Vec<_> = records.iter().map(decoded).collect();
        let ids: Vec<_> = commits.iter().map(|commit| commit.id().to_string()).collect();
        self.recorder.look(self.client, called, stream.as_str(), ids.iter().map(String::as_str));
        let end = commits.last().zip(records.last());
        let end = end
            .map_or((Version::ZERO, 0), |(commit, record)| (commit.last_version(), record.token));
        self.ends.insert(number, end);
    }
}

/// Appends the commit with `id` as the runtime does (P3). `None` when it was refused: it is not in
/// the log, and never will be.
async fn append_once(store: &dyn EventStore, append: Append<'_>, id: Uuid) -> Option<Appended> {
    let mut is_in_doubt = false;
    loop {
        match store.append(append.clone()).await {
            Ok(appended) => return Some(appended),
            Err(AppendError::Conflict { .. }) if !is_in_doubt => return None,
            Err(AppendError::Conflict { .. }) => {
                if let Ok(found) = store.read_stream(append.stream, append.version + 1, 1).await {
                    let found = found.first().filter(|record| decoded(record).id() == id)?;
                    return Some(Appended { position: found.position, token: found.token });
                }
            }
            Err(AppendError::Refused(_)) if !is_in_doubt => return None,
            Err(AppendError::Refused(_) | AppendError::Unknown(_)) => is_in_doubt = true,
        }
        sleep(PAUSE).await;
    }
}

/// All commits of a stream, in pages as the runtime reads them.
async fn whole_stream(
    store: &dyn EventStore,
    stream: &StreamId,
) -> Result<Vec<Record>, StoreError> {
    let (mut all, mut from) = (Vec::<Record>::new(), Version::FIRST);
    loop {
        let page = store.read_stream(stream, from, PAGE).await?;
        let Some(last) = page.last() else { return Ok(all) };
        let is_further = all.last().is_none_or(|before| before.position < last.position);
        from = decoded(last).last_version().next();
        all.extend(page);
        // What comes again and again is for the checker to find.
        if !is_further {
            return Ok(all);
        }
    }
}

fn stream(number: usize) -> StreamId {
    StreamId::new("load", &number.to_string()).expect("a plain key")
}

fn decoded(record: &Record) -> Commit<'_> {
    record.commit().expect("a stored frame comes back as it was sent")
}

/// The whole log, read in pages, for the checker.
///
/// # Panics
/// When it can't be read within ten seconds, or its streams, read one by one, hold anything else.
pub async fn final_log(store: &dyn EventStore) -> Vec<Stored> {
    let (mut log, mut after) = (Vec::new(), Position::ZERO);
    loop {
        let page = patiently(|| store.read_log(after, PAGE)).await;
        let Some(last) = page.last() else { break };
        after = decoded(last).last_position(last.position);
        log.extend(page);
    }
    let head = patiently(|| store.head()).await;
    assert!(head >= after, "the head {head} lies before the last event, {after}");
    let names: HashSet<_> =
        log.iter().map(|r| decoded(r).stream_id().expect("a stream id")).collect();
    let mut streams = Vec::new();
    for name in &names {
        streams.extend(patiently(|| whole_stream(store, name)).await);
    }
    streams.sort_by_key(|record| record.position);
    let same = |a: &Record, b: &Record| (a.position, &a.frame) == (b.position, &b.frame);
    assert!(
        log.len() == streams.len() && log.iter().zip(&streams).all(|(a, b)| same(a, b)),
        "the log has {} commits and the streams {}, or they differ",
        log.len(),
        streams.len()
    );
    log.iter().map(stored).collect()
}

fn stored(record: &Record) -> Stored {
    let commit = decoded(record);
    let sent = Sent {
        stream: commit.stream.to_owned(),
        id: commit.id().to_string(),
        events: commit.events.len() as u64,
        digest: digest(&record.frame),
    };
    Stored { sent, first_version: commit.first_version, position: record.position }
}

/// Asks a store that may still be on its way back, for ten seconds.
async fn patiently<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(
    mut ask: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + Duration::from_secs(10);
    loop {
        match ask().await {
            Ok(answer) => return answer,
            Err(error) => assert!(Instant::now() < deadline, "the store can't be read: {error}"),
        }
        sleep(PAUSE).await;
    }
}
