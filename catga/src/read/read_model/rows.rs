//! Rows as bytes, by place and by key.

use std::hash::BuildHasher;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// How many rows are allocated, and freed, together.
const CHUNK: usize = 1024;

/// The first byte of a row whose key is not shorter than this: four bytes say how long it is.
const LONG: u8 = u8::MAX;

/// Rows in the order they came: a row's place never changes, and is not used again when it is removed.
#[derive(Debug, Default)]
pub(super) struct Rows {
    chunks: Vec<Chunk>,
    /// The place of each row by its key, which is in the row only.
    places: HashTable<u32>,
    hasher: RandomState,
    /// The place of the next row.
    next: u32,
}

/// Consecutive rows. Removed ones are empty; when all of a full chunk are, so is the chunk.
#[derive(Debug, Default)]
struct Chunk {
    /// Each is its key, as [`write_key`] writes it, and the row behind it.
    rows: Vec<Box<[u8]>>,
    live: usize,
}

/// Writes a key so that none is the begin of another one: its length first.
pub(super) fn write_key(bytes: &mut Vec<u8>, encode: impl FnOnce(&mut Vec<u8>)) {
    bytes.clear();
    bytes.push(0);
    encode(bytes);
    let length = bytes.len() - 1;
    match u8::try_from(length) {
        Ok(short) if short < LONG => bytes[0] = short,
        _ => {
            let length = u32::try_from(length).expect("a key is shorter than 4 GB");
            bytes[0] = LONG;
            bytes.splice(1..1, length.to_le_bytes());
        }
    }
}

/// The key of a row with its length, and the row behind it.
pub(super) fn split(bytes: &[u8]) -> (&[u8], &[u8]) {
    try_split(bytes).expect("a row begins with its key")
}

/// `None` when the bytes are too short.
fn try_split(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let head = if first == LONG { 5 } else { 1 };
    let length = match first {
        LONG => usize::try_from(u32::from_le_bytes(*rest.first_chunk()?)).ok()?,
        short => usize::from(short),
    };
    bytes.split_at_checked(head + length)
}

/// What [`write_key`] was given.
pub(super) fn bare_key(key: &[u8]) -> &[u8] {
    if key[0] == LONG { &key[5..] } else { &key[1..] }
}

impl Rows {
    /// The place that the next row gets.
    pub(super) fn next(&self) -> u32 {
        self.next
    }

    /// What [`find`](Self::find) and [`push`](Self::push) want of a key.
    pub(super) fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn find(&self, hash: u64, key: &[u8]) -> Option<u32> {
        let is_it = |&place: &u32| self.bytes(place).starts_with(key);
        self.places.find(hash, is_it).copied()
    }

    /// A row's bytes: its key, and the row behind it.
    pub(super) fn bytes(&self, place: u32) -> &[u8] {
        let (chunk, index) = chunk_of(place);
        self.chunks.get(chunk).and_then(|chunk| chunk.rows.get(index)).map_or(&[], |row| row)
    }

    /// The key and the row at a place that has one.
    pub(super) fn parts(&self, place: u32) -> (&[u8], &[u8]) {
        split(self.bytes(place))
    }

    /// Adds a row with a key that no other row has, and that has this `hash`. Answers its place.
    pub(super) fn push(&mut self, hash: u64, bytes: &[u8]) -> u32 {
        let place = self.next;
        self.place_next(bytes);
        let hasher = &self.hasher;
        let chunks = &self.chunks;
        let hash_of = |&place: &u32| {
            let (chunk, index) = chunk_of(place);
            hasher.hash_one(split(&chunks[chunk].rows[index]).0)
        };
        self.places.insert_unique(hash, place, hash_of);
        place
    }

    fn place_next(&mut self, bytes: &[u8]) {
        let (chunk, _) = chunk_of(self.next);
        self.next = self.next.checked_add(1).expect("a table takes 2^32 - 1 new rows in its life");
        if chunk == self.chunks.len() {
            self.chunks.push(Chunk::default());
        }
        let chunk = &mut self.chunks[chunk];
        chunk.rows.push(bytes.into());
        chunk.live += usize::from(!bytes.is_empty());
        chunk.free_if_unused();
    }

    /// Adds a row from a snapshot, at a place that is not below the last one's. `None` when it is no row, or its key is
    /// there already.
    pub(super) fn restore(&mut self, place: u32, bytes: &[u8]) -> Option<()> {
        let (key, _) = try_split(bytes)?;
        self.skip_to(place)?;
        let hash = self.hash(key);
        if self.find(hash, key).is_some() || place == u32::MAX {
            return None;
        }
        self.push(hash, bytes);
        Some(())
    }

    /// Leaves the places up to `place` empty: their rows were removed.
    pub(super) fn skip_to(&mut self, place: u32) -> Option<()> {
        if place < self.next {
            return None;
        }
        (self.next..place).for_each(|_| self.place_next(&[]));
        Some(())
    }

    /// Replaces the row at `place` by one with the same key.
    pub(super) fn set(&mut self, place: u32, bytes: &[u8]) {
        let (chunk, index) = chunk_of(place);
        let row = &mut self.chunks[chunk].rows[index];
        if row.len() == bytes.len() {
            row.copy_from_slice(bytes);
        } else {
            *row = bytes.into();
        }
    }

    /// The same with bytes that have their exact length.
    pub(super) fn set_boxed(&mut self, place: u32, bytes: Box<[u8]>) {
        let (chunk, index) = chunk_of(place);
        self.chunks[chunk].rows[index] = bytes;
    }

    pub(super) fn remove(&mut self, place: u32) {
        let hash = self.hash(self.parts(place).0);
        if let Ok(entry) = self.places.find_entry(hash, |&other| other == place) {
            entry.remove();
        }
        let (chunk, index) = chunk_of(place);
        let chunk = &mut self.chunks[chunk];
        chunk.rows[index] = Box::default();
        chunk.live -= 1;
        chunk.free_if_unused();
    }
}

impl Chunk {
    fn free_if_unused(&mut self) {
        if self.live == 0 && self.rows.len() == CHUNK {
            self.rows = Vec::new();
        }
    }
}

/// The chunk that a place is in, and where in it.
fn chunk_of(place: u32) -> (usize, usize) {
    let place = usize::try_from(place).expect("a place is a place in memory");
    (place / CHUNK, place % CHUNK)
}
