//! Parts of JSON bodies that serde's derives can't say: `#[serde(deserialize_with = "catga_axum::json::objects")]`.

use std::{fmt, marker::PhantomData};

use serde::{
    Deserialize, Deserializer, Serialize, Serializer,
    de::{Error as _, MapAccess, Visitor, value::MapAccessDeserializer},
    ser::Error as _,
};
use serde_json::value::RawValue;

/// The text of a number, exactly as it was sent: an amount of money must not become a binary fraction on its way.
///
/// # Errors
/// When it is no number.
pub fn number<'de, D: Deserializer<'de>>(json: D) -> Result<&'de str, D::Error> {
    let text = <&RawValue>::deserialize(json)?.get();
    match text.starts_with(|c: char| c == '-' || c.is_ascii_digit()) {
        true => Ok(text),
        false => Err(D::Error::custom("a number is expected")),
    }
}

/// A whole number, however it is written (`2`, `2.0`, `20e-1`); `None` when it is none that a `T` can be. A number of any
/// size is well-formed, so that one out of range is for [`Validate`](catga::Validate) to name.
///
/// # Errors
/// When it is no number, or a fraction.
pub fn whole<'de, T: TryFrom<u64>, D: Deserializer<'de>>(json: D) -> Result<Option<T>, D::Error> {
    let text = number(json)?;
    let amount: f64 = text.parse().map_err(D::Error::custom)?;
    if amount.fract() != 0.0 {
        return Err(D::Error::custom(format!("a whole number is expected, not {text}")));
    }
    let is_exact = (0.0..=9_007_199_254_740_992.0).contains(&amount);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is exact")]
    let amount = is_exact.then_some(amount as u64);
    Ok(amount.and_then(|amount| T::try_from(amount).ok()))
}

/// Writes a decimal as a number, exactly as its text is.
///
/// # Errors
/// When its text is no JSON number.
pub fn exact<S: Serializer>(decimal: &impl ToString, json: S) -> Result<S::Ok, S::Error> {
    RawValue::from_string(decimal.to_string()).map_err(S::Error::custom)?.serialize(json)
}

/// A list of JSON objects: serde alone would take an array of the fields' values for an object, too.
///
/// # Errors
/// When it is something else, or an object in it does not fit.
pub fn objects<'de, T, D>(json: D) -> Result<Vec<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    let objects = Vec::<Object<T>>::deserialize(json)?;
    Ok(objects.into_iter().map(|Object(object)| object).collect())
}

/// A `T` written as a JSON object.
struct Object<T>(T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(json: D) -> Result<Self, D::Error> {
        struct Members<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Members<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(members))
            }
        }

        json.deserialize_map(Members(PhantomData)).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    struct Line {
        #[serde(deserialize_with = "whole")]
        quantity: Option<u32>,
    }

    #[derive(Debug, Deserialize)]
    struct Lines {
        #[serde(deserialize_with = "objects")]
        lines: Vec<Line>,
    }

    fn quantity(number: &str) -> Result<Option<u32>, String> {
        let json = format!(r#"{{"lines":[{{"quantity":{number}}}]}}"#);
        let lines = serde_json::from_str::<Lines>(&json).map_err(|error| error.to_string())?;
        Ok(lines.lines[0].quantity)
    }

    #[test]
    fn whole_numbers_are_whole_and_in_range() {
        for (number, quantity_of) in
            [("2", Some(2)), ("2.0", Some(2)), ("20e-1", Some(2)), ("-1", None), ("1e30", None)]
        {
            assert_eq!(quantity(number), Ok(quantity_of), "{number}");
        }
        for wrong in ["1.5", "null", "\"2\"", "[2]"] {
            assert!(quantity(wrong).unwrap_err().contains("number is expected"), "{wrong}");
        }
    }

    #[test]
    fn an_array_is_no_object() {
        assert!(serde_json::from_str::<Lines>(r#"{"lines":[[2]]}"#).is_err());
    }

    #[test]
    fn decimals_are_written_as_they_are() {
        let exactly = |text: &str| {
            let mut json = Vec::new();
            exact(&text, &mut serde_json::Serializer::new(&mut json)).map(|()| json)
        };
        assert_eq!(exactly("12345678901234567890.0001").unwrap(), b"12345678901234567890.0001");
        assert!(exactly("ten").is_err());
    }
}
