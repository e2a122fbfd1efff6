//! The log in a directory of the local file system: the durable store for one machine.
//!
//! Whoever appends checks the version and encodes the commit (`pending`), and one thread writes (`writer`). It takes
//! all that waits, writes it with one call and syncs once for all of it (group commit), and only then answers and
//! lets readers see it. So an acknowledged commit survives a power cut as far as the disk keeps what it says it has
//! synced.

mod ahead;
mod disk;
mod kv;
mod pending;
mod reader;
mod recovery;
mod segment;
#[cfg(test)]
mod tests;
mod writer;

use std::{
    convert::Infallible,
    fmt,
    fs::{self, File, TryLockError},
    path::Path,
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

use bytes::Bytes;
use tokio::task::spawn_blocking;

pub use self::recovery::FileError;
use self::{
    disk::{Disk, OsDisk},
    kv::KvFiles,
    pending::Pending,
    reader::SegmentReader,
    recovery::Address,
    segment::MAX_FRAME,
    writer::LogWriter,
};
use super::{
    Append, AppendError, Appended, Durability, DurabilityReport, EventStore, KvEntry, KvStore,
    StoreError,
    index::{self, Index},
};
use crate::{
    log::{LogId, Position, Record, StreamId, Version},
    store::{BoxFuture, guarded_here},
};

/// How large a segment of the log is.
const SEGMENT_BYTES: usize = 16 << 20;

/// An [`EventStore`] and [`KvStore`] store in a directory.
///
/// The directory holds `NNNNNNNN.log`, the segments of the log in order, whose format is in the source of
/// `catga::store::file::segment`; `keyed/`, a file for each value; `lock`, which keeps a second process
/// out; and `closed` after a clean stop. Nothing else may write there.
///
/// At the start the whole log is read and checked. What was being written when the power failed, and so was
/// never acknowledged, is cut off; anything else that is not as it was written stops the start.
pub struct FileStore {
    id: LogId,
    index: Arc<Index<Address>>,
    reader: Arc<SegmentReader>,
    kv: Arc<KvFiles>,
    pending: Arc<Pending>,
    writer: Option<JoinHandle<()>>,
    /// The file system that the directory is on, as the system calls it.
    file_system: String,
    /// Writes of values go on when nobody waits for them any more. Each has a sender, so that the receiver tells when all
    /// have ended.
    writes: Option<mpsc::Sender<Infallible>>,
    all_written: Mutex<mpsc::Receiver<Infallible>>,
    /// Unlocked when dropped, after the writer and the writes of values have ended.
    lock: Option<File>,
}

/// What [`FileStore::verify`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verified {
    /// How many segments the log has.
    pub segments: u64,
    /// How many streams there are.
    pub streams: usize,
    /// How many commits there are.
    pub commits: usize,
    /// The position of the last event.
    pub head: Position,
    /// Whether the log was closed, and not left by a crash.
    pub is_closed: bool,
    /// How many bytes of an interrupted write follow the last commit. They were never acknowledged, and the
    /// next start cuts them off.
    pub torn_bytes: usize,
}

impl FileStore {
    /// Opens the log in `directory`, which is made when it is not there.
    ///
    /// # Errors
    /// [`FileError`] when another process has it open, when it is damaged, or when the directory can't be
    /// read or written.
    pub fn open(directory: impl AsRef<Path>) -> Result<Self, FileError> {
        let directory = directory.as_ref();
        let made =
            |path: &Path| OsDisk::at(path).map_err(FileError::io("the directory can't be made"));
        let (log, kv) = (made(directory)?, made(&directory.join("keyed"))?);
        let lock = lock(directory)?;
        let mut store = Self::open_on(Arc::new(log), Arc::new(kv), SEGMENT_BYTES)?;
        store.file_system = file_system(directory);
        store.lock = Some(lock);
        Ok(store)
    }

    /// Checks every byte of the log in `directory`, and changes nothing. The log must not be in use.
    ///
    /// # Errors
    /// [`FileError`] with the file and the byte at which something is wrong.
    pub fn verify(directory: impl AsRef<Path>) -> Result<Verified, FileError> {
        let directory = directory.as_ref();
        fs::metadata(directory).map_err(FileError::io("the directory can't be read"))?;
        fs::metadata(directory.join(recovery::file_name(1))).map_err(|_| FileError::NoLog)?;
        let _lock = lock(directory)?;
        let disk = OsDisk::at(directory).map_err(FileError::io("the directory can't be read"))?;
        let found = recovery::read(&disk)?;
        let (streams, commits) = found.index.counts();
        Ok(Verified {
            segments: found.last.as_ref().map_or(0, |last| last.header.number),
            streams,
            commits,
            head: found.index.head(),
            is_closed: found.is_closed,
            torn_bytes: found.last.map_or(0, |last| last.torn),
        })
    }

    fn open_on(
        log: Arc<dyn Disk>,
        kv: Arc<dyn Disk>,
        segment_bytes: usize,
    ) -> Result<Self, FileError> {
        for disk in [&log, &kv] {
            remove_drafts(&**disk).map_err(FileError::io("the directory can't be written"))?;
        }
        let found = recovery::read(&*log)?;
        let writer = LogWriter::open(log, found, segment_bytes)?;
        let id = writer.log_id();
        let (index, reader) = (writer.index.clone(), writer.reader.clone());
        let pending = writer.pending.clone();
        let writer = thread::Builder::new()
            .name("catga-log".to_owned())
            .spawn(move || guarded_here("writer of the log", || writer.run()).unwrap_or_default())
            .map_err(FileError::io("the writer can't be started"))?;
        let (writes, all_written) = mpsc::channel();
        Ok(Self {
            id,
            index,
            reader,
            writes: Some(writes),
            all_written: Mutex::new(all_written),
            kv: Arc::new(KvFiles::new(kv)),
            pending,
            writer: Some(writer),
            file_system: "unknown".to_owned(),
            lock: None,
        })
    }

