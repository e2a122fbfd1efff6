//! What a row is, and what is known of many.

use serde::{Serialize, de::DeserializeOwned};

use crate::read::read_model::Key;

/// A row of a [`Table`](crate::read_model::Table). A new row is the default value.
///
/// Its fields must fit [postcard](https://postcard.jamesmunns.com): no `serde(flatten)`, `tag`, `untagged` or
/// `skip_serializing_if`.
///
/// ```
/// use catga::read_model::Row;
/// use serde::{Deserialize, Serialize};
///
/// #[derive(Default, Serialize, Deserialize)]
/// struct Book { title: String, author: String, is_lent: bool, pages: u32 }
///
/// #[derive(Serialize)]
/// enum By<'a> { Author(&'a str), Lent(bool) }
///
/// impl Row for Book {
///     type Key = String;
///     type Index<'a> = By<'a>;
///
///     fn indexes(&self) -> impl IntoIterator<Item = By<'_>> {
///         [By::Author(&self.author), By::Lent(self.is_lent)]
///     }
///
///     fn amount(&self) -> i128 {
///         self.pages.into()
///     }
/// }
/// ```
pub trait Row: Default + Serialize + DeserializeOwned + Send + Sync + 'static {
    /// What the table finds one row by.
    type Key: Key;

    /// What the table finds many rows by: an enum with a variant for each index, and in it the value. `()` without indexes.
    ///
    /// Two entries are the same when they are encoded in the same way.
    type Index<'a>: Serialize;

    /// The entries of this row in the indexes. An index need not have every row, and can have one under several values, as
    /// for tags.
    fn indexes(&self) -> impl IntoIterator<Item = Self::Index<'_>> {
        []
    }

    /// What is summed up over the rows, of the whole table and of each index entry.
    fn amount(&self) -> i128 {
        0
    }
}

/// How many rows there are, and the sum of their [amounts](Row::amount).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    /// How many rows.
    pub rows: u64,
    /// The sum over them.
    pub amount: i128,
}
