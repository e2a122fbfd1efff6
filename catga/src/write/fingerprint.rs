//! Tells a command from a different one that is sent under the same id.

use serde::{
    Serialize, Serializer,
    ser::{self, Error as _},
};
use sha2::{Digest, Sha256};

use crate::model::{Command, Error};

/// The first half of a half of the SHA-256 of a command's name and encoding.
pub(crate) fn fingerprint<C: Command>(command: &C) -> Result<u64, Error> {
    let mut encoded = Vec::new();
    command
        .serialize(Encoder(&mut encoded))
        .map_err(|e| Error::misuse(format!("a command with an id can't be encoded: {e}")))?;
    let mut hash = Sha256::new();
    hash.update(C::NAME);
    hash.update([0]);
    hash.update(encoded);
    let hash = hash.finalize();
    Ok(u64::from_le_bytes(hash[..8].try_into().expect("SHA-256 has 32 bytes")))
}

type Encoded = postcard::Result<()>;

/// Encodes as postcard does, except for maps: their entries are sorted by their encoded keys, because each new `HashMap`
/// iterates in another order.
struct Encoder<'a>(&'a mut Vec<u8>);

impl<'a> Encoder<'a> {
    /// Encodes everything but maps.
    fn put<T: Serialize + ?Sized>(self, value: &T) -> Encoded {
        *self.0 = postcard::to_extend(value, std::mem::take(self.0))?;
        Ok(())
    }

    /// Begins a variant of an enum that has parts.
    fn variant(self, index: u32) -> postcard::Result<Parts<'a>> {
        Encoder(self.0).put(&index)?;
        Ok(Parts(self.0))
    }
}

/// The methods for values that have no parts.
macro_rules! as_postcard {
    ($($method:ident: $ty:ty),* $(,)?) => {
        $(fn $method(self, value: $ty) -> Encoded {
            self.put(&value)
        })*
    };
}

impl<'a> Serializer for Encoder<'a> {
    type Ok = ();
    type Error = postcard::Error;
    type SerializeSeq = Parts<'a>;
    type SerializeTuple = Parts<'a>;
    type SerializeTupleStruct = Parts<'a>;
    type SerializeTupleVariant = Parts<'a>;
    type SerializeMap = Entries<'a>;
    type SerializeStruct = Parts<'a>;
    type SerializeStructVariant = Parts<'a>;

    as_postcard! {
        serialize_bool: bool, serialize_char: char, serialize_str: &str,
        serialize_i8: i8, serialize_i16: i16, serialize_i32: i32, serialize_i64: i64, serialize_i128: i128,
        serialize_u8: u8, serialize_u16: u16, serialize_u32: u32, serialize_u64: u64, serialize_u128: u128,
        serialize_f32: f32, serialize_f64: f64,
    }

    fn serialize_bytes(self, bytes: &[u8]) -> Encoded {
        Encoder(self.0).put(&bytes.len())?;
        self.0.extend(bytes);
        Ok(())
    }

