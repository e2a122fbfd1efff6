//! Snapshots of the read models, so that a start reads only the end of a long log.
//!
//! All of them are one snapshot at one position, for the tail feeds them all at once. It is a cache, never the truth: it
//! is used only by the build that wrote it, and only when the commit it ends with is still where it was. One that is
//! lost, damaged or refused costs a replay.
//!
//! It is cut into parts, as key-value stores take no large values. There are two places for parts, and the manifest, which is
//! written last, says which of them counts; so a reader never sees half a snapshot, and what a crash leaves in the
//! other place is overwritten by the next one. Of all nodes one writes at a time. Should two write after all, since
//! one was paused, the parts of one are not of the revisions that the other's manifest names.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use serde::{Deserialize, Serialize};
use tokio::{task::spawn_blocking, time::timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    log::{EventId, Position, StoreError},
    model::{DecodeError, Error},
    read::Fold,
    store::{Durability, EventStore, KvEntry, KvStore, guarded, guarded_here},
    write::build,
};

/// How large a part is: half of what NATS takes.
const PART: usize = 512 << 10;

/// How many parts are read at once.
const READS: usize = 4;

/// How many bytes may be written for each event that has come since the last snapshot: a large one is written less often.
const BYTES_PER_EVENT: usize = 64;

/// A stop writes a snapshot when this part of what makes one due has come since the last.
const PART_AT_STOP: u64 = 10;

/// How long a stop may take to write one.
const LIMIT_AT_STOP: Duration = Duration::from_secs(5);

/// How long the others leave a writer alone that says nothing more.
const WRITER_LIMIT: Duration = Duration::from_secs(60);

const WRITER: &str = "read-models/writer";
const MANIFEST: &str = "read-models/manifest";

/// The format of what is stored.
const FORMAT: u8 = 1;

fn part_key(place: u8, part: usize) -> String {
    format!("read-models/{place}/{part}")
}

/// A commit, and where it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct End {
    pub(crate) position: Position,
    pub(crate) commit: EventId,
}

/// What makes a snapshot of parts.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    build: u64,
    /// The last commit that it shows.
    end: End,
    /// Where the parts are.
    place: u8,
    /// The revision of each part.
    parts: Vec<u64>,
    /// The CRC-32 of all parts.
    checksum: u32,
    /// The states in them, one behind the other: the name and the length of each.
    states: Vec<(String, usize)>,
}

impl Manifest {
    fn encode(&self) -> Bytes {
        postcard::to_extend(self, vec![FORMAT]).expect("a Vec grows").into()
    }

    fn decode(bytes: &[u8]) -> Option<Self> {
        let (&FORMAT, bytes) = bytes.split_first()? else { return None };
        postcard::from_bytes(bytes).ok()
    }
}

/// All read models, encoded.
struct Encoded {
    end: End,
    states: Vec<(String, usize)>,
    bytes: Bytes,
    checksum: u32,
}

/// Takes snapshots of the read models, and starts them from the last one.
pub(crate) struct ModelSnapshots {
    store: Arc<dyn EventStore>,
    kv: Arc<dyn KvStore>,
    folds: Arc<[Box<dyn Fold>]>,
    /// After how many events one is taken; `None` when there are none to be.
    every: Option<u64>,
    /// Where the read models are.
    end: Option<End>,
    /// Where the last snapshot was taken, and how large it was.
    last: Position,
    bytes: usize,
    /// The revision of the manifest that can't be used.
    refused: u64,
    writing: Option<AbortOnDropHandle<()>>,
    /// Why none could be taken, as it was said last.
    not_taken: Option<String>,
}

impl ModelSnapshots {
    /// There are snapshots if every projection has them, and each as often as the one that has the fewest: the log must be
    /// read from its begin for one that has none.
    pub(crate) fn new(
        store: Arc<dyn EventStore>,
        kv: Arc<dyn KvStore>,
        folds: Arc<[Box<dyn Fold>]>,
    ) -> Self {
        let every = folds.iter().map(|fold| fold.snapshot_every());
        let every = every.collect::<Option<Vec<_>>>().and_then(|every| every.into_iter().max());
        let (end, last, bytes, refused, writing, not_taken) = Default::default();
        Self { store, kv, folds, every, end, last, bytes, refused, writing, not_taken }
    }

    /// Starts the read models from the last snapshot. Answers where they are then: 0 when there is none that can be used.
    pub(crate) async fn restore(&mut self) -> Position {
        if self.every.is_some()
            && let Ok(report) = self.store.durability().await
            && report.level == Durability::Memory
        {
            // What is kept beside such a log is gone with it.
            self.every = None;
        }
        if self.every.is_none() {
            return Position::ZERO;
        }
        match self.try_restore().await {
            Ok(Some(end)) => {
                tracing::info!(
                    position = end.position.get(),
                    "the read models begin with a snapshot"
                );
                (self.end, self.last, self.refused) = (Some(end), end.position, 0);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "the snapshot of the read models can't be read"),
        }
        self.last
    }

