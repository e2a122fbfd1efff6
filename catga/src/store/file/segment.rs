//! The format of a segment, the unit that the log is kept in on disk.
//!
//! A segment is a file of a fixed size, written from its front; what is not written yet is zero. Integers are
//! little-endian.
//!
//! | bytes | segment header |
//! |---|---|
//! | 8 | `catgalog` |
//! | 4 | format, 1 |
//! | 4 | CRC-32 of the rest of the header |
//! | 16 | the log's id, random, the same in all its segments |
//! | 8 | number of the segment, from 1 |
//! | 8 | position of its first event |
//! | 8 | its size in bytes |
//!
//! | bytes | record header |
//! |---|---|
//! | 4 | length of the commit frame that follows |
//! | 4 | CRC-32 of the log's id, the rest of the header, and the frame |
//! | 4 | up to which byte the segment was synced when this record was written |
//! | 8 | position of the first event |
//!
//! What is bad after the last synced byte was never acknowledged: the writer was interrupted, and it is cut
//! off. What is bad before it is damage, and is never passed over. The log's id in each checksum keeps a
//! record that somebody stores *inside* a commit from being taken for one.

use crc32fast::Hasher;
use uuid::Uuid;

use crate::log::Position;

/// How long a segment's header is.
pub(super) const HEADER: usize = 56;

/// How long a record's header is.
pub(super) const RECORD: usize = 20;

/// The largest frame.
pub(super) const MAX_FRAME: usize = 16 << 20;

const MAGIC: &[u8; 8] = b"catgalog";
const FORMAT: u32 = 1;

/// What a segment says of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) log: Uuid,
    pub(super) number: u64,
    pub(super) position: Position,
    pub(super) size: u64,
}

/// Why a segment's header can't be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadHeader {
    /// It was written by a later version of catga.
    Format(u32),
    Damaged,
}

impl Header {
    pub(super) fn encode(&self) -> [u8; HEADER] {
        let mut bytes = [0; HEADER];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[16..32].copy_from_slice(self.log.as_bytes());
        bytes[32..40].copy_from_slice(&self.number.to_le_bytes());
        bytes[40..48].copy_from_slice(&self.position.get().to_le_bytes());
        bytes[48..56].copy_from_slice(&self.size.to_le_bytes());
        let crc = crc32fast::hash(&bytes[16..]);
        bytes[12..16].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BadHeader> {
        if bytes.len() < HEADER || &bytes[..8] != MAGIC {
            return Err(BadHeader::Damaged);
        }
        match u32_at(bytes, 8) {
            FORMAT => {}
            format => return Err(BadHeader::Format(format)),
        }
        if u32_at(bytes, 12) != crc32fast::hash(&bytes[16..HEADER]) {
            return Err(BadHeader::Damaged);
        }
        Ok(Self {
            log: Uuid::from_slice(&bytes[16..32]).expect("16 bytes"),
            number: u64_at(bytes, 32),
            position: Position::new(u64_at(bytes, 40)),
            size: u64_at(bytes, 48),
        })
    }
}

/// A commit that lies at some offset of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Record<'a> {
    pub(super) synced: usize,
    pub(super) position: Position,
    /// The commit frame.
    pub(super) frame: &'a [u8],
}

impl<'a> Record<'a> {
    /// Adds the record to `buffer`.
    pub(super) fn encode(&self, log: &Uuid, buffer: &mut Vec<u8>) {
        let start = buffer.len();
        buffer.extend_from_slice(&small(self.frame.len()).to_le_bytes());
        buffer.extend_from_slice(&[0; 4]);
        buffer.extend_from_slice(&small(self.synced).to_le_bytes());
        buffer.extend_from_slice(&self.position.get().to_le_bytes());
        let crc = checksum(log, &buffer[start..], self.frame);
        buffer[start + 4..start + 8].copy_from_slice(&crc.to_le_bytes());
        buffer.extend_from_slice(self.frame);
    }