    fn serialize_none(self) -> Encoded {
        self.put(&false)
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Encoded {
        Encoder(self.0).put(&true)?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Encoded {
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Encoded {
        Ok(())
    }

    fn serialize_unit_variant(self, _: &'static str, index: u32, _: &'static str) -> Encoded {
        self.put(&index)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Encoded {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        value: &T,
    ) -> Encoded {
        Encoder(self.0).put(&index)?;
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> postcard::Result<Parts<'a>> {
        let length = length.ok_or(postcard::Error::SerializeSeqLengthUnknown)?;
        Encoder(self.0).put(&length)?;
        Ok(Parts(self.0))
    }

    fn serialize_tuple(self, _: usize) -> postcard::Result<Parts<'a>> {
        Ok(Parts(self.0))
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> postcard::Result<Parts<'a>> {
        Ok(Parts(self.0))
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> postcard::Result<Parts<'a>> {
        self.variant(index)
    }

    fn serialize_map(self, _: Option<usize>) -> postcard::Result<Entries<'a>> {
        Ok(Entries { out: self.0, entries: Vec::new() })
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> postcard::Result<Parts<'a>> {
        Ok(Parts(self.0))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        index: u32,
        _: &'static str,
        _: usize,
    ) -> postcard::Result<Parts<'a>> {
        self.variant(index)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Values that follow one another.
struct Parts<'a>(&'a mut Vec<u8>);

/// The traits of values with parts: they differ in the name of one method, and in whether it is given the part's name.
macro_rules! parts {
    ($($trait:ident::$method:ident($($name:ty)?)),* $(,)?) => {
        $(impl ser::$trait for Parts<'_> {
            type Ok = ();
            type Error = postcard::Error;

            fn $method<T: Serialize + ?Sized>(&mut self, $(_: $name,)? value: &T) -> Encoded {
                value.serialize(Encoder(self.0))
            }

            fn end(self) -> Encoded {
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeSeq::serialize_element(),
    SerializeTuple::serialize_element(),
    SerializeTupleStruct::serialize_field(),
    SerializeTupleVariant::serialize_field(),
    SerializeStruct::serialize_field(&'static str),
    SerializeStructVariant::serialize_field(&'static str),
}

/// A map, whose entries are sorted at its end.
struct Entries<'a> {
    out: &'a mut Vec<u8>,
    /// The key of each entry, and its value once it has been given.
    entries: Vec<(Vec<u8>, Vec<u8>)>,
}

impl ser::SerializeMap for Entries<'_> {
    type Ok = ();
    type Error = postcard::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Encoded {
        let mut encoded = Vec::new();
        key.serialize(Encoder(&mut encoded))?;
        self.entries.push((encoded, Vec::new()));
        Ok(())
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Encoded {
        let no_key = || postcard::Error::custom("a map's value comes before its key");
        let (_, encoded) = self.entries.last_mut().ok_or_else(no_key)?;
        value.serialize(Encoder(encoded))
    }

    fn end(mut self) -> Encoded {
        self.entries.sort();
        Encoder(self.out).put(&self.entries.len())?;
        for (key, value) in self.entries {
            self.out.extend(key);
            self.out.extend(value);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap};

    use super::*;

    fn encoded(value: &impl Serialize) -> Vec<u8> {
        let mut encoded = Vec::new();
        value.serialize(Encoder(&mut encoded)).unwrap();
        encoded
    }

    #[derive(Serialize)]
    enum Shape {
        Nothing,
        One(Option<i64>),
        Two(char, f32),
        Named { of: (u8, i16), unit: () },
    }

    #[derive(Serialize)]
    struct Wrapped(u128);

    #[derive(Serialize)]
    struct Pair(f64, bool);

    struct Raw(&'static [u8]);

    impl Serialize for Raw {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_bytes(self.0)
        }
    }

    #[derive(Serialize)]
    struct Everything<'a> {
        shapes: Vec<Shape>,
        text: &'a str,
        raw: Raw,
        wrapped: Wrapped,
        pair: Pair,
        numbers: (i8, i32, i128, u16, u32, u64),
        none: Option<String>,
        map: BTreeMap<u8, &'a str>,
    }

    #[test]
    fn what_has_a_fixed_order_is_encoded_as_postcard_does() {
        let named = Shape::Named { of: (200, -300), unit: () };
        let one = [Some(-5), None].map(Shape::One);
        let all = Everything {
            shapes: one.into_iter().chain([Shape::Nothing, Shape::Two('ß', 0.5), named]).collect(),
            text: "Füller",
            raw: Raw(b"\0\xff"),
            wrapped: Wrapped(u128::MAX),
            pair: Pair(-1.5, true),
            numbers: (-1, i32::MIN, i128::MIN, u16::MAX, 1 << 20, u64::MAX),
            none: None,
            map: BTreeMap::from([(1, "a"), (2, "b")]),
        };
        assert_eq!(encoded(&all), postcard::to_stdvec(&all).unwrap());
    }

    #[test]
    fn a_map_is_the_same_however_it_was_made() {
        let first: HashMap<String, u32> = (0..50).map(|n| (n.to_string(), n)).collect();
        for _ in 0..20 {
            let again: HashMap<String, u32> = first.clone().into_iter().collect();
            assert_eq!(encoded(&vec![Some(again)]), encoded(&vec![Some(&first)]));
        }
        let other: HashMap<String, u32> = (0..50).map(|n| (n.to_string(), n / 49)).collect();
        assert_ne!(encoded(&other), encoded(&first));
    }
}
