//! The key-value pairs of the file store: a small file each, written whole.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{
    disk::{Disk, read_whole, write_whole},
    recovery::{sealed, unsealed},
};
use crate::{
    log::{Clock, StoreError, Timestamp},
    store::KvEntry,
};

/// The format of the files.
const FORMAT: u8 = 1;

/// Keys, each in a file of its own that is named by the key's hash, so that no key can be a path.
pub(super) struct KvFiles {
    disk: Arc<dyn Disk>,
    /// Held while a revision is checked and the next one written.
    writing: Mutex<()>,
}

/// What a file holds.
#[derive(Debug, Default, Serialize, Deserialize)]
struct ValueFile {
    format: u8,
    key: String,
    /// Goes on rising when the value is gone, so that a revision never comes back.
    revision: u64,
    /// `None` when the value was deleted.
    value: Option<Bytes>,
    /// When the value is gone by itself.
    end: Option<Timestamp>,
}

impl ValueFile {
    fn entry(self) -> Option<KvEntry> {
        let is_over = self.end.is_some_and(|end| end <= Clock::system().now());
        let revision = self.revision;
        self.value.filter(|_| !is_over).map(|value| KvEntry { value, revision })
    }
}

impl KvFiles {
    pub(super) fn new(disk: Arc<dyn Disk>) -> Self {
        Self { disk, writing: Mutex::default() }
    }

    pub(super) fn get(&self, key: &str) -> Result<Option<KvEntry>, StoreError> {
        Ok(self.read(key)?.entry())
    }

    /// Writes the value, or that there is none, if the revision is `expected`. Answers the new revision.
    pub(super) fn put(
        &self,
        key: &str,
        value: Option<Bytes>,
        expected: u64,
        ttl: Option<Duration>,
    ) -> Result<Option<u64>, StoreError> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let stored = self.read(key)?;
        let last = stored.revision;
        if stored.entry().map_or(0, |entry| entry.revision) != expected {
            return Ok(None);
        }
        let end = ttl.map(|ttl| {
            let ttl = i64::try_from(ttl.as_micros()).unwrap_or(i64::MAX);
            Timestamp::from_micros(Clock::system().now().as_micros().saturating_add(ttl))
        });
        let next =
            ValueFile { format: FORMAT, key: key.to_owned(), revision: last + 1, value, end };
        let bytes = sealed(postcard::to_stdvec(&next).expect("a Vec does not run full"));
        write_whole(&*self.disk, &file_name(key), |file| file.write_at(&bytes, 0)).map_err(
            |error| {
                tracing::error!(key, %error, "a value can't be written");
                StoreError::unavailable(format!("the disk does not take what is written: {error}"))
            },
        )?;
        Ok(Some(next.revision))
    }

    fn read(&self, key: &str) -> Result<ValueFile, StoreError> {
        let bytes = match read_whole(&*self.disk, &file_name(key)) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Ok(ValueFile::default());
            }
            Err(error) => {
                tracing::error!(key, %error, "a value can't be read");
                return Err(StoreError::unavailable(format!("a value can't be read: {error}")));
            }
        };
        unsealed(&bytes)
            .and_then(|bytes| postcard::from_bytes::<ValueFile>(bytes).ok())
            .filter(|stored| stored.format == FORMAT && stored.key == key)
            .ok_or_else(|| {
                tracing::error!(key, file = file_name(key), "a value is damaged");
                StoreError::corrupt("a value is damaged")
            })
    }
}

fn file_name(key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    digest[..16].iter().map(|byte| format!("{byte:02x}")).collect()
}
