//! The least log in a file, in this process, done right and done wrong in the three ways that only
//! a power cut shows. It is a control of the disk and of the harness, not a store to use.

use std::{
    collections::HashMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::Path,
    sync::Arc,
};

use bytes::Bytes;
use catga::{
    log::{Commit, LogId, Position, Record, StreamId, Version},
    store::{
        Append, AppendError, Appended, BoxFuture, Durability, DurabilityReport, EventStore,
        MemoryStore, StoreError,
    },
};
use catga_tests::{crash::Server, history::digest};
use tokio::sync::Mutex;

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Care {
    /// As it must be.
    Full,
    /// It acknowledges what the page cache has.
    NoSync,
    /// It syncs the file and not the folder that has its name.
    NoFolderSync,
    /// It syncs again after a failed sync, and believes the second answer.
    SyncsAgain,
}

/// A log in the folder it is started on.
pub(crate) struct Naive(pub(crate) Care);

impl Server for Naive {
    fn start<'a>(&'a mut self, folder: &'a Path) -> BoxFuture<'a, Arc<dyn EventStore>> {
        Box::pin(async move {
            let log = NaiveLog::open(folder, self.0).await.expect("the log can be opened");
            Arc::new(log) as Arc<dyn EventStore>
        })
    }

    fn crash<'a>(&'a mut self, cut: &'a (dyn Fn() + Sync)) -> BoxFuture<'a, ()> {
        // Whoever still has the store can only fail from here on.
        Box::pin(async move { cut() })
    }
}

struct NaiveLog {
    care: Care,
    disk: Mutex<OnDisk>,
    /// What is on the disk, for reads.
    inner: MemoryStore,
}

struct OnDisk {
    file: File,
    versions: HashMap<StreamId, Version>,
    /// After a failed sync nobody knows what is on the disk.
    is_broken: bool,
}

impl NaiveLog {
    async fn open(folder: &Path, care: Care) -> io::Result<Self> {
        let path = folder.join("log");
        let bytes = fs::read(&path).unwrap_or_default();
        let (frames, len) = whole_frames(&bytes);
        let (inner, mut versions) = (MemoryStore::new(), HashMap::new());
        for frame in frames {
            let commit = Commit::decode(frame).expect("its digest is right");
            let stream = commit.stream_id().expect("a stream id");
            let (version, events) = (commit.first_version - 1, commit.events.len());
            let frame = Bytes::copy_from_slice(frame);
            let append = Append { stream: &stream, version, token: 0, events, frame };
            inner.append(append).await.expect("the log is in order");
            versions.insert(stream, commit.last_version());
        }
        let file = OpenOptions::new().append(true).create(true).open(&path)?;
        file.set_len(len as u64)?;
        if care != Care::NoSync {
            file.sync_all()?;
        }
        if care != Care::NoFolderSync {
            File::open(folder)?.sync_all()?;
        }
        let disk = Mutex::new(OnDisk { file, versions, is_broken: false });
        Ok(Self { care, disk, inner })
    }

    async fn append_now(&self, append: Append<'_>) -> Result<Appended, AppendError> {
        let mut disk = self.disk.lock().await;
        disk.write(&append, self.care)?;
        // Under the lock still, or the positions would not be in the order of the file.
        self.inner.append(append).await
    }
}

impl OnDisk {
    /// Writes the commit, or says how that ended.
    fn write(&mut self, append: &Append<'_>, care: Care) -> Result<(), AppendError> {
        if self.is_broken {
            return Err(AppendError::Refused(StoreError::unavailable("the disk failed")));
        }
        let actual = self.versions.get(append.stream).copied().unwrap_or_default();
        if actual != append.version {
            return Err(AppendError::Conflict { actual });
        }
        let len = u32::try_from(append.frame.len()).expect("a small frame").to_le_bytes();
        let entry = [&len, &digest(&append.frame).to_le_bytes()[..], &append.frame].concat();
        let written = self.file.write_all(&entry).and_then(|()| match care {
            Care::NoSync => Ok(()),
            Care::SyncsAgain => self.file.sync_data().or_else(|_| self.file.sync_data()),
            Care::Full | Care::NoFolderSync => self.file.sync_data(),
        });
        if let Err(error) = written {
            self.is_broken = true;
            return Err(AppendError::Unknown(StoreError::unavailable(error)));
        }
        self.versions.insert(append.stream.clone(), actual + append.events as u64);
        Ok(())
    }
}

/// The frames of a log up to the first that is cut short or damaged, and how long they are.
fn whole_frames(log: &[u8]) -> (Vec<&[u8]>, usize) {
    let (mut frames, mut rest) = (Vec::new(), log);
    while let Some((len, after)) = rest.split_first_chunk()
        && let Some((sum, after)) = after.split_first_chunk()
        && let Some((frame, after)) = after.split_at_checked(u32::from_le_bytes(*len) as usize)
        && digest(frame) == u64::from_le_bytes(*sum)
        && !frame.is_empty()
    {
        frames.push(frame);
        rest = after;
    }
    (frames, log.len() - rest.len())
}

impl EventStore for NaiveLog {
    fn log_id(&self) -> LogId {
        self.inner.log_id()
    }

    fn append<'a>(&'a self, append: Append<'a>) -> BoxFuture<'a, Result<Appended, AppendError>> {
        Box::pin(self.append_now(append))
    }

    fn read_stream<'a>(
        &'a self,
        stream: &'a StreamId,
        from: Version,
        limit: usize,
    ) -> BoxFuture<'a, Result<Vec<Record>, StoreError>> {
        self.inner.read_stream(stream, from, limit)
    }

    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        self.inner.read_log(after, limit)
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        self.inner.head()
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        self.inner.wait(after)
    }

    fn durability(&self) -> BoxFuture<'_, Result<DurabilityReport, StoreError>> {
        Box::pin(async { Ok(Durability::PowerLoss.into()) })
    }
}
