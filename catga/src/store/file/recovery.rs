//! Reading a whole log from its directory: at every start, and to verify it.

use std::{collections::BTreeMap, fmt, io};

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{
    disk::{Disk, DiskFile, read_into, read_whole},
    segment::{self, BadHeader, HEADER, Header, RECORD, Record, small},
};
use crate::{
    log::{Commit, Position, StreamId, Version},
    store::index::Index,
};

/// The file that is there exactly when the log was closed and not opened again.
pub(super) const CLOSED: &str = "closed";

/// Where a commit is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) segment: u32,
    /// Of the record's header.
    pub(super) offset: u32,
    /// Of the frame.
    pub(super) length: u32,
}

impl Address {
    /// Behind the record's last byte.
    pub(super) fn end(&self) -> u64 {
        u64::from(self.offset) + RECORD as u64 + u64::from(self.length)
    }
}

/// Why a directory's log can't be used. The text is for the operator: it names files.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Another process, or this one, has the log open.
    #[error("it is in use by another process")]
    InUse,
    /// There is no log in the directory.
    #[error("there is no log in it")]
    NoLog,
    /// The operating system refused.
    #[error("{what}: {source}")]
    Io {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: io::Error,
    },
    /// A file holds what can't have been written there. Nothing was changed; restore the file from a copy.
    #[error("{file} is damaged at byte {offset}: {what}")]
    Damaged {
        /// The file's name in the directory.
        file: String,
        /// The first byte that is not right.
        offset: u64,
        /// What is wrong.
        what: String,
    },
    /// A later version of catga wrote the file.
    #[error("{file} has format {format}, which this program is too old to read")]
    Format {
        /// The file's name in the directory.
        file: String,
        /// The format it has.
        format: u32,
    },
}

impl FileError {
    pub(super) fn io(what: impl fmt::Display) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { what: what.to_string(), source }
    }

    fn damaged(file: &str, offset: usize, what: impl fmt::Display) -> Self {
        Self::Damaged { file: file.to_owned(), offset: offset as u64, what: what.to_string() }
    }
}

/// What is in the file [`CLOSED`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Closed {
    log: Uuid,
    head: Position,
}

impl Closed {
    pub(super) fn write(disk: &dyn Disk, log: Uuid, head: Position) -> io::Result<()> {
        let bytes = postcard::to_stdvec(&Self { log, head }).expect("two numbers fit in a Vec");
        super::disk::write_whole(disk, CLOSED, |file| file.write_at(&sealed(bytes), 0))?;
        Ok(())
    }

    fn read(disk: &dyn Disk) -> Result<Self, FileError> {
        let bytes = read_whole(disk, CLOSED).map_err(unreadable(CLOSED))?;
        unsealed(&bytes)
            .and_then(|bytes| postcard::from_bytes(bytes).ok())
            .ok_or_else(|| FileError::damaged(CLOSED, 0, "it is not what was written"))
    }
}

/// `bytes` behind their CRC-32.
pub(super) fn sealed(bytes: Vec<u8>) -> Vec<u8> {
    [&crc32fast::hash(&bytes).to_le_bytes(), bytes.as_slice()].concat()
}

/// What was [`sealed`], or `None` when it is damaged.
pub(super) fn unsealed(bytes: &[u8]) -> Option<&[u8]> {
    let (crc, bytes) = bytes.split_first_chunk::<4>()?;
    (u32::from_le_bytes(*crc) == crc32fast::hash(bytes)).then_some(bytes)
}

/// A log as it was found.
pub(super) struct Found {
    pub(super) index: Index<Address>,
    /// The last segment; `None` in an empty directory.
    pub(super) last: Option<LastSegment>,
    /// Whether the log was closed, and nothing was lost since.
    pub(super) is_closed: bool,
}

/// The segment at which the log ends.
pub(super) struct LastSegment {
    pub(super) header: Header,
    /// Behind the last sound record.
    pub(super) end: usize,
    /// How many bytes of an interrupted write are behind that.
    pub(super) torn: usize,
}

