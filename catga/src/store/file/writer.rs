//! The one thread that writes the log: it takes all appends that wait, writes them with one call, syncs once,
//! and answers them (group commit).

use std::{
    collections::HashMap,
    io,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use tokio::sync::{mpsc, oneshot};
use uuid::Uuid;

use super::{
    disk::{Disk, DiskFile, write_whole},
    reader::{Reader, Written},
    recovery::{Address, CLOSED, Closed, FileError, Found, Last, file_name, fill},
    segment::{HEADER, Header, Record, small},
};
use crate::{AppendError, Appended, StoreError, StreamId, Version, store::index::Index};

/// The most commits that are synced at once.
const BATCH: usize = 512;

/// The most bytes of commits that are synced at once; one commit may be larger.
const BATCH_BYTES: usize = 4 << 20;

/// How long the disk is left alone after it failed.
const PAUSE: Duration = Duration::from_millis(200);

/// An append that waits.
pub(super) struct Request {
    pub(super) stream: StreamId,
    pub(super) version: Version,
    pub(super) events: usize,
    pub(super) frame: Bytes,
    pub(super) reply: oneshot::Sender<Result<Appended, AppendError>>,
}

pub(super) struct Writer {
    disk: Arc<dyn Disk>,
    pub(super) reader: Arc<Reader>,
    pub(super) index: Arc<Index<Address>>,
    /// How large a segment is, unless one batch needs more.
    segment_bytes: usize,
    /// The segment that is written.
    header: Header,
    file: Arc<dyn DiskFile>,
    /// Up to where it is written and synced.
    end: usize,
    /// Nothing more goes into the segment.
    is_full: bool,
    trouble: Option<Trouble>,
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

impl Writer {
    /// Makes the log that was found ready for writing.
    pub(super) fn open(
        disk: Arc<dyn Disk>,
        found: Found,
        segment_bytes: usize,
    ) -> Result<Self, FileError> {
        let failed = || FileError::io("the log can't be written");
        let is_new = found.last.is_none();
        let Last { header, end, torn } = found.last.unwrap_or_else(|| Last {
            header: Header {
                log: Uuid::new_v4(),
                number: 1,
                position: 1,
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
        let mut writer = Self {
            reader: Arc::new(Reader::new(disk.clone(), header.log)),
            disk,
            index: Arc::new(found.index),
            segment_bytes,
            header,
            file,
            end,
            is_full: false,
            trouble: None,
        };
        if found.is_closed {
            writer.disk.remove(CLOSED).and_then(|()| writer.disk.sync()).map_err(failed())?;
        } else if !is_new {
            // What the last process wrote may be in the memory of the system only, although it can be read.
            writer.renew().map_err(failed())?;
        }
        Ok(writer)
    }

    /// Writes what comes, until nobody is left to send anything.
    pub(super) fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        while let Some(first) = requests.blocking_recv() {
            let mut bytes = first.frame.len();
            let mut batch = vec![first];
            while batch.len() < BATCH && bytes < BATCH_BYTES {
                let Ok(next) = requests.try_recv() else { break };
                bytes += next.frame.len();
                batch.push(next);
            }
            self.write(batch);
        }
        if self.trouble.is_none()
            && let Err(error) = Closed::write(&*self.disk, self.header.log, self.index.head())
        {
            tracing::warn!(%error, "the log could not be marked as closed");
        }
    }

    pub(super) fn write(&mut self, batch: Vec<Request>) {
        let batch = self.without_conflicts(batch);
        if batch.is_empty() {
            return;
        }
        let mut position = self.index.head() + 1;
        let mut bytes = Vec::new();
        let mut offsets = Vec::with_capacity(batch.len());
        for request in &batch {
            offsets.push(bytes.len());
            let record = Record { synced: self.end, position, frame: &request.frame };
            record.encode(&self.header.log, &mut bytes);
            position += request.events as u64;
        }
        match self.make_ready(bytes.len()) {
            Ok(true) => {}
            // The records say what was synced of the segment, and this is another one now.
            Ok(false) => return self.write(batch),
            Err(why) => return refuse(batch, &why),
        }
        match self.file.write_at(&bytes, self.end as u64).and_then(|()| self.file.sync()) {
            Ok(()) => self.publish(batch, &offsets, bytes),
            Err(error) => {
                let why = self.fail(&error, true);
                for request in batch {
                    answer(request, Err(AppendError::Unknown(StoreError::unavailable(&why))));
                }
            }
        }
    }

    /// Answers the appends whose stream is at another version, or will be after this batch.
    fn without_conflicts(&self, batch: Vec<Request>) -> Vec<Request> {
        let mut versions = HashMap::with_capacity_and_hasher(batch.len(), RandomState::default());
        let mut rest = Vec::with_capacity(batch.len());
        for request in batch {
            let version = versions
                .entry(request.stream.clone())
                .or_insert_with(|| self.index.version(&request.stream));
            if *version == request.version {
                *version += request.events as u64;
                rest.push(request);
            } else {
                let actual = *version;
                answer(request, Err(AppendError::Conflict { actual }));
            }
        }
        rest
    }

    /// Makes the synced commits visible, and answers them.
    fn publish(&mut self, batch: Vec<Request>, offsets: &[usize], bytes: Vec<u8>) {
        let segment = small(usize::try_from(self.header.number).unwrap_or(usize::MAX));
        let start = self.end;
        self.end += bytes.len();
        self.reader.remember(Written { segment, offset: start, bytes: bytes.into() });
        for (request, offset) in batch.into_iter().zip(offsets) {
            let address = Address {
                segment,
                offset: small(start + offset),
                length: small(request.frame.len()),
            };
            let position = self
                .index
                .push(&request.stream, request.version, request.events, || address)
                .expect("this thread alone adds to the index, and it checked the version");
            answer(request, Ok(Appended { position, token: 0 }));
        }
    }

    /// Makes sure that `bytes` more can be written. Answers whether the segment is still the same.
    fn make_ready(&mut self, bytes: usize) -> Result<bool, String> {
        if let Some(trouble) = &self.trouble {
            if trouble.since.elapsed() < PAUSE {
                return Err(trouble.why.clone());
            }
            if trouble.is_in_doubt {
                self.renew().map_err(|error| self.fail(&error, true))?;
            }
        }
        self.is_full |= (self.end + bytes) as u64 > self.header.size;
        let is_same_segment = !self.is_full;
        if self.is_full {
            self.begin_segment(bytes).map_err(|error| self.fail(&error, false))?;
        }
        if self.trouble.take().is_some() {
            tracing::info!("the log can be written again");
        }
        Ok(is_same_segment)
    }

    /// When this fails the next segment may be there all the same, so that nothing can follow in this one.
    fn begin_segment(&mut self, bytes: usize) -> io::Result<()> {
        let header = Header {
            number: self.header.number + 1,
            position: self.index.head() + 1,
            size: self.segment_bytes.max(HEADER + bytes) as u64,
            ..self.header
        };
        self.file =
            write_whole(&*self.disk, &file_name(header.number), |file| fill(file, &header, None))?;
        (self.header, self.end, self.is_full) = (header, HEADER, false);
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

fn refuse(batch: Vec<Request>, why: &str) {
    for request in batch {
        answer(request, Err(AppendError::Refused(StoreError::unavailable(why))));
    }
}

fn answer(request: Request, outcome: Result<Appended, AppendError>) {
    // Whoever asked may have given up; the outcome stands.
    let _ = request.reply.send(outcome);
}
