//! A table as part of a snapshot: its rows. All else is made of them.

use std::fmt;

use bytes::Bytes;
use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, SeqAccess, Visitor},
};

use crate::read::read_model::{Row, Table, rows::Rows};

/// The place of the next row, then each row with how many places it is behind the one before.
impl<R: Row> Serialize for Table<R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (self.rows.next(), AllRows(self)).serialize(serializer)
    }
}

struct AllRows<'t, R: Row>(&'t Table<R>);

impl<R: Row> Serialize for AllRows<'_, R> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;

        let places = &self.0.groups.all.places;
        let mut sequence = serializer.serialize_seq(usize::try_from(places.len()).ok())?;
        let mut next = 0;
        for place in places.iter() {
            sequence.serialize_element(&(place - next, Raw(self.0.bytes(place))))?;
            next = place + 1;
        }
        sequence.end()
    }
}

/// Bytes that are written at once, and not one by one.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl<'de, R: Row> Deserialize<'de> for Table<R> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (next, mut rows) = <(u32, Rows)>::deserialize(deserializer)?;
        rows.skip_to(next).ok_or_else(|| D::Error::custom("rows behind the last place"))?;
        let mut table = Self::default();
        table.rows = rows;
        for place in 0..next {
            if !table.rows.bytes(place).is_empty() {
                table.index(place).map_err(D::Error::custom)?;
            }
        }
        Ok(table)
    }
}

impl<'de> Deserialize<'de> for Rows {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(RowsVisitor)
    }
}

struct RowsVisitor;

impl<'de> Visitor<'de> for RowsVisitor {
    type Value = Rows;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("rows, each with its distance from the one before")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut sequence: A) -> Result<Rows, A::Error> {
        let mut rows = Rows::default();
        while let Some((gap, bytes)) = sequence.next_element::<(u32, Bytes)>()? {
            let place = rows.next().checked_add(gap);
            place
                .and_then(|place| rows.restore(place, &bytes))
                .ok_or_else(|| A::Error::custom("not a row of this table"))?;
        }
        Ok(rows)
    }
}