/// The name of a segment's file.
pub(super) fn file_name(number: u64) -> String {
    format!("{number:08}.log")
}

/// Reads the log on `disk`, and changes nothing.
pub(super) fn read(disk: &dyn Disk) -> Result<Found, FileError> {
    let names = disk.list().map_err(FileError::io("the directory can't be listed"))?;
    let numbers: BTreeMap<u64, &String> = names
        .iter()
        .filter_map(|name| Some((name.strip_suffix(".log")?.parse().ok()?, name)))
        .collect();
    let mut found = Found { index: Index::new(), last: None, is_closed: false };
    let mut bytes = Vec::new();
    for (expected, (number, name)) in (1..).zip(numbers) {
        if number != expected {
            let missing = file_name(expected);
            return Err(FileError::damaged(
                &missing,
                0,
                format!("it is missing, and {name} is there"),
            ));
        }
        read_into(disk, name, &mut bytes).map_err(unreadable(name))?;
        found.read_segment(name, number, &bytes)?;
    }
    if names.iter().any(|name| name == CLOSED) {
        found.check_closed(Closed::read(disk)?)?;
    }
    Ok(found)
}

fn unreadable(name: &str) -> impl FnOnce(io::Error) -> FileError {
    FileError::io(format!("{name} can't be read"))
}

impl Found {
    fn read_segment(&mut self, name: &str, number: u64, bytes: &[u8]) -> Result<(), FileError> {
        let header = Header::decode(bytes).map_err(|bad| match bad {
            BadHeader::Format(format) => FileError::Format { file: name.to_owned(), format },
            BadHeader::Damaged => FileError::damaged(name, 0, "its header is not what was written"),
        })?;
        if header.size != bytes.len() as u64 {
            let what = format!("it is {} bytes long, not {}", bytes.len(), header.size);
            return Err(FileError::damaged(name, bytes.len(), what));
        }
        if header.number != number {
            let what = format!("it is segment {} under the name of {number}", header.number);
            return Err(FileError::damaged(name, 0, what));
        }
        let next = self.index.head().next();
        if let Some(last) = &self.last {
            if last.header.log != header.log {
                return Err(FileError::damaged(name, 0, "it is a segment of another log"));
            }
            if header.position != next {
                let what =
                    format!("position {next} is missing; {name} begins at {}", header.position);
                return Err(FileError::damaged(&file_name(number - 1), last.end, what));
            }
            if last.torn > 0 {
                let what = "something follows its last record, and there is a next segment";
                return Err(FileError::damaged(&file_name(number - 1), last.end, what));
            }
        } else if header.position != next {
            return Err(FileError::damaged(name, 0, "the log does not begin at position 1"));
        }
        let end = self.read_records(name, &header, bytes)?;
        let torn = bytes[end..].iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
        if torn > 0 && segment::is_damage(&header.log, bytes, end, self.index.head().next()) {
            let what = "what was written here and synced is not sound, but later records are";
            return Err(FileError::damaged(name, end, what));
        }
        self.last = Some(LastSegment { header, end, torn });
        Ok(())
    }

    /// Takes in the sound records at the front of a segment. Answers where they end.
    fn read_records(
        &mut self,
        name: &str,
        header: &Header,
        bytes: &[u8],
    ) -> Result<usize, FileError> {
        let mut offset = HEADER;
        while let Some(record) = Record::decode(&header.log, &bytes[offset..]) {
            let damaged = |what: String| FileError::damaged(name, offset, what);
            let next = self.index.head().next();
            if record.position != next {
                return Err(damaged(format!("position {} follows {}", record.position, next - 1)));
            }
            let (stream, version, events) = parts(record.frame).map_err(damaged)?;
            let address = Address {
                segment: small(usize::try_from(header.number).unwrap_or(usize::MAX)),
                offset: small(offset),
                length: small(record.frame.len()),
            };
            self.index.push(&stream, version, events, || address).map_err(|actual| {
                damaged(format!("stream {stream} is at version {actual}, not at {version}"))
            })?;
            offset += record.size();
        }
        Ok(offset)
    }

