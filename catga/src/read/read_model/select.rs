//! Pages of rows, newest first.

use std::{borrow::Cow, fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use smallvec::SmallVec;

use crate::read::read_model::{Row, Table, place_set::PlaceSet};

/// How many bytes of encoded rows a page holds at most, beyond its first row.
const PAGE_BYTES: usize = 1 << 20;

/// Which rows of a [`Table`] are wanted: all, until [`filter`](Self::filter) says otherwise.
///
/// ```
/// # use catga::read_model::Row;
/// # use serde::{Deserialize, Serialize};
/// # #[derive(Default, Serialize, Deserialize)]
/// # struct Book { author: String, is_lent: bool }
/// # #[derive(Serialize)]
/// # enum By<'a> { Author(&'a str), Lent(bool) }
/// # impl Row for Book {
/// #     type Key = u32;
/// #     type Index<'a> = By<'a>;
/// #     fn indexes(&self) -> impl IntoIterator<Item = By<'_>> {
/// #         [By::Author(&self.author), By::Lent(self.is_lent)]
/// #     }
/// # }
/// use catga::read_model::Table;
///
/// let mut books = Table::<Book>::default();
/// for number in 1..=5 {
///     books.update(&number, |book| book.author = "Ishiguro".to_owned());
/// }
/// books.update(&2, |book| book.is_lent = true);
///
/// // What a request may ask for.
/// let (author, is_lent) = (Some("Ishiguro"), Some(false));
/// let select = books.select().filter(author.map(By::Author)).filter(is_lent.map(By::Lent));
/// let page = select.clone().page(2);
/// let keys = |page: catga::read_model::Page<Book>| page.rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>();
/// let next = page.next.unwrap();
/// assert_eq!((page.total, keys(page)), (4, vec![5, 4]));
/// assert_eq!(keys(select.after(next).page(2)), [3, 1]);
/// ```
#[derive(Debug)]
pub struct Select<'t, R: Row> {
    table: &'t Table<R>,
    /// The rows that each filter lets through.
    filters: SmallVec<[&'t PlaceSet; 4]>,
    /// Whether there is a filter that lets no row through.
    is_nothing: bool,
    after: Option<Cursor>,
}

impl<R: Row> Table<R> {
    /// All rows, to filter and to read by the page.
    pub fn select(&self) -> Select<'_, R> {
        Select { table: self, filters: SmallVec::new(), is_nothing: false, after: None }
    }
}

impl<R: Row> Clone for Select<'_, R> {
    fn clone(&self) -> Self {
        Self { filters: self.filters.clone(), ..*self }
    }
}

impl<R: Row> Select<'_, R> {
    /// Only rows with this index entry; `None` filters nothing. Rows must have the entries of all filters.
    #[must_use]
    pub fn filter<'i>(mut self, entry: impl Into<Option<R::Index<'i>>>) -> Self {
        if let Some(entry) = entry.into() {
            match self.table.groups.find::<R>(&entry) {
                Some(group) => self.filters.push(&group.places),
                None => self.is_nothing = true,
            }
        }
        self
    }

    /// Only rows behind those of another page: its [`next`](Page::next). `None` begins with the newest.
    #[must_use]
    pub fn after(self, cursor: impl Into<Option<Cursor>>) -> Self {
        Self { after: cursor.into(), ..self }
    }

    /// How many rows there are, on all pages.
    pub fn count(&self) -> u64 {
        self.places().len()
    }

    /// The newest of the rows, at most `limit` of them, and fewer when they are large: a page holds no more than 1 MiB of
    /// encoded rows, or one. [`Page::next`] says whether there are more. Without filters or with one it costs what its rows cost to decode,
    /// however many there are. With more, it is an intersection of bitmaps: microseconds for a million rows.
    pub fn page(&self, limit: usize) -> Page<R> {
        let places = self.places();
        let end = self.after.map_or(u32::MAX, |cursor| cursor.0);
        // One more than the page holds tells whether there is a next one.
        let mut page = places.last_before(end, limit.saturating_add(1));
        let count = page.len();
        page.truncate(limit);
        let mut bytes = 0;
        let is_too_much = page.iter().position(|&place| {
            let is_full = bytes > 0;
            bytes += self.table.bytes(place).len();
            is_full && bytes > PAGE_BYTES
        });
        page.truncate(is_too_much.unwrap_or(limit));
        let has_next = page.len() < count;
        Page {
            next: page.last().filter(|_| has_next).map(|&place| Cursor(place)),
            rows: page.into_iter().map(|place| self.table.entry(place)).collect(),
            total: places.len(),
        }
    }

    fn places(&self) -> Cow<'_, PlaceSet> {
        if self.is_nothing {
            return Cow::Owned(PlaceSet::default());
        }
        let mut filters = self.filters.clone();
        // What is in the smallest is looked up in the others.
        filters.sort_unstable_by_key(|places| places.len());
        let mut filters = filters.into_iter();
        let first = filters.next().unwrap_or(&self.table.groups.all.places);
        filters.fold(Cow::Borrowed(first), |all, places| Cow::Owned(all.and(places)))
    }
}

