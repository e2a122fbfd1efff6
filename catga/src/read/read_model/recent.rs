//! The rows that changed lately, decoded: most of them change again soon.

use std::{any::type_name, mem::swap, sync::OnceLock};

use crate::{
    log::codec,
    read::read_model::{Row, group::Entries, rows::Rows},
};

/// How many rows are kept, each at its place modulo this.
const ROWS: usize = 512;

/// Rows that take more bytes than this encoded are not kept, as they would take several times as many decoded.
const MAX_BYTES: usize = 1 << 10;

/// Write a row after this many changes, even if it is kept: it may have grown.
const MAX_CHANGES: u8 = 16;

/// Some rows, decoded. What [`Rows`] has of them can be out of date: a row is encoded when another one takes its slot, and
/// not with each change.
#[derive(Debug)]
pub(super) struct RecentRows<R> {
    slots: Vec<Option<RecentRow<R>>>,
    /// How long the row that was written last is, encoded.
    last_bytes: usize,
    buffer: Vec<u8>,
}

/// A row that changed lately.
#[derive(Debug)]
pub(super) struct RecentRow<R> {
    place: u32,
    pub(super) row: R,
    /// What the indexes have of it.
    pub(super) entries: Entries,
    /// How often it changed since it was written.
    changes: u8,
    /// The changed row as [`Rows`] would have it, from the first time on that somebody reads it.
    encoded: OnceLock<Box<[u8]>>,
}

impl<R> Default for RecentRows<R> {
    fn default() -> Self {
        // Write the first row at once: it tells how long rows are here.
        Self { slots: Vec::new(), last_bytes: usize::MAX, buffer: Vec::new() }
    }
}

impl<R: Row> RecentRows<R> {
    pub(super) fn get_mut(&mut self, place: u32) -> Option<&mut RecentRow<R>> {
        self.slots.get_mut(slot(place))?.as_mut().filter(|kept| kept.place == place)
    }

    /// The row at `place` and its key, encoded, when [`Rows`] does not have it as it is now.
    pub(super) fn unwritten(&self, place: u32, rows: &Rows) -> Option<&[u8]> {
        let kept = self.slots.get(slot(place))?.as_ref()?;
        let is_it = kept.place == place && kept.changes > 0;
        is_it.then(|| &**kept.encoded.get_or_init(|| kept.encode(rows, Vec::new()).into()))
    }

    /// Writes the row that is kept where the one at `place` would be.
    pub(super) fn make_room(&mut self, place: u32, rows: &mut Rows) {
        let slot = slot(place);
        if self.slots.len() <= slot {
            self.slots.resize_with(slot + 1, || None);
        }
        self.write(slot, rows);
    }

    /// Keeps a row that changed, where [`make_room`](Self::make_room) was called for it. In place of its entries are others,
    /// to be overwritten.
    pub(super) fn keep(&mut self, place: u32, row: R, entries: &mut Entries, rows: &mut Rows) {
        let slot = slot(place);
        let kept = match &mut self.slots[slot] {
            Some(kept) => {
                kept.place = place;
                kept.row = row;
                kept
            }
            free => {
                let (entries, encoded) = Default::default();
                free.insert(RecentRow { place, row, entries, changes: 0, encoded })
            }
        };
        swap(&mut kept.entries, entries);
        kept.changes = 1;
        // This one will be as long as others are.
        if self.last_bytes.max(rows.parts(place).1.len()) > MAX_BYTES {
            self.write(slot, rows);
        }
    }

    /// The row at `place`, when it is kept, changed to have `entries`, and they are what it had before.
    pub(super) fn changed(&mut self, place: u32, entries: &mut Entries, rows: &mut Rows) {
        let Some(kept) = self.get_mut(place) else { return };
        swap(&mut kept.entries, entries);
        kept.changes += 1;
        kept.encoded.take();
        if kept.changes > MAX_CHANGES {
            self.write(slot(place), rows);
        }
    }

    pub(super) fn take(&mut self, place: u32) -> Option<RecentRow<R>> {
        self.slots.get_mut(slot(place))?.take_if(|kept| kept.place == place)
    }

    fn write(&mut self, slot: usize, rows: &mut Rows) {
        let Some(kept) = self.slots[slot].as_mut().filter(|kept| kept.changes > 0) else { return };
        match kept.encoded.take() {
            Some(encoded) => rows.set_boxed(kept.place, encoded),
            None => {
                self.buffer = kept.encode(rows, std::mem::take(&mut self.buffer));
                rows.set(kept.place, &self.buffer);
            }
        }
        kept.changes = 0;
        self.last_bytes = rows.parts(kept.place).1.len();
        if self.last_bytes > MAX_BYTES {
            self.slots[slot] = None;
        }
    }
}

impl<R: Row> RecentRow<R> {
    /// Its key, as `rows` has it, and the row, in `buffer`.
    fn encode(&self, rows: &Rows, mut buffer: Vec<u8>) -> Vec<u8> {
        buffer.clear();
        buffer.extend_from_slice(rows.parts(self.place).0);
        if let Err(error) = codec::append(&self.row, &mut buffer) {
            panic!("a row `{}` can't be encoded: {error}", type_name::<R>());
        }
        buffer
    }
}

fn slot(place: u32) -> usize {
    usize::try_from(place).expect("a place is a place in memory") % ROWS
}