    /// The record at the front of `bytes`, if there is a whole and sound one.
    pub(super) fn decode(log: &Uuid, bytes: &'a [u8]) -> Option<Self> {
        let (header, rest) = bytes.split_at_checked(RECORD)?;
        let frame = rest.get(..u32_at(header, 0) as usize).filter(|frame| !frame.is_empty())?;
        let is_sound = u32_at(header, 4) == checksum(log, header, frame);
        let (synced, position) = (u32_at(header, 8) as usize, Position::new(u64_at(header, 12)));
        is_sound.then_some(Self { synced, position, frame })
    }

    /// How many bytes it takes.
    pub(super) fn size(&self) -> usize {
        RECORD + self.frame.len()
    }
}

/// Whether the byte at `bad`, which begins no sound record, had been synced once: a later record, whose
/// position is above `before`, says so.
pub(super) fn is_damage(log: &Uuid, segment: &[u8], bad: usize, before: Position) -> bool {
    // Where a sound record may begin is not known any more, so each offset is tried; most are seen at once not
    // to begin one.
    let positions = before..=before + segment.len() as u64 * crate::log::MAX_EVENTS as u64;
    let may_begin = |at: usize| {
        let synced = u32_at(segment, at + 8) as usize;
        bad < synced && synced <= at && positions.contains(&Position::new(u64_at(segment, at + 12)))
    };
    (bad + 1..segment.len().saturating_sub(RECORD))
        .any(|at| may_begin(at) && Record::decode(log, &segment[at..]).is_some())
}

/// A length or an offset in a segment, as it is written.
pub(super) fn small(number: usize) -> u32 {
    u32::try_from(number).expect("a segment is smaller than 4 GiB")
}

fn checksum(log: &Uuid, header: &[u8], frame: &[u8]) -> u32 {
    let mut hasher = Hasher::new();
    hasher.update(log.as_bytes());
    hasher.update(&header[..4]);
    hasher.update(&header[8..RECORD]);
    hasher.update(frame);
    hasher.finalize()
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: Uuid = Uuid::from_u128(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// These bytes are in people's directories: if this fails, old logs can't be read.
    #[test]
    fn golden_bytes_of_format_1() {
        let header = Header { log: LOG, number: 2, position: Position::new(7), size: 4096 };
        assert_eq!(
            hex(&header.encode()),
            concat!(
                "63617467616c6f6701000000",
                "64a73015",
                "0102030405060708090a0b0c0d0e0f10",
                "0200000000000000",
                "0700000000000000",
                "0010000000000000",
            )
        );
        let mut record = Vec::new();
        Record { synced: 56, position: Position::new(7), frame: b"ab" }.encode(&LOG, &mut record);
        assert_eq!(
            hex(&record),
            concat!("02000000", "3a82350a", "38000000", "0700000000000000", "6162")
        );
    }

    #[test]
    fn what_is_encoded_is_decoded_and_a_flipped_bit_is_seen() {
        let header = Header { log: LOG, number: 2, position: Position::new(7), size: 4096 };
        let bytes = header.encode();
        assert_eq!(Header::decode(&bytes), Ok(header));
        let record = Record { synced: 56, position: Position::new(7), frame: b"frame" };
        let mut encoded = Vec::new();
        record.encode(&LOG, &mut encoded);
        assert_eq!(Record::decode(&LOG, &encoded), Some(record));
        assert_eq!(Record::decode(&Uuid::nil(), &encoded), None, "it is of another log");
        for bit in 0..bytes.len() * 8 {
            let mut bad = bytes;
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(Header::decode(&bad).is_err(), "bit {bit} of a segment's header");
        }
        for bit in 0..encoded.len() * 8 {
            let mut bad = encoded.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Record::decode(&LOG, &bad), None, "bit {bit} of a record");
        }
    }

    #[test]
    fn a_later_format_is_named() {
        let mut bytes =
            Header { log: LOG, number: 1, position: Position::new(1), size: 64 }.encode();
        bytes[8] = 9;
        assert_eq!(Header::decode(&bytes), Err(BadHeader::Format(9)));
    }
}
