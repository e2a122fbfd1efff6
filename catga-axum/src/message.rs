//! How a request becomes a command or a query: serde reads its fields from the path, the query string and the body.

use std::{borrow::Cow, cell::Cell, fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer,
    de::{
        self, DeserializeOwned, DeserializeSeed, IgnoredAny, IntoDeserializer, MapAccess, Visitor,
        value::StringDeserializer,
    },
    forward_to_deserialize_any,
};

use crate::path::{Names, Values};

/// Where a message is read from, apart from its body.
#[derive(Debug)]
pub(crate) struct Place<'p> {
    /// The fields that the path holds.
    pub(crate) names: &'p Names,
    /// Their values. They are taken.
    pub(crate) values: &'p mut Values,
    /// Whether it was a value of the path that did not fit.
    pub(crate) is_path_wrong: &'p mut bool,
}

/// A message in the JSON object that `json` holds.
///
/// # Errors
/// When it is no object, or a field is missing or of the wrong type.
pub(crate) fn from_json<'de, T: DeserializeOwned, D: Deserializer<'de>>(
    json: D,
    place: Place<'_>,
) -> Result<T, D::Error> {
    json.deserialize_map(Object { place, of: PhantomData })
}

/// A message without a body.
///
/// # Errors
/// When a field is missing or of the wrong type.
pub(crate) fn from_nothing<T: DeserializeOwned>(place: Place<'_>) -> Result<T, TextError> {
    T::deserialize(Fields(Joined { place, next: 0, members: Pairs::default() }))
}

/// A message in query parameters.
///
/// # Errors
/// When a parameter is missing or of the wrong type; the error names it.
pub(crate) fn from_pairs<T: DeserializeOwned>(
    place: Place<'_>,
    pairs: &[(String, String)],
) -> Result<T, TextError> {
    let at = Cell::new(None);
    let members = Pairs { pairs, at: Some(&at) };
    T::deserialize(Fields(Joined { place, next: 0, members })).map_err(|TextError(error)| {
        TextError(match at.get() {
            Some((name, text)) => format!("{name} is {text:?}: {error}"),
            None => error,
        })
    })
}

/// Expects a JSON object: serde alone would take an array of the fields' values, too.
struct Object<'p, T> {
    place: Place<'p>,
    of: PhantomData<T>,
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<'_, T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
        T::deserialize(Fields(Joined { place: self.place, next: 0, members }))
    }
}

/// The fields of a message as a map.
struct Fields<A>(A);

impl<'de, A: MapAccess<'de>> Deserializer<'de> for Fields<A> {
    type Error = A::Error;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, A::Error> {
        visitor.visit_map(self.0)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, A::Error> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// The fields in the path, and then those of the members that are none of them: what the path says, no body can
/// change.
struct Joined<'p, A> {
    place: Place<'p>,
    /// The next field of the path.
    next: usize,
    members: A,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for Joined<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, A::Error> {
        let names = self.place.names.as_slice();
        if let Some(name) = names.get(self.next) {
            return seed.deserialize((*name).into_deserializer()).map(Some);
        }
        while let Some(Key(key)) = self.members.next_key()? {
            if names.contains(&&*key) {
                self.members.next_value::<IgnoredAny>()?;
                continue;
            }
            return seed.deserialize(key.into_deserializer()).map(Some);
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, A::Error> {
        if self.next == self.place.names.as_slice().len() {
            return self.members.next_value_seed(seed);
        }
        let text = self.place.values.take(self.next);
        self.next += 1;
        let value = seed.deserialize(Text { text, of: PhantomData });
        *self.place.is_path_wrong = value.is_err();
        value
    }
}

/// The name of a member, mostly as it lies in the request.
struct Key<'de>(Cow<'de, str>);

impl<'de> Deserialize<'de> for Key<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Name;

        impl<'de> Visitor<'de> for Name {
            type Value = Key<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the name of a member")
            }

            fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Borrowed(name)))
            }

            fn visit_str<E>(self, name: &str) -> Result<Key<'de>, E> {
                Ok(Key(Cow::Owned(name.to_owned())))
            }
        }

        deserializer.deserialize_str(Name)
    }
}

/// Query parameters. The one that is being read is noted in `at`.
#[derive(Default)]
struct Pairs<'p> {
    pairs: &'p [(String, String)],
    at: Option<&'p Cell<Option<(&'p str, &'p str)>>>,
}

impl<'de> MapAccess<'de> for Pairs<'_> {
    type Error = TextError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, TextError> {
        let Some((name, _)) = self.pairs.first() else { return Ok(None) };
        seed.deserialize(name.as_str().into_deserializer()).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, TextError> {
        let ((name, text), rest) = self.pairs.split_first().expect("a key came before");
        self.pairs = rest;
        let note = |value| self.at.inspect(|at| at.set(value));
        note(Some((name, text)));
        let value = seed.deserialize(Text { text: text.clone(), of: PhantomData })?;
        note(None);
        Ok(value)
    }
}

/// The text of a parameter, as a value of whatever type is asked for.
struct Text<E> {
    text: String,
    of: PhantomData<E>,
}

