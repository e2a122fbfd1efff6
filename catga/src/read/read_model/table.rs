//! The table: its rows, kept encoded, and their indexes.

use std::{any::type_name, fmt};

use crate::read::read_model::{
    Key, Row, Totals,
    group::{Entries, Group, Groups},
    recent::RecentRows,
    rows::{Rows, bare_key, split, write_key},
};

/// Rows by key, in the order they came, with [indexes](Row::indexes).
///
/// It is part of a [`Projection`](crate::Projection), and of its snapshots: it can be serialized. See the [module](self)
/// for a whole read model.
///
/// ```
/// # use catga::read_model::Row;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, Serialize, Deserialize)]
/// # struct Book { title: String, author: String, is_lent: bool, pages: u32 }
/// # #[derive(Serialize)]
/// # enum By<'a> { Author(&'a str), Lent(bool) }
/// # impl Row for Book {
/// #     type Key = String;
/// #     type Index<'a> = By<'a>;
/// #     fn indexes(&self) -> impl IntoIterator<Item = By<'_>> {
/// #         [By::Author(&self.author), By::Lent(self.is_lent)]
/// #     }
/// #     fn amount(&self) -> i128 { self.pages.into() }
/// # }
/// use catga::read_model::Table;
///
/// let mut books = Table::<Book>::default();
/// books.update("0-571-08", |book| {
///     book.author = "Ishiguro".to_owned();
///     book.pages = 245;
/// });
/// books.update("0-571-08", |book| book.is_lent = true);
/// assert_eq!(books.get("0-571-08").unwrap().pages, 245);
/// assert_eq!(books.totals_of(By::Lent(true)).rows, 1);
/// assert_eq!(books.totals_of(By::Author("Ishiguro")).amount, 245);
/// ```
///
/// In a life it takes 2³² new rows; a row that is removed leaves at most 16 bytes.
pub struct Table<R: Row> {
    pub(super) rows: Rows,
    pub(super) groups: Groups,
    recent: RecentRows<R>,
    /// Where keys and index entries are encoded.
    scratch: Scratch,
}

/// Buffers that are kept between two changes.
#[derive(Debug, Default)]
struct Scratch {
    key: Vec<u8>,
    before: Entries,
    after: Entries,
}

impl<R: Row> Table<R> {
    /// Changes the row with this key; one that is not there begins as the default value, and is the newest.
    ///
    /// # Panics
    /// When a row does not fit postcard: see [`Row`]. It need not be this one, as rows that changed are encoded later. In a
    /// projection that stops the read models. When `change` panics, the row may have a part of the change.
    pub fn update(&mut self, key: &<R::Key as Key>::Borrowed, change: impl FnOnce(&mut R)) {
        write_key(&mut self.scratch.key, |bytes| R::Key::encode(key, bytes));
        let hash = self.rows.hash(&self.scratch.key);
        let place = self.rows.find(hash, &self.scratch.key);
        let Self { rows, groups, recent, scratch: Scratch { key, before, after } } = self;
        if let Some(place) = place
            && let Some(kept) = recent.get_mut(place)
        {
            change(&mut kept.row);
            after.set(&kept.row);
            groups.change(place, &kept.entries, after);
            recent.changed(place, after, rows);
            return;
        }
        let mut row = R::default();
        if let Some(place) = place {
            row = decode(rows.parts(place).1);
            before.set(&row);
        }
        change(&mut row);
        after.set(&row);
        recent.make_room(place.unwrap_or(rows.next()), rows);
        let place = match place {
            Some(place) => {
                groups.change(place, before, after);
                place
            }
            None => {
                let place = rows.push(hash, key);
                groups.insert(place, after);
                place
            }
        };
        recent.keep(place, row, after, rows);
    }

    /// Removes the row with this key. Answers whether there was one.
    pub fn remove(&mut self, key: &<R::Key as Key>::Borrowed) -> bool {
        let Some(place) = self.find(key) else { return false };
        match self.recent.take(place) {
            Some(kept) => self.groups.remove(place, &kept.entries),
            None => {
                self.scratch.before.set(&self.decode(place));
                self.groups.remove(place, &self.scratch.before);
            }
        }
        self.rows.remove(place);
        true
    }

    /// The row with this key.
    pub fn get(&self, key: &<R::Key as Key>::Borrowed) -> Option<R> {
        self.find(key).map(|place| self.decode(place))
    }

    /// How many rows there are, and the sum of their amounts.
    pub fn totals(&self) -> Totals {
        self.groups.all.totals()
    }

    /// How many rows have this index entry, and the sum of their amounts. It costs the same however many there are.
    pub fn totals_of(&self, entry: R::Index<'_>) -> Totals {
        self.groups.find::<R>(&entry).map_or_else(Totals::default, Group::totals)
    }

    fn find(&self, key: &<R::Key as Key>::Borrowed) -> Option<u32> {
        let mut bytes = Vec::with_capacity(64);
        write_key(&mut bytes, |bytes| R::Key::encode(key, bytes));
        self.rows.find(self.rows.hash(&bytes), &bytes)
    }

    /// The key of the row at a place, and the row behind it, encoded; empty when it was removed.
    pub(super) fn bytes(&self, place: u32) -> &[u8] {
        let unwritten = self.recent.unwritten(place, &self.rows);
        unwritten.unwrap_or_else(|| self.rows.bytes(place))
    }

    fn decode(&self, place: u32) -> R {
        decode(split(self.bytes(place)).1)
    }

    /// The key and the row at a place that has one.
    pub(super) fn entry(&self, place: u32) -> (R::Key, R) {
        let (key, row) = split(self.bytes(place));
        let key = R::Key::decode(bare_key(key)).unwrap_or_else(|| {
            panic!("a key `{}` can't be decoded as it was encoded", type_name::<R::Key>())
        });
        (key, decode(row))
    }

    /// Puts a row that was restored into the indexes.
    pub(super) fn index(&mut self, place: u32) -> postcard::Result<()> {
        let row: R = decode_row(self.rows.parts(place).1)?;
        self.scratch.after.set(&row);
        self.groups.insert(place, &self.scratch.after);
        Ok(())
    }
}

fn decode<R: Row>(bytes: &[u8]) -> R {
    decode_row(bytes).unwrap_or_else(|error| {
        panic!("a row `{}` can't be decoded as it was encoded: {error}", type_name::<R>())
    })
}

fn decode_row<R: Row>(bytes: &[u8]) -> postcard::Result<R> {
    match postcard::take_from_bytes(bytes)? {
        (row, []) => Ok(row),
        _ => Err(postcard::Error::DeserializeBadEncoding),
    }
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        let (rows, groups, recent, scratch) = Default::default();
        Self { rows, groups, recent, scratch }
    }
}

impl<R: Row> fmt::Debug for Table<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let of = type_name::<R>();
        f.debug_struct("Table")
            .field("of", &of)
            .field("totals", &self.totals())
            .finish_non_exhaustive()
    }
}