/// Some of the rows that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct Page<R: Row> {
    /// Each row with its key, newest first.
    pub rows: Vec<(R::Key, R)>,
    /// How many rows there are, on all pages.
    pub total: u64,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

/// A place between two rows of a table, for [`Select::after`].
///
/// As new rows come before all pages, a cursor stays right while rows are added: a walk through the pages sees every row that
/// was there when it began, and that the filters let through all the time, exactly once. It also stays right at a restart, for
/// the same events give the same table.
///
/// Clients get it as text that says nothing to them; it is read back with [`str::parse`].
///
/// ```
/// use catga::read_model::Cursor;
///
/// assert!("page 2".parse::<Cursor>().is_err());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(into = "String", try_from = "String")]
pub struct Cursor(u32);

impl Cursor {
    /// The place behind this many rows, for a list that is no table but stands in the order it was made, too.
    pub fn new(place: u32) -> Self {
        Self(place)
    }

    /// How many rows come before it.
    pub fn place(self) -> u32 {
        self.0
    }
}

/// For a query's field of this type: text, in JSON Schema.
#[cfg(feature = "schemars")]
impl schemars::JsonSchema for Cursor {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Cursor".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        // A service may add the log whose rows it counts.
        schemars::json_schema!({ "type": "string", "pattern": "^1[0-9a-f]{8}(@[0-9a-f]{16})?$" })
    }
}

/// Before the place, in case that it is written otherwise one day.
const FORMAT: char = '1';

impl fmt::Display for Cursor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{FORMAT}{:08x}", self.0)
    }
}

impl FromStr for Cursor {
    type Err = InvalidCursor;

    fn from_str(text: &str) -> Result<Self, InvalidCursor> {
        let place = text.strip_prefix(FORMAT).filter(|place| place.len() == 8);
        let is_ours = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        let place = place.filter(|place| place.bytes().all(is_ours)).ok_or(InvalidCursor)?;
        u32::from_str_radix(place, 16).map(Self).map_err(|_| InvalidCursor)
    }
}

impl From<Cursor> for String {
    fn from(cursor: Cursor) -> Self {
        cursor.to_string()
    }
}

impl TryFrom<String> for Cursor {
    type Error = InvalidCursor;

    fn try_from(text: String) -> Result<Self, InvalidCursor> {
        text.parse()
    }
}

/// A text that is not a [`Cursor`]'s.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what a Link header gave is allowed")]
pub struct InvalidCursor;

#[cfg(test)]
mod tests {
    use super::*;

    /// A row that is its key's text so many times.
    #[derive(Default, Serialize, Deserialize)]
    struct Large(String);

    impl Row for Large {
        type Key = u32;
        type Index<'a> = ();

        fn indexes(&self) -> impl IntoIterator<Item = ()> {
            []
        }
    }

    #[test]
    fn a_page_is_bounded_in_bytes() {
        let mut table = Table::<Large>::default();
        for (key, bytes) in [(1, 10), (2, 2 * PAGE_BYTES), (3, PAGE_BYTES / 2), (4, PAGE_BYTES / 3)]
        {
            table.update(&key, |row| row.0 = "x".repeat(bytes));
        }
        let (mut pages, mut cursor) = (Vec::new(), None);
        loop {
            let page = table.select().after(cursor).page(100);
            assert_eq!(page.total, 4);
            pages.push(page.rows.into_iter().map(|(key, _)| key).collect::<Vec<_>>());
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(pages, [vec![4, 3], vec![2], vec![1]]);
    }

    #[test]
    fn cursors_are_read_back_and_nothing_else_is() {
        for cursor in [0, 1, 999_999, u32::MAX].map(Cursor) {
            assert_eq!(cursor.to_string().parse(), Ok(cursor));
            let bytes = postcard::to_stdvec(&cursor).unwrap();
            assert_eq!(postcard::from_bytes(&bytes), Ok(cursor));
        }
        for text in ["", "1", "2000000ff", "10000000g", "1+00000ff", "1000000fff", "1000000FF"] {
            assert_eq!(text.parse::<Cursor>(), Err(InvalidCursor), "{text}");
        }
    }
}