/// A whole number as JSON would write it, up to 2^53.
pub(crate) fn number(text: &str) -> Option<u64> {
    let is_plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|n| is_plain && *n <= 1 << 53)
}

impl<E: de::Error> Text<E> {
    fn whole<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        match (number(&self.text), self.text.strip_prefix('-').and_then(number)) {
            (Some(number), _) => visitor.visit_u64(number),
            (None, Some(number)) => visitor.visit_i64(-number.cast_signed()),
            (None, None) => Err(E::custom("a whole number is expected")),
        }
    }

    fn real<'de, V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        match self.text.parse::<f64>() {
            Ok(number) if number.is_finite() => visitor.visit_f64(number),
            _ => Err(E::custom("a number is expected")),
        }
    }
}

macro_rules! read_as {
    ($read:ident: $($method:ident)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
            self.$read(visitor)
        })*
    };
}

impl<'de, E: de::Error> Deserializer<'de> for Text<E> {
    type Error = E;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_string(self.text)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        match self.text.as_str() {
            "true" => visitor.visit_bool(true),
            "false" => visitor.visit_bool(false),
            _ => Err(E::custom("true or false is expected")),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, E> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, E> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, E> {
        StringDeserializer::<E>::new(self.text).deserialize_enum(name, variants, visitor)
    }

    read_as! { whole: deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64 deserialize_u8 deserialize_u16
    deserialize_u32 deserialize_u64 }

    read_as! { real: deserialize_f32 deserialize_f64 }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier
        ignored_any
    }
}

/// Why a text is not the value that is asked for.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct TextError(pub(crate) String);

impl de::Error for TextError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self(message.to_string())
    }

    fn missing_field(field: &'static str) -> Self {
        Self(format!("{field} is missing"))
    }
}

/// The names of the fields of `T`, as serde reads them; `None` when `T` is no struct with named fields.
pub(crate) fn fields_of<T: DeserializeOwned>() -> Option<&'static [&'static str]> {
    match T::deserialize(Probe) {
        Err(Shape(fields)) => fields,
        Ok(_) => None,
    }
}

/// Asks a type what it would read, and gives it nothing.
struct Probe;

/// The fields of a struct.
#[derive(Debug, thiserror::Error)]
#[error("it is only asked for its fields")]
struct Shape(Option<&'static [&'static str]>);

impl de::Error for Shape {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Self(None)
    }
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Shape;

    fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Shape> {
        Err(Shape(None))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        fields: &'static [&'static str],
        _: V,
    ) -> Result<V::Value, Shape> {
        Err(Shape(Some(fields)))
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: V,
    ) -> Result<V::Value, Shape> {
        Err(Shape(Some(&[])))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
        newtype_struct seq tuple tuple_struct map enum identifier ignored_any
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Step {
        order_id: String,
        times: Option<u32>,
        kind: Option<Kind>,
    }

    #[derive(Debug, PartialEq, Deserialize)]
    enum Kind {
        Fast,
    }

    fn names() -> Names {
        let mut names = Names::default();
        names.push("orderId");
        names
    }

    fn read(json: &str) -> Result<Step, String> {
        let (names, mut values, mut is_path_wrong) = (names(), Values::one("a".into()), false);
        let place = Place { names: &names, values: &mut values, is_path_wrong: &mut is_path_wrong };
        let mut json = serde_json::Deserializer::from_str(json);
        from_json(&mut json, place).map_err(|error| error.to_string())
    }

    fn pairs(pairs: &[(&str, &str)]) -> Result<Step, String> {
        let (names, mut values, mut is_path_wrong) = (names(), Values::one("a".into()), false);
        let place = Place { names: &names, values: &mut values, is_path_wrong: &mut is_path_wrong };
        let pairs: Vec<_> = pairs.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
        from_pairs(place, &pairs).map_err(|error| error.to_string())
    }

    #[test]
    fn the_path_says_more_than_the_body() {
        let step = Step { order_id: "a".into(), times: Some(2), kind: None };
        assert_eq!(read(r#"{"orderId":"b","times":2,"else":[{}]}"#), Ok(step));
        let escaped = read(r#"{"\u006frderId":"b","tim\u0065s":2}"#).unwrap();
        assert_eq!((escaped.order_id.as_str(), escaped.times), ("a", Some(2)));
        assert!(read(r#"["b",2]"#).unwrap_err().contains("a JSON object"));
    }

    #[test]
    fn parameters_are_read_by_their_type() {
        let step = Step { order_id: "a".into(), times: Some(7), kind: Some(Kind::Fast) };
        assert_eq!(pairs(&[("times", "7"), ("kind", "Fast")]), Ok(step));
        for (name, text) in [("times", "+7"), ("times", "x"), ("times", "-1"), ("kind", "fast")] {
            let error = pairs(&[(name, text)]).unwrap_err();
            assert!(error.starts_with(&format!("{name} is {text:?}: ")), "{error}");
        }
    }

    #[test]
    fn the_fields_of_a_message_are_those_that_serde_reads() {
        assert_eq!(fields_of::<Step>(), Some(&["orderId", "times", "kind"][..]));
        assert_eq!(fields_of::<(String, u32)>(), None);
    }
}
