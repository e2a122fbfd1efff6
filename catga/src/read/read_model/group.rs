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
    ranges: Vec<(u32, u32)>,
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
            let begin = length(bytes);
            encode_entry::<R>(&entry, bytes);
            ranges.push((begin, length(bytes)));
        }
        *amount = row.amount();
        // Mostly they are in order.
        if !ranges.is_sorted_by(|&one, &other| at(bytes, one) < at(bytes, other)) {
            ranges.sort_unstable_by(|&one, &other| at(bytes, one).cmp(at(bytes, other)));
            ranges.dedup_by(|one, other| at(bytes, *one) == at(bytes, *other));
        }
    }

    fn get(&self, index: usize) -> Option<&[u8]> {
        self.ranges.get(index).map(|&range| at(&self.bytes, range))
    }
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("the index entries of a row are shorter than 4 GB")
}

fn at(bytes: &[u8], (begin, end): (u32, u32)) -> &[u8] {
    &bytes[begin as usize..end as usize]
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
    /// Those whose entry is [short](short), found without a hash. Where no row has the entry, the group is empty.
    by_short: Vec<Group>,
    by_entry: HashMap<Box<[u8]>, Group, RandomState>,
}

/// Where in `by_short` the group of an entry is, if there: that of a variant of an enum alone, or with a small number or
/// another enum, as a status.
fn short(entry: &[u8]) -> Option<usize> {
    /// Bytes below this.
    const BYTES: u8 = 32;
    let (variant, value) = match *entry {
        [variant] if variant < BYTES => (variant, 0),
        [variant, value] if variant < BYTES && value < BYTES => (variant, 1 + value),
        _ => return None,
    };
    Some(usize::from(variant) * (1 + usize::from(BYTES)) + usize::from(value))
}

impl Groups {
    /// The rows with `entry`; `None` or an empty group when there are none.
    pub(super) fn find<R: Row>(&self, entry: &R::Index<'_>) -> Option<&Group> {
        // Mostly it is short.
        let mut buffer = [0; 64];
        if let Ok(bytes) = postcard::to_slice(entry, &mut buffer) {
            return self.get(bytes);
        }
        let mut bytes = Vec::new();
        encode_entry::<R>(entry, &mut bytes);
        self.get(&bytes)
    }

    fn get(&self, entry: &[u8]) -> Option<&Group> {
        match short(entry) {
            Some(index) => self.by_short.get(index),
            None => self.by_entry.get(entry),
        }
    }

    fn get_mut(&mut self, entry: &[u8]) -> Option<&mut Group> {
        match short(entry) {
            Some(index) => self.by_short.get_mut(index),
            None => self.by_entry.get_mut(entry),
        }
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
        if rise == 0 && before.ranges == after.ranges && before.bytes == after.bytes {
            return;
        }
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
                    if let Some(group) = self.get_mut(kept) {
                        group.amount += rise;
                    }
                }
                _ => {}
            }
        }
    }

    fn insert_at(&mut self, entry: &[u8], place: u32, amount: i128) {
        let group = match short(entry) {
            Some(index) => {
                if self.by_short.len() <= index {
                    self.by_short.resize_with(index + 1, Group::default);
                }
                &mut self.by_short[index]
            }
            None => self.by_entry.entry_ref(entry).or_default(),
        };
        group.insert(place, amount);
    }

    fn remove_at(&mut self, entry: &[u8], place: u32, amount: i128) {
        let Some(group) = self.get_mut(entry) else { return };
        group.remove(place, amount);
        if group.places.len() == 0 && short(entry).is_none() {
            self.by_entry.remove(entry);
        }
    }
}
