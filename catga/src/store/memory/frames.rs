//! Frames in memory, one behind the other in blocks: by itself each would take as much again.

use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use crate::log::Record;
use crate::store::index::IndexEntry;

/// How many bytes of frames a block has. What is read of the open block is a copy of all of it, so it is small.
const BLOCK: usize = 4 << 10;

/// Larger frames are a block of their own.
const LARGE: usize = BLOCK / 4;

/// The length that stands for all of a block.
const WHOLE: u16 = u16::MAX;

/// The frames of a log.
#[derive(Default)]
pub(super) struct Frames(RwLock<Blocks>);

#[derive(Default)]
struct Blocks {
    full: Vec<Bytes>,
    /// The block after those, which has room for more.
    open: Vec<u8>,
}

/// Where a frame is.
#[derive(Debug, Clone, Copy)]
pub(super) struct FrameLocation {
    block: u32,
    offset: u16,
    length: u16,
}

impl Frames {
    /// Keeps a copy of `frame`.
    pub(super) fn add(&self, frame: &[u8]) -> FrameLocation {
        let mut blocks = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if blocks.open.len() + frame.len() > BLOCK {
            blocks.close();
        }
        if frame.len() > LARGE {
            blocks.close();
            let block = blocks.next();
            blocks.full.push(Bytes::copy_from_slice(frame));
            return FrameLocation { block, offset: 0, length: WHOLE };
        }
        let (offset, length) = (short(blocks.open.len()), short(frame.len()));
        blocks.open.extend_from_slice(frame);
        FrameLocation { block: blocks.next(), offset, length }
    }

    /// The commits at `entries`.
    pub(super) fn records(&self, entries: &[IndexEntry<FrameLocation>]) -> Vec<Record> {
        let blocks = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut open = None;
        let frame = |FrameLocation { block, offset, length }| {
            let block = match blocks.full.get(block as usize) {
                Some(block) => block,
                None => open.get_or_insert_with(|| Bytes::copy_from_slice(&blocks.open)),
            };
            let offset = usize::from(offset);
            match length {
                WHOLE => block.clone(),
                length => block.slice(offset..offset + usize::from(length)),
            }
        };
        let frames = entries.iter().map(|entry| entry.value).map(frame);
        let records = entries.iter().zip(frames);
        records.map(|(entry, frame)| Record { position: entry.position, token: 0, frame }).collect()
    }
}

impl Blocks {
    /// The number of the block after the full ones.
    fn next(&self) -> u32 {
        self.full.len().try_into().expect("fewer than 2^32 blocks fit in memory")
    }

    fn close(&mut self) {
        if !self.open.is_empty() {
            let open = std::mem::replace(&mut self.open, Vec::with_capacity(BLOCK));
            self.full.push(open.into());
        }
    }
}

fn short(length: usize) -> u16 {
    length.try_into().expect("a block is shorter than 2^16 bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_any_length_are_read_as_they_were_added() {
        let frames = Frames::default();
        let lengths =
            [1, 90, LARGE, LARGE + 1, 7, BLOCK, 1, 3 * BLOCK, LARGE, LARGE, LARGE, LARGE, 1];
        let lengths = lengths.into_iter().chain((0..200).map(|n| n * 37 % LARGE));
        let (mut entries, mut expected) = (Vec::new(), Vec::new());
        for (position, length) in (1..).zip(lengths) {
            let frame: Vec<u8> =
                (position..).map(|n: u64| n.to_le_bytes()[0]).take(length).collect();
            let position = position.into();
            entries.push(IndexEntry { position, value: frames.add(&frame) });
            expected.push(Record { position, token: 0, frame: frame.into() });
            // The one before, too, however the blocks have changed since.
            let from = entries.len().saturating_sub(2);
            assert_eq!(frames.records(&entries[from..]), expected[from..]);
        }
        assert_eq!(frames.records(&entries), expected);
    }
}