    async fn try_restore(&mut self) -> Result<Option<End>, Error> {
        loop {
            let Some(entry) = self.kv.get(MANIFEST).await? else { return Ok(None) };
            // All of the program's file is read for it, so not before there is something to compare it with.
            let Some(build) = build().await else { return Ok(None) };
            let manifest = Manifest::decode(&entry.value).filter(|m| m.build == build);
            // Parts are missing when the next snapshot was written meanwhile; else they are lost.
            let is_same = std::mem::replace(&mut self.refused, entry.revision) == entry.revision;
            let Some(manifest) = manifest.filter(|_| !is_same) else { return Ok(None) };
            if !self.is_in_log(manifest.end).await? {
                return Ok(None);
            }
            if let Some(bytes) = self.read_parts(&manifest).await? {
                self.bytes = bytes.len();
                return Ok(self.install(&manifest, bytes).await.then_some(manifest.end));
            }
        }
    }

    async fn is_in_log(&self, end: End) -> Result<bool, Error> {
        let before = end.position.get().saturating_sub(1).into();
        let records = self.store.read_log(before, 1).await?;
        let Some(record) = records.first() else { return Ok(false) };
        let commit = record.commit().map_err(DecodeError::from)?;
        Ok(End { position: commit.last_position(record.position), commit: commit.id() } == end)
    }

    /// All parts; `None` when one of them is not what the manifest says.
    async fn read_parts(&self, manifest: &Manifest) -> Result<Option<Vec<u8>>, StoreError> {
        let place = manifest.place;
        let read = |part| {
            let kv = self.kv.clone();
            async move { kv.get(&part_key(place, part)).await }
        };
        let entries = stream::iter(0..manifest.parts.len()).map(read).buffered(READS);
        let entries: Vec<Option<KvEntry>> = entries.try_collect().await?;
        let mut bytes = Vec::new();
        for (entry, &revision) in entries.into_iter().zip(&manifest.parts) {
            match entry.filter(|entry| entry.revision == revision) {
                Some(entry) => bytes.extend_from_slice(&entry.value),
                None => return Ok(None),
            }
        }
        Ok((crc32fast::hash(&bytes) == manifest.checksum).then_some(bytes))
    }

    /// Replaces the states by those in `bytes`: all of them or none.
    async fn install(&self, manifest: &Manifest, bytes: Vec<u8>) -> bool {
        let (folds, states) = (self.folds.clone(), manifest.states.clone());
        let decode = move || {
            let mut rest = &bytes[..];
            let mut decoded = Vec::new();
            for (name, length) in states {
                let (state, behind) = rest.split_at_checked(length)?;
                rest = behind;
                let fold = folds.iter().find(|fold| fold.name() == name)?;
                let Some(state) = fold.decode(state) else {
                    tracing::warn!(
                        "the snapshot of `{name}` can't be read, so the log is read from its begin"
                    );
                    return None;
                };
                decoded.push(state);
            }
            (decoded.len() == folds.len()).then_some(decoded)
        };
        let decode = || guarded_here("snapshot of the read models", decode).ok().flatten();
        let Ok(Some(decoded)) = spawn_blocking(decode).await else { return false };
        decoded.into_iter().for_each(|install| install());
        true
    }

    /// The read models have taken in everything up to `end`. Takes a snapshot if one is due, and has it written while
    /// the tail goes on.
    pub(crate) async fn taken_in(&mut self, end: End, is_at_end: bool) {
        self.end = Some(end);
        if is_at_end {
            self.take(1).await;
        }
    }

    /// Takes a last snapshot, and waits until it is written, but not for long.
    pub(crate) async fn finish(mut self) {
        let finish = async {
            self.take(PART_AT_STOP).await;
            if let Some(writing) = self.writing.take() {
                writing.await.ok();
            }
        };
        if timeout(LIMIT_AT_STOP, finish).await.is_err() {
            tracing::warn!("a snapshot of the read models was not finished in time");
        }
    }

    /// Takes a snapshot if `1 / part` of what makes one due has come, and none is being written.
    async fn take(&mut self, part: u64) {
        let (Some(every), Some(end)) = (self.every, self.end) else { return };
        let due = every.max((self.bytes / BYTES_PER_EVENT) as u64);
        let is_writing = self.writing.as_ref().is_some_and(|writing| !writing.is_finished());
        if is_writing || end.position - self.last < (due / part).max(1) {
            return;
        }
        self.last = end.position;
        let encoded = match self.encode(end).await {
            Ok(encoded) => encoded,
            Err(reason) => return self.say_not_taken(reason),
        };
        self.bytes = encoded.bytes.len();
        let (kv, refused) = (self.kv.clone(), self.refused);
        let writer = SnapshotWriter { kv, refused, least: (due / part).max(1) };
        self.writing = Some(AbortOnDropHandle::new(tokio::spawn(async move {
            let written = guarded("snapshot of the read models", writer.write(encoded)).await;
            if let Ok(Err(error)) = written {
                tracing::warn!(%error, "a snapshot of the read models can't be written");
            }
        })));
    }

