//! Snapshots: the state of an aggregate with a long stream, so that a cold load need not replay all of it.
//!
//! A snapshot is a cache, never the truth. It is used only when the program that wrote it is this very build,
//! since another one may fold events differently, and when the commit it ends with is still in the stream. One
//! that is lost, damaged or refused costs a replay.

use std::{
    any::type_name,
    collections::{HashMap, HashSet},
    fs::File,
    io::Read,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio::{sync::Semaphore, task::spawn_blocking};

use crate::{
    log::{EventId, StoreError, StreamId, Version},
    model::Snapshots,
    store::KvStore,
};

/// How many snapshots are written at once. Any more are skipped: the next one is not far away.
const WRITERS: usize = 4;

/// The format of what is stored.
const FORMAT: u8 = 1;

/// What an aggregate is loaded from instead of its first events.
pub(crate) struct Snapshot<A> {
    pub(crate) version: Version,
    /// The id of the commit that ends at `version`.
    pub(crate) commit: EventId,
    /// The commands that had an id, by the digest of the id, and the version each began at (P4).
    pub(crate) commands: HashMap<[u8; 16], Version>,
    pub(crate) state: A,
}

#[derive(Serialize, Deserialize)]
struct SnapshotRecord<'a> {
    build: u64,
    version: Version,
    commit: EventId,
    commands: HashMap<[u8; 16], Version>,
    state: &'a [u8],
}

impl<A> Snapshot<A> {
    fn decode(snapshots: &Snapshots<A>, build: u64, bytes: &[u8]) -> Option<Self> {
        let (&FORMAT, bytes) = bytes.split_first()? else { return None };
        let stored: SnapshotRecord<'_> = postcard::from_bytes(bytes).ok()?;
        if stored.build != build {
            return None;
        }
        let state = (snapshots.decode)(stored.state).ok()?;
        let SnapshotRecord { version, commit, commands, .. } = stored;
        Some(Self { version, commit, commands, state })
    }
}

/// Reads and writes snapshots beside the log.
pub(crate) struct SnapshotStore {
    kv: Arc<dyn KvStore>,
    writers: Arc<Semaphore>,
    /// The types whose states can't be stored, once that was logged.
    refused: Mutex<HashSet<&'static str>>,
}

impl SnapshotStore {
    pub(crate) fn new(kv: Arc<dyn KvStore>) -> Self {
        Self { kv, writers: Arc::new(Semaphore::new(WRITERS)), refused: Mutex::default() }
    }

    /// The last snapshot, if this build can use it.
    pub(crate) async fn read<A>(
        &self,
        stream: &StreamId,
        snapshots: &Snapshots<A>,
    ) -> Option<Snapshot<A>> {
        let build = build().await?;
        match self.kv.get(&key(stream)).await {
            Ok(entry) => Snapshot::decode(snapshots, build, &entry?.value),
            Err(error) => {
                tracing::warn!(%stream, %error, "a snapshot can't be read");
                None
            }
        }
    }

    /// Encodes a snapshot now, and returns the future that writes it; `None` when enough are being written. A state that
    /// could not be read back is not written.
    pub(crate) fn write<A>(
        &self,
        stream: &StreamId,
        snapshots: &Snapshots<A>,
        (version, commit): (Version, EventId),
        commands: &HashMap<[u8; 16], Version>,
        state: &A,
    ) -> Option<impl Future<Output = ()> + Send + 'static> {
        let place = self.writers.clone().try_acquire_owned().ok()?;
        let state = (snapshots.encode)(state, Vec::new())
            .inspect_err(|error| self.say_refused(type_name::<A>(), stream, error))
            .ok();
        let (kv, stream, commands) = (self.kv.clone(), stream.clone(), commands.clone());
        Some(async move {
            if let Some(state) = state
                && let Some(build) = build().await
            {
                let stored = SnapshotRecord { build, version, commit, commands, state: &state };
                let bytes = postcard::to_extend(&stored, vec![FORMAT]).expect("a Vec grows");
                if let Err(error) = put(&*kv, &key(&stream), bytes.into()).await {
                    tracing::warn!(%stream, %error, "a snapshot can't be written");
                }
            }
            drop(place);
        })
    }

    /// Logs why an aggregate has no snapshot: once, because the reason is the type, and the same for every aggregate of it.
    fn say_refused(&self, ty: &'static str, stream: &StreamId, error: &str) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.insert(ty) {
            tracing::error!(%stream, "a snapshot of `{ty}` can't be stored, and streams are read whole: {error}");
        }
    }
}

/// If somebody else wrote one meanwhile, it is as good as this one.
async fn put(kv: &dyn KvStore, key: &str, bytes: Bytes) -> Result<(), StoreError> {
    let revision = kv.get(key).await?.map_or(0, |entry| entry.revision);
    kv.put(key, bytes, revision, None).await?;
    Ok(())
}

fn key(stream: &StreamId) -> String {
    format!("snapshot/{stream}")
}

/// Tells this build of the program from others, by the length and the CRC-32 of its file; `None` when that can't
/// be read.
pub(crate) async fn build() -> Option<u64> {
    static BUILD: OnceLock<Option<u64>> = OnceLock::new();
    if let Some(build) = BUILD.get() {
        return *build;
    }
    let read = || {
        *BUILD.get_or_init(|| {
            fingerprint()
                .inspect_err(|error| {
                    tracing::warn!(%error, "there are no snapshots: the program's own file can't be read");
                })
                .ok()
        })
    };
    spawn_blocking(read).await.ok()?
}

fn fingerprint() -> std::io::Result<u64> {
    let mut file = File::open(std::env::current_exe()?)?;
    let (mut hasher, mut length) = (crc32fast::Hasher::new(), 0_u64);
    let mut buffer = vec![0; 1 << 20];
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok(length << 32 | u64::from(hasher.finalize())),
            read => {
                hasher.update(&buffer[..read]);
                length += read as u64;
            }
        }
    }
}