    async fn append_now(&self, append: Append<'_>) -> Result<Appended, AppendError> {
        assert!(append.events > 0, "a commit has at least one event");
        let size = append.frame.len();
        if size > MAX_FRAME {
            let what =
                format!("a commit of {size} bytes is too large: at most {MAX_FRAME} are allowed");
            return Err(AppendError::Refused(StoreError::too_large(what)));
        }
        let answer = self.pending.hand_in(&append).await?;
        answer.await.unwrap_or_else(|_| Err(AppendError::Unknown(pending::gone())))
    }

    /// Puts a value, or none. It is done to its end, whether somebody waits for it or not.
    async fn put_now(
        &self,
        key: &str,
        value: Option<Bytes>,
        expected: u64,
        ttl: Option<Duration>,
    ) -> Result<Option<u64>, StoreError> {
        let (kv, write, key) = (self.kv.clone(), self.writes.clone(), key.to_owned());
        blocking(move || {
            let put = kv.put(&key, value, expected, ttl);
            drop(write);
            put
        })
        .await
    }

    async fn read(
        &self,
        entries: Vec<index::IndexEntry<Address>>,
    ) -> Result<Vec<Record>, StoreError> {
        if let Some(records) = self.reader.recent(&entries) {
            return Ok(records);
        }
        if let Some(records) = self.reader.at_hand(&entries)? {
            return Ok(records);
        }
        let reader = self.reader.clone();
        blocking(move || reader.read(&entries)).await
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, StoreError> {
    spawn_blocking(work).await.unwrap_or_else(|error| Err(StoreError::unavailable(error)))
}

fn lock(directory: &Path) -> Result<File, FileError> {
    let failed = || FileError::io("the directory can't be locked");
    let file = File::create(directory.join("lock")).map_err(failed())?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(FileError::InUse),
        Err(TryLockError::Error(error)) => Err(failed()(error)),
    }
}

/// Removes what was not finished before a crash.
fn remove_drafts(disk: &dyn Disk) -> std::io::Result<()> {
    for name in disk.list()? {
        if name.ends_with(".tmp") {
            disk.remove(&name)?;
        }
    }
    Ok(())
}

/// The type of the file system that `directory` is on, from the table of mounts.
fn file_system(directory: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let directory = fs::canonicalize(directory).unwrap_or_default();
    let mount = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        // The table writes a space in a path as \040.
        let path = fields.next()?.replace("\\040", " ");
        let file_system = fields.next()?.to_owned();
        directory.starts_with(&path).then_some((path.len(), file_system))
    };
    // Of two mounts at one place the later one is seen.
    let deepest = mounts.lines().filter_map(mount).max_by_key(|(depth, _)| *depth);
    deepest.map_or_else(|| "unknown".to_owned(), |(_, file_system)| file_system)
}

impl EventStore for FileStore {
    fn log_id(&self) -> LogId {
        self.id
    }

    fn check(&self) -> Result<(), StoreError> {
        // Without the thread that writes, nothing can be appended until the store is opened again.
        let is_gone = self.writer.as_ref().is_some_and(JoinHandle::is_finished);
        if is_gone { Err(pending::gone()) } else { Ok(()) }
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
        Box::pin(self.read(self.index.of_stream(stream, from, limit)))
    }

    fn read_log(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(self.read(self.index.of_log(after, limit)))
    }

    fn head(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move { self.check().map(|()| self.index.head()) })
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(self.index.wait(after))
    }

    fn durability(&self) -> BoxFuture<'_, Result<DurabilityReport, StoreError>> {
        let is_memory = matches!(self.file_system.as_str(), "tmpfs" | "ramfs");
        let report = DurabilityReport {
            level: if is_memory { Durability::ProcessCrash } else { Durability::PowerLoss },
            server_loss: false,
            settings: vec![
                ("sync", "before every acknowledgement".to_owned()),
                ("file system", self.file_system.clone()),
            ],
            advice: is_memory.then(|| {
                "this file system is in memory: a directory on a disk survives a power cut"
                    .to_owned()
            }),
            refusal: None,
        };
        Box::pin(async { Ok(report) })
    }
}

impl KvStore for FileStore {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<KvEntry>, StoreError>> {
        let (kv, key) = (self.kv.clone(), key.to_owned());
        Box::pin(blocking(move || kv.get(&key)))
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        Box::pin(self.put_now(key, Some(value), expected, ttl))
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: u64,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            if expected == 0 {
                return Ok(false);
            }
            Ok(self.put_now(key, None, expected, None).await?.is_some())
        })
    }
}

impl Drop for FileStore {
    fn drop(&mut self) {
        // The writer ends when it has written what waits, and closes the log.
        self.pending.close();
        if let Some(writer) = self.writer.take() {
            let _ = writer.join();
        }
        drop(self.writes.take());
        let all_written = self.all_written.get_mut().unwrap_or_else(PoisonError::into_inner);
        // Nothing is ever sent: this waits until the last sender is gone.
        let _ = all_written.recv();
    }
}

impl fmt::Debug for FileStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FileStore").field("head", &self.index.head()).finish_non_exhaustive()
    }
}
