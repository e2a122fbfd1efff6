//! Postcard's encoder, but for one thing: it does not leave out fields, and knows where each of them is.

use postcard::{Error, Serializer as Postcard};
use serde::{
    Serialize, Serializer,
    ser::{self, Error as _},
};

use crate::log::codec::Behind;

/// How encoding ends.
pub(crate) type Encoding = Result<(), Error>;

/// What came of encoding a value.
pub(crate) struct Encoded {
    pub(crate) result: Encoding,
    /// Something that differs where tuple structs have other numbers of fields.
    pub(crate) shape: u64,
    /// Whether it ended at a field that would be left out.
    pub(crate) has_skipped: bool,
    pub(crate) trace: Option<Trace>,
}

/// Adds `value` to the end of `bytes`.
pub(crate) fn encode(value: &impl Serialize, bytes: &mut Vec<u8>, trace: Option<Trace>) -> Encoded {
    let out = Postcard { output: Behind(bytes) };
    let mut encoder = Encoder { out, shape: 0, has_skipped: false, trace };
    let result = value.serialize(&mut encoder);
    let Encoder { shape, has_skipped, trace, .. } = encoder;
    Encoded { result, shape, has_skipped, trace }
}

/// Where the fields are, for the message.
#[derive(Default)]
pub(crate) struct Trace {
    /// The path of the one that is being written.
    pub(crate) path: Vec<&'static str>,
    /// Of each its path, and where it begins, in the order that they are written.
    pub(crate) fields: Vec<(String, usize)>,
}

/// Encodes as postcard does, and refuses to leave out a field.
struct Encoder<'b> {
    out: Postcard<Behind<'b>>,
    /// How many fields each tuple struct has, as a number: serde says nothing of those that are left out there.
    shape: u64,
    has_skipped: bool,
    trace: Option<Trace>,
}

impl Encoder<'_> {
    fn field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Encoding {
        let Some(trace) = &mut self.trace else { return value.serialize(self) };
        trace.path.push(name);
        trace.fields.push((trace.path.join("."), self.out.output.0.len()));
        value.serialize(&mut *self)?;
        self.trace.as_mut().map(|trace| trace.path.pop());
        Ok(())
    }

    fn skip(&mut self, name: &'static str) -> Encoding {
        self.has_skipped = true;
        if let Some(trace) = &mut self.trace {
            trace.path.push(name);
        }
        Err(Error::custom("a field is left out"))
    }

    fn parts(&mut self, count: usize) {
        self.shape = self.shape.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(count as u64 + 1);
    }
}

/// The methods that are postcard's own.
macro_rules! as_postcard {
    ($($method:ident($($name:ident: $ty:ty),*);)*) => {
        $(fn $method(self, $($name: $ty),*) -> Encoding {
            (&mut self.out).$method($($name),*)
        })*
    };
}

impl Serializer for &mut Encoder<'_> {
    type Ok = ();
    type Error = Error;
    type SerializeSeq = Self;
    type SerializeTuple = Self;
    type SerializeTupleStruct = Self;
    type SerializeTupleVariant = Self;
    type SerializeMap = Self;
    type SerializeStruct = Self;
    type SerializeStructVariant = Self;

    as_postcard! {
        serialize_bool(value: bool);
        serialize_i8(value: i8);
        serialize_i16(value: i16);
        serialize_i32(value: i32);
        serialize_i64(value: i64);
        serialize_i128(value: i128);
        serialize_u8(value: u8);
        serialize_u16(value: u16);
        serialize_u32(value: u32);
        serialize_u64(value: u64);
        serialize_u128(value: u128);
        serialize_f32(value: f32);
        serialize_f64(value: f64);
        serialize_char(value: char);
        serialize_str(value: &str);
        serialize_bytes(value: &[u8]);
        serialize_none();
        serialize_unit();
        serialize_unit_struct(name: &'static str);
        serialize_unit_variant(name: &'static str, index: u32, variant: &'static str);
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Encoding {
        self.out.serialize_u8(1)?;
        value.serialize(self)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        value: &T,
    ) -> Encoding {
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Encoding {
        self.out.serialize_unit_variant(name, index, variant)?;
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self, Error> {
        self.out.serialize_seq(length)?;
        Ok(self)
    }

    fn serialize_tuple(self, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_tuple_struct(self, _: &'static str, count: usize) -> Result<Self, Error> {
        self.parts(count);
        Ok(self)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        count: usize,
    ) -> Result<Self, Error> {
        self.parts(count);
        self.out.serialize_unit_variant(name, index, variant)?;
        Ok(self)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self, Error> {
        self.out.serialize_map(length)?;
        Ok(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, Error> {
        Ok(self)
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self, Error> {
        self.out.serialize_unit_variant(name, index, variant)?;
        Ok(self)
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Encoding {
        self.out.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// The traits of what has parts without names: they differ in the name of one method.
macro_rules! parts {
    ($($trait:ident::$method:ident),* $(,)?) => {
        $(impl ser::$trait for &mut Encoder<'_> {
            type Ok = ();
            type Error = Error;

            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Encoding {
                value.serialize(&mut **self)
            }

            fn end(self) -> Encoding {
                Ok(())
            }
        })*
    };
}

parts! {
    SerializeSeq::serialize_element,
    SerializeTuple::serialize_element,
    SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

impl ser::SerializeMap for &mut Encoder<'_> {
    type Ok = ();
    type Error = Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Encoding {
        key.serialize(&mut **self)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Encoding {
        value.serialize(&mut **self)
    }

    fn end(self) -> Encoding {
        Ok(())
    }
}

/// The traits of what has fields.
macro_rules! fields {
    ($($trait:ident),* $(,)?) => {
        $(impl ser::$trait for &mut Encoder<'_> {
            type Ok = ();
            type Error = Error;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Encoding {
                self.field(name, value)
            }

            fn skip_field(&mut self, name: &'static str) -> Encoding {
                self.skip(name)
            }

            fn end(self) -> Encoding {
                Ok(())
            }
        })*
    };
}

fields! { SerializeStruct, SerializeStructVariant }