    /// Says why there is no snapshot, once.
    fn say_not_taken(&mut self, reason: String) {
        if self.not_taken.as_ref() != Some(&reason) {
            tracing::error!("there is no snapshot of the read models: {reason}");
            self.not_taken = Some(reason);
        }
    }

    /// The states as they are. The tail waits for it, so they are all at `end`.
    ///
    /// # Errors
    /// Why one can't be encoded.
    async fn encode(&self, end: End) -> Result<Encoded, String> {
        let folds = self.folds.clone();
        let encode = move || {
            let (mut states, mut bytes) = (Vec::new(), Vec::new());
            for fold in &*folds {
                let before = bytes.len();
                bytes = fold.encode(bytes)?;
                states.push((fold.name().to_owned(), bytes.len() - before));
            }
            let checksum = crc32fast::hash(&bytes);
            Ok(Encoded { end, states, bytes: bytes.into(), checksum })
        };
        let encode = || guarded_here("snapshot of the read models", encode).unwrap_or_else(Err);
        spawn_blocking(encode).await.unwrap_or_else(|error| Err(error.to_string()))
    }
}

/// Writes a snapshot.
struct SnapshotWriter {
    kv: Arc<dyn KvStore>,
    /// The revision of a manifest that is of no use.
    refused: u64,
    /// How many events it must be ahead of the last one, whoever wrote that.
    least: u64,
}

impl SnapshotWriter {
    async fn write(&self, encoded: Encoded) -> Result<(), StoreError> {
        let Some(build) = build().await else { return Ok(()) };
        // One node after the other.
        let claim = self.kv.put(WRITER, Bytes::new(), 0, Some(WRITER_LIMIT)).await?;
        let Some(claim) = claim else { return Ok(()) };
        let written = self.write_as_only_one(build, encoded).await;
        self.kv.delete(WRITER, claim).await?;
        written
    }

    async fn write_as_only_one(&self, build: u64, encoded: Encoded) -> Result<(), StoreError> {
        let Encoded { end, states, bytes, checksum } = encoded;
        let entry = self.kv.get(MANIFEST).await?;
        let revision = entry.as_ref().map_or(0, |entry| entry.revision);
        let last = entry.and_then(|entry| Manifest::decode(&entry.value));
        // Another node may have written one just now.
        let is_as_good =
            |last: &Manifest| last.build == build && last.end.position + self.least > end.position;
        if revision != self.refused && last.as_ref().is_some_and(is_as_good) {
            return Ok(());
        }
        let place = last.as_ref().map_or(0, |last| 1 - last.place.min(1));
        let mut parts = Vec::new();
        for start in (0..bytes.len()).step_by(PART) {
            let part = bytes.slice(start..bytes.len().min(start + PART));
            let Some(revision) = self.put(&part_key(place, parts.len()), part).await? else {
                return Ok(());
            };
            parts.push(revision);
        }
        self.delete_behind(place, parts.len()).await?;
        let manifest = Manifest { build, end, place, parts, checksum, states };
        let put = self.kv.put(MANIFEST, manifest.encode(), revision, None).await?;
        if let (Some(_), Some(last)) = (put, last) {
            // The first part goes last, so that what a crash leaves has no gap.
            for (part, &revision) in last.parts.iter().enumerate().rev() {
                self.kv.delete(&part_key(last.place, part), revision).await?;
            }
        }
        Ok(())
    }

    /// Puts a part where there is none, or where one was left by a crash; `None` when somebody else does so.
    async fn put(&self, key: &str, part: Bytes) -> Result<Option<u64>, StoreError> {
        if let Some(revision) = self.kv.put(key, part.clone(), 0, None).await? {
            return Ok(Some(revision));
        }
        let revision = self.kv.get(key).await?.map_or(0, |entry| entry.revision);
        self.kv.put(key, part, revision, None).await
    }

    /// Deletes what a longer snapshot has left in `place` from `part` on.
    async fn delete_behind(&self, place: u8, part: usize) -> Result<(), StoreError> {
        let mut left = Vec::new();
        for part in part.. {
            let key = part_key(place, part);
            let Some(entry) = self.kv.get(&key).await? else { break };
            left.push((key, entry.revision));
        }
        for (key, revision) in left.into_iter().rev() {
            self.kv.delete(&key, revision).await?;
        }
        Ok(())
    }
}
