//! Writing the fields of a struct into a JSON object that has others, too.
//!
//! serde's `flatten` can't do this for events: an enum of them would bring its variants' names, and `None` can't be
//! left out by an attribute, because the same attributes rule how an event is stored.

use serde::{
    Serialize, Serializer,
    ser::{Error, Impossible, SerializeMap, SerializeStruct, SerializeStructVariant},
};

/// Writes the fields of a struct, or of the struct in a variant, into `map`.
pub(crate) struct Members<'m, M> {
    map: &'m mut M,
}

impl<'m, M: SerializeMap> Members<'m, M> {
    pub(crate) fn of(map: &'m mut M) -> Self {
        Self { map }
    }
}

/// serde has a trait for the fields of a struct and another one for those of a variant.
macro_rules! write_fields {
    ($($of:ident)*) => {$(
        impl<M: SerializeMap> $of for Members<'_, M> {
            type Ok = ();
            type Error = M::Error;

            fn serialize_field<T: ?Sized + Serialize>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), M::Error> {
                match value.serialize(Probe) {
                    Err(Found::Nothing) => Ok(()),
                    _ => self.map.serialize_entry(name, value),
                }
            }

            fn end(self) -> Result<(), M::Error> {
                Ok(())
            }
        }
    )*};
}
write_fields!(SerializeStruct SerializeStructVariant);

/// Answers each of these calls in the same way.
macro_rules! all {
    ($answer:expr; $($method:ident($($kind:ty),*))*) => {
        $(fn $method(self, $(_: $kind),*) -> Result<Self::Ok, Self::Error> {
            $answer
        })*
    };
}

fn no_struct<E: Error>() -> E {
    E::custom("an event is a struct with named fields")
}

impl<M: SerializeMap> Serializer for Members<'_, M> {
    type Ok = ();
    type Error = M::Error;
    type SerializeSeq = Impossible<(), M::Error>;
    type SerializeTuple = Impossible<(), M::Error>;
    type SerializeTupleStruct = Impossible<(), M::Error>;
    type SerializeTupleVariant = Impossible<(), M::Error>;
    type SerializeMap = Impossible<(), M::Error>;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, M::Error> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self, M::Error> {
        Ok(self)
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), M::Error> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        value: &T,
    ) -> Result<(), M::Error> {
        value.serialize(self)
    }

    fn serialize_some<T: ?Sized + Serialize>(self, _: &T) -> Result<(), M::Error> {
        Err(no_struct())
    }

    all! { Ok(()); serialize_unit() serialize_unit_struct(&'static str)
    serialize_unit_variant(&'static str, u32, &'static str) }

    all! { Err(no_struct()); serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32)
    serialize_i64(i64) serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_f32(f32)
    serialize_f64(f64) serialize_char(char) serialize_str(&str) serialize_bytes(&[u8]) serialize_none() }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, M::Error> {
        Err(no_struct())
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, M::Error> {
        Err(no_struct())
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, M::Error> {
        Err(no_struct())
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, M::Error> {
        Err(no_struct())
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, M::Error> {
        Err(no_struct())
    }
}

/// Asks a value whether it is `None`, and goes no further into it.
struct Probe;

/// What a [`Probe`] found.
#[derive(Debug, thiserror::Error)]
#[error("it is only looked at")]
enum Found {
    /// `None`.
    Nothing,
    /// Anything else.
    Something,
}

impl Error for Found {
    fn custom<T: std::fmt::Display>(_: T) -> Self {
        Self::Something
    }
}

impl Serializer for Probe {
    type Ok = ();
    type Error = Found;
    type SerializeSeq = Impossible<(), Found>;
    type SerializeTuple = Impossible<(), Found>;
    type SerializeTupleStruct = Impossible<(), Found>;
    type SerializeTupleVariant = Impossible<(), Found>;
    type SerializeMap = Impossible<(), Found>;
    type SerializeStruct = Impossible<(), Found>;
    type SerializeStructVariant = Impossible<(), Found>;

    all! { Err(Found::Nothing); serialize_none() }

    all! { Ok(()); serialize_bool(bool) serialize_i8(i8) serialize_i16(i16) serialize_i32(i32) serialize_i64(i64)
    serialize_u8(u8) serialize_u16(u16) serialize_u32(u32) serialize_u64(u64) serialize_f32(f32) serialize_f64(f64)
    serialize_char(char) serialize_str(&str) serialize_bytes(&[u8]) serialize_unit() serialize_unit_struct(&'static str)
    serialize_unit_variant(&'static str, u32, &'static str) }

    fn serialize_some<T: ?Sized + Serialize>(self, _: &T) -> Result<(), Found> {
        Ok(())
    }

    fn serialize_newtype_struct<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        value: &T,
    ) -> Result<(), Found> {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: ?Sized + Serialize>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> Result<(), Found> {
        Ok(())
    }

    fn serialize_seq(self, _: Option<usize>) -> Result<Self::SerializeSeq, Found> {
        Err(Found::Something)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self::SerializeTuple, Found> {
        Err(Found::Something)
    }

    fn serialize_tuple_struct(
        self,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleStruct, Found> {
        Err(Found::Something)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, Found> {
        Err(Found::Something)
    }

    fn serialize_map(self, _: Option<usize>) -> Result<Self::SerializeMap, Found> {
        Err(Found::Something)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, Found> {
        Err(Found::Something)
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: usize,
    ) -> Result<Self::SerializeStructVariant, Found> {
        Err(Found::Something)
    }

    fn is_human_readable(&self) -> bool {
        true
    }
}
