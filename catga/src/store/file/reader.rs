//! Reading commits from where the index says they are.

use std::{
    collections::VecDeque,
    io,
    sync::{Arc, PoisonError, RwLock},
};

use bytes::Bytes;
use quick_cache::sync::Cache;
use uuid::Uuid;

use super::{
    disk::{Disk, DiskFile},
    recovery::{Address, file_name, frame_at},
};
use crate::{
    log::{Record, StoreError},
    store::index::IndexEntry,
};

/// How many segments are kept open for reading.
const OPEN_FILES: usize = 64;

/// How many bytes of the log's end are kept in memory: what is appended is mostly read at once, by read
/// models and event handlers.
const RECENT_BYTES: usize = 8 << 20;

/// The most bytes that are read with one call.
const SPAN: u64 = 1 << 20;

/// The most commits that are read without going to a thread that may block: to check more takes longer than that.
const FEW: usize = 64;

pub(super) struct SegmentReader {
    disk: Arc<dyn Disk>,
    log: Uuid,
    files: Cache<u32, Arc<dyn DiskFile>>,
    recent: RwLock<RecentWrites>,
}

/// Bytes that were written to a segment.
#[derive(Debug, Clone)]
pub(super) struct Written {
    pub(super) segment: u32,
    pub(super) offset: usize,
    pub(super) bytes: Bytes,
}

/// The last bytes of the log, in order.
#[derive(Default)]
struct RecentWrites {
    written: VecDeque<Written>,
    size: usize,
}

impl SegmentReader {
    pub(super) fn new(disk: Arc<dyn Disk>, log: Uuid) -> Self {
        Self { disk, log, files: Cache::new(OPEN_FILES), recent: RwLock::default() }
    }

    /// Keeps what was written at hand for a while.
    pub(super) fn remember(&self, written: Written) {
        let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
        recent.size += written.bytes.len();
        recent.written.push_back(written);
        while recent.size > RECENT_BYTES {
            let Some(oldest) = recent.written.pop_front() else { break };
            recent.size -= oldest.bytes.len();
        }
    }

    /// Opens the segment anew when it is read next.
    pub(super) fn forget(&self, segment: u64) {
        if let Ok(segment) = u32::try_from(segment) {
            self.files.remove(&segment);
        }
    }

    /// The commits of `entries`, if all of them were written a short while ago. Does no I/O.
    pub(super) fn recent(&self, entries: &[IndexEntry<Address>]) -> Option<Vec<Record>> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        let frame = |address: &Address| {
            let place = (address.segment, address.offset as usize);
            let after = recent.written.partition_point(|w| (w.segment, w.offset) <= place);
            let written = recent.written.get(after.checked_sub(1)?)?;
            let start =
                place.1.checked_sub(written.offset).filter(|_| written.segment == place.0)?;
            let end = start + usize::try_from(address.end()).ok()? - place.1;
            frame_at(
                &self.log,
                &(start < end && end <= written.bytes.len())
                    .then(|| written.bytes.slice(start..end))?,
            )
        };
        entries.iter().map(|e| Some(record(e, frame(&e.value)?))).collect()
    }

    /// The commits of `entries`, if they are few and nobody has to wait for the disk.
    pub(super) fn at_hand(
        &self,
        entries: &[IndexEntry<Address>],
    ) -> Result<Option<Vec<Record>>, StoreError> {
        if entries.len() > FEW {
            return Ok(None);
        }
        self.records(entries, |segment, start, buffer| {
            Ok(self.files.get(&segment).is_some_and(|file| file.read_now(buffer, start)))
        })
    }

    /// The commits of `entries`, from the disk.
    pub(super) fn read(&self, entries: &[IndexEntry<Address>]) -> Result<Vec<Record>, StoreError> {
        let records = self.records(entries, |segment, start, buffer| {
            let open = || self.disk.open(&file_name(segment.into()));
            self.files.get_or_insert_with(&segment, open)?.read_at(buffer, start)?;
            Ok(true)
        });
        records.map(|records| records.expect("all were read"))
    }

    /// The commits of `entries`, if all of them can be read. Those that lie side by side are read with one call.
    fn records(
        &self,
        entries: &[IndexEntry<Address>],
        read: impl Fn(u32, u64, &mut [u8]) -> io::Result<bool>,
    ) -> Result<Option<Vec<Record>>, StoreError> {
        let mut records = Vec::with_capacity(entries.len());
        let mut rest = entries;
        while let Some(first) = rest.first() {
            let start = u64::from(first.value.offset);
            let (length, end) = span(rest);
            let (span, others) = rest.split_at(length);
            let mut bytes = vec![0; usize::try_from(end - start).expect("less than a segment")];
            let is_read = read(first.value.segment, start, &mut bytes).map_err(|error| {
                tracing::error!(segment = first.value.segment, at = start, %error, "the log can't be read");
                StoreError::unavailable(format!("the log can't be read: {error}"))
            })?;
            if !is_read {
                return Ok(None);
            }
            let bytes = Bytes::from(bytes);
            for entry in span {
                let from =
                    usize::try_from(u64::from(entry.value.offset) - start).unwrap_or(usize::MAX);
                let frame = frame_at(&self.log, &bytes.slice(from..)).ok_or_else(|| {
                    let Address { segment, offset, .. } = entry.value;
                    tracing::error!(segment, at = offset, "the log is damaged");
                    StoreError::corrupt("the log is damaged: a commit is not what was written")
                })?;
                records.push(record(entry, frame));
            }
            rest = others;
        }
        Ok(Some(records))
    }
}

/// How many of the first `entries` lie side by side, and where the last of them ends.
fn span(entries: &[IndexEntry<Address>]) -> (usize, u64) {
    let start = u64::from(entries[0].value.offset);
    let mut end = entries[0].value.end();
    let following = entries[1..].iter().take_while(|next| {
        let is_next = next.value.segment == entries[0].value.segment
            && u64::from(next.value.offset) == end
            && next.value.end() - start <= SPAN;
        if is_next {
            end = next.value.end();
        }
        is_next
    });
    (1 + following.count(), end)
}

fn record(entry: &IndexEntry<Address>, frame: Bytes) -> Record {
    Record { position: entry.position, token: 0, frame }
}