    /// After a clean close everything must still be there.
    fn check_closed(&mut self, closed: Closed) -> Result<(), FileError> {
        let head = self.index.head();
        match &self.last {
            Some(last) if last.header.log == closed.log => {
                if head < closed.head {
                    let what = format!(
                        "position {} is missing: the log was closed at {}",
                        head.next(),
                        closed.head
                    );
                    return Err(FileError::damaged(&file_name(last.header.number), last.end, what));
                }
                if head > closed.head || last.torn > 0 {
                    let what = format!(
                        "something follows position {}, where the log was closed",
                        closed.head
                    );
                    return Err(FileError::damaged(&file_name(last.header.number), last.end, what));
                }
                self.is_closed = true;
                Ok(())
            }
            Some(_) => Err(FileError::damaged(CLOSED, 0, "it is of another log")),
            None => Err(FileError::damaged(&file_name(1), 0, "it is missing")),
        }
    }
}

/// What the index needs to know of a frame: stream, the version before, and how many events.
fn parts(frame: &[u8]) -> Result<(StreamId, Version, usize), String> {
    // The checksum was right, so what comes behind the begin is what was written.
    if let Some(parts) = Commit::begin(frame) {
        return Ok(parts);
    }
    let commit = Commit::decode(frame).map_err(|error| error.to_string())?;
    let stream = commit.stream_id().map_err(|error| error.to_string())?;
    Ok((stream, commit.first_version - 1, commit.events.len()))
}

/// The frame at `address`, which `bytes` begin with.
pub(super) fn frame_at(log: &Uuid, bytes: &Bytes) -> Option<Bytes> {
    let record = Record::decode(log, bytes)?;
    Some(bytes.slice_ref(record.frame))
}

/// Writes a segment with `header`: the first bytes of `source`, as many as it says, and zeros behind them.
pub(super) fn fill(
    file: &dyn DiskFile,
    header: &Header,
    source: Option<(&dyn DiskFile, usize)>,
) -> io::Result<()> {
    const CHUNK: usize = 1 << 20;
    let size = usize::try_from(header.size).map_err(io::Error::other)?;
    let mut buffer = vec![0; CHUNK.min(size)];
    let mut offset = 0;
    while offset < size {
        let length = buffer.len().min(size - offset);
        let chunk = &mut buffer[..length];
        chunk.fill(0);
        if let Some((source, end)) = source.filter(|(_, end)| offset < *end) {
            let length = length.min(end - offset);
            source.read_at(&mut chunk[..length], offset as u64)?;
        } else if offset == 0 {
            chunk[..HEADER].copy_from_slice(&header.encode());
        }
        file.write_at(chunk, offset as u64)?;
        offset += length;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::{CommandRecord, EventFrame, Timestamp};

    #[test]
    fn the_begin_of_a_commit_tells_what_all_of_it_does() {
        let event =
            EventFrame { id: Uuid::max(), name: "Tested", schema: 300, payload: b"payload" };
        let all = Commit {
            stream: "test/a",
            first_version: Version::new(700),
            time: Timestamp::from_micros(-5),
            node: "node",
            command: Some(CommandRecord { id: "id", fingerprint: u64::MAX, reply: b"reply" }),
            correlation: Some("correlation"),
            causation: Some(Uuid::max()),
            traceparent: Some("traceparent"),
            events: vec![event; 200].into(),
        };
        let none = Commit { command: None, correlation: None, causation: None, ..all.clone() };
        for commit in [all, Commit { traceparent: None, ..none }] {
            let frame = commit.encode();
            assert_eq!(
                Commit::begin(&frame),
                Some((commit.stream_id().unwrap(), Version::new(699), 200))
            );
            assert!(parts(&frame[..10]).is_err() && parts(&[&[2], &frame[1..]].concat()).is_err());
        }
    }
}
