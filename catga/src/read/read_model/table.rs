//! The table: its rows, kept encoded, and their indexes.

use std::{any::type_name, fmt};

use crate::{
    log::codec,
    read::read_model::{
        Key, Row, Totals,
        group::{Entries, Group, Groups},
        rows::{Rows, bare_key, write_key},
    },
};

/// How many rows that changed lately are kept decoded as well.
const DECODED: usize = 512;

/// Up to how many encoded bytes a row is kept decoded as well.
const DECODED_BYTES: usize = 1 << 10;

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
    /// Rows that changed lately, each at its place modulo [`DECODED`]: most will change again soon, and need not be decoded
    /// then.
    decoded: Vec<Option<(u32, R)>>,
    /// Where rows and index entries are encoded.
    scratch: Scratch,
}

/// Buffers that are kept between two changes.
#[derive(Debug, Default)]
struct Scratch {
    row: Vec<u8>,
    before: Entries,
    after: Entries,
}

impl<R: Row> Table<R> {
    /// Changes the row with this key; one that is not there begins as the default value, and is the newest.
    ///
    /// # Panics
    /// When the row does not fit postcard: see [`Row`]. In a projection that stops the read models.
    pub fn update(&mut self, key: &<R::Key as Key>::Borrowed, change: impl FnOnce(&mut R)) {
        let Scratch { row: bytes, .. } = &mut self.scratch;
        write_key(bytes, |bytes| R::Key::encode(key, bytes));
        let length = bytes.len();
        let place = self.rows.find(bytes);
        let mut row = place.map_or_else(R::default, |place| self.take_decoded(place));
        let Self { rows, groups, scratch: Scratch { row: bytes, before, after }, .. } = self;
        if place.is_some() {
            before.set(&row);
        }
        change(&mut row);
        after.set(&row);
        if let Err(error) = codec::append(&row, bytes) {
            panic!("a row `{}` can't be encoded: {error}", type_name::<R>());
        }
        let place = match place {
            Some(place) => {
                groups.change(place, before, after);
                rows.set(place, bytes);
                place
            }
            None => {
                let place = rows.push(bytes);
                groups.insert(place, after);
                place
            }
        };
        if bytes.len() - length <= DECODED_BYTES {
            self.keep_decoded(place, row);
        }
    }

    /// Removes the row with this key. Answers whether there was one.
    pub fn remove(&mut self, key: &<R::Key as Key>::Borrowed) -> bool {
        let Some(place) = self.find(key) else { return false };
        let row = self.take_decoded(place);
        self.scratch.before.set(&row);
        self.groups.remove(place, &self.scratch.before);
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
        self.rows.find(&bytes)
    }

    fn decode(&self, place: u32) -> R {
        Self::decode_row(self.rows.parts(place).1).unwrap_or_else(|error| {
            panic!("a row `{}` can't be decoded as it was encoded: {error}", type_name::<R>())
        })
    }

    pub(super) fn decode_row(bytes: &[u8]) -> postcard::Result<R> {
        match postcard::take_from_bytes(bytes)? {
            (row, []) => Ok(row),
            _ => Err(postcard::Error::DeserializeBadEncoding),
        }
    }

    /// The key and the row at a place that has one.
    pub(super) fn entry(&self, place: u32) -> (R::Key, R) {
        let key = bare_key(self.rows.parts(place).0);
        let key = R::Key::decode(key).unwrap_or_else(|| {
            panic!("a key `{}` can't be decoded as it was encoded", type_name::<R::Key>())
        });
        (key, self.decode(place))
    }

    /// Puts a row that was restored into the indexes.
    pub(super) fn index(&mut self, place: u32) -> postcard::Result<()> {
        let row = Self::decode_row(self.rows.parts(place).1)?;
        self.scratch.after.set(&row);
        self.groups.insert(place, &self.scratch.after);
        Ok(())
    }

    fn take_decoded(&mut self, place: u32) -> R {
        match self
            .decoded
            .get_mut(slot(place))
            .and_then(|kept| kept.take_if(|(at, _)| *at == place))
        {
            Some((_, row)) => row,
            None => self.decode(place),
        }
    }

    fn keep_decoded(&mut self, place: u32, row: R) {
        let slot = slot(place);
        if self.decoded.len() <= slot {
            self.decoded.resize_with(slot + 1, || None);
        }
        self.decoded[slot] = Some((place, row));
    }
}

fn slot(place: u32) -> usize {
    usize::try_from(place).expect("a place is a place in memory") % DECODED
}

impl<R: Row> Default for Table<R> {
    fn default() -> Self {
        let (rows, groups, decoded, scratch) = Default::default();
        Self { rows, groups, decoded, scratch }
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
