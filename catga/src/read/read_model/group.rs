//! The rows that have an index entry in common, and what is known of them.

use std::cmp::Ordering;

use foldhash::fast::RandomState;
use hashbrown::HashMap;

use crate::{
    log::codec,
    read::read_model::{Row, Totals, place_set::PlaceSet},
};

/// Some rows, with the sum of their amounts.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub(super) places: PlaceSet,
    amount: i128,
}

impl Group {
    pub(super) fn totals(&self) -> Totals {
        Totals { rows: self.places.len(), amount: self.amount }
    }

    fn insert(&mut self, place: u32, amount: i128) {
        self.places.insert(place);
        self.amount += amount;
    }

    fn remove(&mut self, place: u32, amount: i128) {
        self.places.remove(place);
        self.amount -= amount;
    }
}

/// What the indexes have of one row: its entries, encoded, in order and each once, and its amount.
#[derive(Debug, Default)]
pub(super) struct Entries {
    bytes: Vec<u8>,
    /// Where in `bytes` each entry is.
    ranges: Vec<(usize, usize)>,
    amount: i128,
}

impl Entries {
    /// Those of `row`.
    ///
    /// # Panics
    /// When an entry can't be encoded.
    pub(super) fn set<R: Row>(&mut self, row: &R) {
        let Self { bytes, ranges, amount } = self;
        bytes.clear();
        ranges.clear();
        for entry in row.indexes() {
            let begin = bytes.len();
            encode_entry::<R>(&entry, bytes);
            ranges.push((begin, bytes.len()));
        }
        let entry = |&(begin, end): &(usize, usize)| &bytes[begin..end];
        ranges.sort_unstable_by(|one, other| entry(one).cmp(entry(other)));
        ranges.dedup_by(|one, other| entry(one) == entry(other));
        *amount = row.amount();
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        self.ranges.get(index).map(|&(begin, end)| &self.bytes[begin..end])
    }
}

fn encode_entry<R: Row>(entry: &R::Index<'_>, bytes: &mut Vec<u8>) {
    if let Err(error) = codec::append(entry, bytes) {
        panic!("an index entry of `{}` can't be encoded: {error}", std::any::type_name::<R>());
    }
}

/// All rows of a table, and those of each index entry.
#[derive(Debug, Default)]
pub(super) struct Groups {
    pub(super) all: Group,
    by_entry: HashMap<Box<[u8]>, Group, RandomState>,
}

impl Groups {
    /// The rows with `entry`.
    pub(super) fn find<R: Row>(&self, entry: &R::Index<'_>) -> Option<&Group> {
        // Mostly it is short.
        let mut short = [0; 64];
        if let Ok(bytes) = postcard::to_slice(entry, &mut short) {
            return self.by_entry.get(&*bytes);
        }
        let mut bytes = Vec::new();
        encode_entry::<R>(entry, &mut bytes);
        self.by_entry.get(&*bytes)
    }

    pub(super) fn insert(&mut self, place: u32, entries: &Entries) {
        self.all.insert(place, entries.amount);
        for entry in (0..).map_while(|index| entries.get(index)) {
            self.insert_at(entry, place, entries.amount);
        }
    }

    pub(super) fn remove(&mut self, place: u32, entries: &Entries) {
        self.all.remove(place, entries.amount);
        for entry in (0..).map_while(|index| entries.get(index)) {
            self.remove_at(entry, place, entries.amount);
        }
    }

    /// The row at `place` had the entries `before`, and has `after` now.
    pub(super) fn change(&mut self, place: u32, before: &Entries, after: &Entries) {
        let rise = after.amount - before.amount;
        self.all.amount += rise;
        // Both are in order.
        let (mut old, mut new) = (0, 0);
        loop {
            let (gone, come) = (before.get(old), after.get(new));
            let order = match (gone, come) {
                (None, None) => return,
                (Some(gone), Some(come)) => gone.cmp(come),
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
            };
            old += usize::from(order.is_le());
            new += usize::from(order.is_ge());
            match (order, gone, come) {
                (Ordering::Less, Some(gone), _) => self.remove_at(gone, place, before.amount),
                (Ordering::Greater, _, Some(come)) => self.insert_at(come, place, after.amount),
                (_, Some(kept), _) if rise != 0 => {
                    if let Some(group) = self.by_entry.get_mut(kept) {
                        group.amount += rise;
                    }
                }
                _ => {}
            }
        }
    }

    fn insert_at(&mut self, entry: &[u8], place: u32, amount: i128) {
        self.by_entry.entry_ref(entry).or_default().insert(place, amount);
    }

    fn remove_at(&mut self, entry: &[u8], place: u32, amount: i128) {
        let Some(group) = self.by_entry.get_mut(entry) else { return };
        group.remove(place, amount);
        if group.places.len() == 0 {
            self.by_entry.remove(entry);
        }
    }
}
