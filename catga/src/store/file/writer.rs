//! The one thread that writes the log: it takes the group that waits, writes it with one call, syncs once, and
//! answers all of it (group commit).

use std::{
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use uuid::Uuid;

use super::{
    ahead::NextSegment,
    disk::{Disk, DiskFile, write_whole},
    pending::{Pending, SegmentOffset, SyncGroup},
    reader::{SegmentReader, Written},
    recovery::{Address, CLOSED, Closed, FileError, Found, LastSegment, file_name, fill},
    segment::{HEADER, Header},
};
use crate::{
    log::{LogId, Position},
    store::index::Index,
};

/// How long the disk is left alone after it failed.
const PAUSE: Duration = Duration::from_millis(200);

pub(super) struct LogWriter {
    disk: Arc<dyn Disk>,
    pub(super) reader: Arc<SegmentReader>,
    pub(super) index: Arc<Index<Address>>,
    pub(super) pending: Arc<Pending>,
    ahead: NextSegment,
    /// The segment that is written.
    header: Header,
    file: Arc<dyn DiskFile>,
    /// Up to where it is written and synced.
    end: usize,
    /// Nothing more goes into the segment.
    is_full: bool,
    trouble: Option<Trouble>,
    /// How long the disk took for the last group.
    sync_time: Duration,
}

/// Why a group was not written.
struct WriteFailure {
    why: String,
    /// Whether it may be on the disk all the same.
    is_in_doubt: bool,
}

/// Why nothing can be written now.
struct Trouble {
    why: String,
    /// What lies behind `end` is not known: a write or a sync failed. After a failed sync the system may take
    /// pages for written that are not (Rebello et al., "Can Applications Recover from fsync Failures?", 2020), so
    /// the file is never synced again; what is known to be good is written to a new one.
    is_in_doubt: bool,
    since: Instant,
}

impl LogWriter {
    /// Makes the log that was found ready for writing.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        found: Found,
        segment_bytes: usize,
    ) -> Result<Self, FileError> {
        let failed = || FileError::io("the log can't be written");
        let is_new = found.last.is_none();
        let LastSegment { header, end, torn } = found.last.unwrap_or_else(|| LastSegment {
            header: Header {
                log: Uuid::new_v4(),
                number: 1,
                position: Position::FIRST,
                size: segment_bytes as u64,
            },
            end: HEADER,
            torn: 0,
        });
        if torn > 0 {
            tracing::warn!(
                segment = header.number,
                at = end,
                bytes = torn,
                "the last write was interrupted before it was acknowledged; what is there of it is cut off"
            );
        }
        let name = file_name(header.number);
        let file = if is_new {
            write_whole(&*disk, &name, |file| fill(file, &header, None))
        } else {
            disk.open(&name)
        };
        let file = file.map_err(failed())?;
        let index = Arc::new(found.index);
        let place = SegmentOffset { segment: header, offset: end };
        let mut writer = Self {
            reader: Arc::new(SegmentReader::new(disk.clone(), header.log)),
            ahead: NextSegment::new(disk.clone(), segment_bytes),
            disk,
            pending: Arc::new(Pending::new(index.clone(), place, segment_bytes)),
            index,
            header,
            file,
            end,
            is_full: false,
            trouble: None,
            sync_time: Duration::ZERO,
        };
        if found.is_closed {
            writer.disk.remove(CLOSED).and_then(|()| writer.disk.sync()).map_err(failed())?;
        } else if !is_new {
            // What the last process wrote may be in the memory of the system only, although it can be read.
            writer.renew().map_err(failed())?;
        }
        Ok(writer)
    }

    /// Writes what comes, until nothing more does.
    /// Which log it writes.
    pub(super) fn log_id(&self) -> LogId {
        LogId::of(self.header.log)
    }

    pub(super) fn run(mut self) {
        while let Some(group) = self.pending.next(self.sync_time) {
            self.write(group);
        }
        self.ahead.discard();
        if self.trouble.is_none()
            && let Err(error) = Closed::write(&*self.disk, self.header.log, self.index.head())
        {
            tracing::warn!(%error, "the log could not be marked as closed");
        }
    }

    /// Writes a group, and tells those who wait for it.
    pub(super) fn write(&mut self, group: SyncGroup) {
        match self.keep(&group) {
            Ok(()) => self.publish(group),
            Err(WriteFailure { why, is_in_doubt }) => {
                // The next segment may be there although its making failed: nothing can follow in this one.
                let offset = if self.is_full { self.header.size } else { self.end as u64 };
                let offset = usize::try_from(offset).unwrap_or(usize::MAX);
                let place = SegmentOffset { segment: self.header, offset };
                self.pending.fail(group, place, &why, is_in_doubt);
            }
        }
    }

    /// Returns once the group survives a power cut.
    fn keep(&mut self, group: &SyncGroup) -> Result<(), WriteFailure> {
        if group.bytes.is_empty() {
            return Ok(());
        }
        self.make_ready(&group.place.segment)
            .map_err(|why| WriteFailure { why, is_in_doubt: false })?;
        let begin = Instant::now();
        let written = self.file.write_at(&group.bytes, self.end as u64);
        let synced = written.and_then(|()| self.file.sync());
        self.sync_time = begin.elapsed();
        synced.map_err(|error| {
            let why = self.fail(&error, true);
            WriteFailure { why, is_in_doubt: true }
        })
    }

    /// Makes the synced commits visible, and answers them.
    fn publish(&mut self, mut group: SyncGroup) {
        if !group.bytes.is_empty() {
            self.end = group.end();
            let bytes = std::mem::take(&mut group.bytes).into();
            let segment = group.commits[0].address.segment;
            self.reader.remember(Written { segment, offset: group.place.offset, bytes });
        }
        for commit in &mut group.commits {
            self.index
                .push(&commit.stream, commit.version, commit.events, || commit.address)
                .expect("this thread alone adds to the index, and the version was checked");
            commit.acknowledge();
        }
        self.pending.settle(group);
        self.ahead.begin(&self.header, self.end);
    }

    /// Makes sure that `segment` can be written.
    fn make_ready(&mut self, segment: &Header) -> Result<(), String> {
        if let Some(trouble) = &self.trouble {
            if trouble.since.elapsed() < PAUSE {
                return Err(trouble.why.clone());
            }
            if trouble.is_in_doubt {
                self.renew().map_err(|error| self.fail(&error, true))?;
            }
        }
        if segment.number != self.header.number {
            self.is_full = true;
            self.file = self.ahead.segment(segment).map_err(|error| self.fail(&error, false))?;
            (self.header, self.end, self.is_full) = (*segment, HEADER, false);
        }
        if self.trouble.take().is_some() {
            tracing::info!("the log can be written again");
        }
        Ok(())
    }

    /// Puts a new file with what is known to be good in the place of the segment.
    fn renew(&mut self) -> io::Result<()> {
        let old = self.file.clone();
        let good = Some((&*old, self.end));
        self.file = write_whole(&*self.disk, &file_name(self.header.number), |file| {
            fill(file, &self.header, good)
        })?;
        self.reader.forget(self.header.number);
        Ok(())
    }

    /// As if the pause after a failure were over.
    #[cfg(test)]
    pub(super) fn end_pause(&mut self) {
        if let Some(trouble) = &mut self.trouble {
            trouble.since -= PAUSE;
        }
    }

    fn fail(&mut self, error: &io::Error, is_in_doubt: bool) -> String {
        let why = format!("the disk does not take what is written: {error}");
        tracing::error!(segment = self.header.number, %error, "the log can't be written");
        self.trouble = Some(Trouble { why: why.clone(), is_in_doubt, since: Instant::now() });
        why
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        self.pending.abandon();
    }
}
