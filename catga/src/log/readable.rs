//! Postcard for what must be read again: a value is encoded, and read back before anybody relies on the bytes.
//!
//! Postcard's bytes do not say what they are, so with some of serde's attributes, and for some types, they can't be decoded,
//! or are decoded as something else. That may depend on the value: `skip_serializing_if` only bites where it leaves a
//! field out, and a type's own `Deserialize` may refuse what its `Serialize` wrote.

use postcard::{Deserializer, Error};
use serde::{Serialize, de::DeserializeOwned};

use crate::log::encoder::{Encoded, Trace, encode};

/// Adds `value` to the end of `bytes`, if it is read back as a `D` that is encoded alike.
///
/// # Errors
/// Why it can't be read again, with the field if it is known, and nothing of the value. A part of it may be in `bytes` then.
pub(crate) fn append_readable<D: Serialize + DeserializeOwned>(
    value: &impl Serialize,
    bytes: &mut Vec<u8>,
) -> Result<(), String> {
    append_readable_up_to::<D>(value, bytes, usize::MAX)
}

/// The same, but what has more than `most` bytes is not read back.
///
/// # Errors
/// As [`append_readable`].
pub(crate) fn append_readable_up_to<D: Serialize + DeserializeOwned>(
    value: &impl Serialize,
    bytes: &mut Vec<u8>,
    most: usize,
) -> Result<(), String> {
    let begin = bytes.len();
    let Encoded { result, shape, .. } = encode(value, bytes, None);
    result.map_err(|error| refused(value, &error))?;
    let encoded = &bytes[begin..];
    if encoded.len() > most {
        return Ok(());
    }
    let mut input = Deserializer::from_bytes(encoded);
    let decoded = D::deserialize(&mut input);
    let rest = input.finalize().map_or(0, <[u8]>::len);
    let decoded = decoded.map_err(|error| unread(value, &error, encoded.len() - rest))?;
    let mut again = Vec::with_capacity(encoded.len());
    let read = encode(&decoded, &mut again, None);
    if rest == 0 && read.result.is_ok() && read.shape == shape && is_same(encoded, again) {
        return Ok(());
    }
    Err("what is read back is not what was written: see the serde attributes and impls of its fields"
        .to_owned())
}

/// Whether both encode one value: a hash map or set has another order each time.
fn is_same(encoded: &[u8], mut again: Vec<u8>) -> bool {
    if encoded == again {
        return true;
    }
    let mut encoded = encoded.to_vec();
    encoded.sort_unstable();
    again.sort_unstable();
    encoded == again
}

/// Why `value` is refused while it is encoded.
fn refused(value: &impl Serialize, error: &Error) -> String {
    let traced = encode(value, &mut Vec::new(), Some(Trace::default()));
    if let (Some(Trace { path, .. }), true) = (&traced.trace, traced.has_skipped) {
        let path = path.join(".");
        return format!(
            "its field `{path}` is left out by `skip_serializing_if`, and postcard reads every field"
        );
    }
    match error {
        Error::SerializeSeqLengthUnknown => {
            "something in it does not say how long it is, as with `serde(flatten)`, and postcard must know".to_owned()
        }
        error => error.to_string(),
    }
}

/// Why `value` can't be decoded, after so many bytes.
fn unread(value: &impl Serialize, error: &Error, read: usize) -> String {
    let fields = encode(value, &mut Vec::new(), Some(Trace::default())).trace;
    let fields = fields.map(|trace| trace.fields).unwrap_or_default();
    let field = |at: &dyn Fn(usize) -> bool| match fields.iter().rfind(|(_, begin)| at(*begin)) {
        Some((path, _)) => format!("its field `{path}`"),
        None => "it".to_owned(),
    };
    match error {
        // Nothing of the field has been read then.
        Error::WontImplement => format!(
            "{} asks what the bytes are, as with `serde(tag)`, `serde(untagged)` or a `serde_json::Value`, and postcard \
             can't say",
            field(&|begin| begin <= read)
        ),
        // All of it.
        Error::SerdeDeCustom => {
            format!("{} is refused by its own `Deserialize`", field(&|begin| begin < read))
        }
        error => format!(
            "it does not read what it writes: see the serde attributes and impls of its fields ({error})"
        ),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, HashMap, HashSet};

    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    use super::*;

    fn refusal<T: Serialize + DeserializeOwned>(value: &T) -> Option<String> {
        append_readable::<T>(value, &mut b"before".to_vec()).err()
    }

    #[derive(Serialize, Deserialize)]
    struct Line {
        product: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        note: Option<String>,
    }

    #[derive(Serialize, Deserialize)]
    struct Order {
        number: u32,
        lines: Vec<Line>,
    }

    #[test]
    fn it_depends_on_the_value_whether_a_field_is_left_out() {
        let line =
            |note: Option<&str>| Line { product: "p".to_owned(), note: note.map(str::to_owned) };
        let order = |notes: &[Option<&str>]| Order {
            number: 7,
            lines: notes.iter().copied().map(line).collect(),
        };
        assert_eq!(refusal(&order(&[])), None);
        assert_eq!(refusal(&order(&[Some("n")])), None);
        let refused = refusal(&order(&[Some("n"), None])).unwrap();
        assert!(refused.starts_with("its field `lines.note` is left out"), "{refused}");
    }

    #[derive(Serialize, Deserialize)]
    struct Shifted {
        #[serde(skip_serializing_if = "is_zero")]
        count: u32,
        bytes: Vec<u8>,
    }

    #[derive(Serialize, Deserialize)]
    struct ShiftedTuple(#[serde(skip_serializing_if = "is_zero")] u32, Vec<u8>);

    fn is_zero(count: &u32) -> bool {
        *count == 0
    }

    #[test]
    fn bytes_that_are_another_value_too_are_refused() {
        let read: Shifted = postcard::from_bytes(
            &postcard::to_stdvec(&Shifted { count: 0, bytes: vec![0] }).unwrap(),
        )
        .unwrap();
        assert_eq!((read.count, read.bytes.len()), (1, 0), "what this is about");
        assert!(refusal(&Shifted { count: 0, bytes: vec![0] }).is_some());
        assert!(refusal(&ShiftedTuple(0, vec![0])).is_some());
        assert_eq!(refusal(&ShiftedTuple(3, vec![0])), None);
    }

    #[derive(Serialize, Deserialize)]
    #[serde(untagged)]
    enum Either {
        Text(String),
        Number(u32),
    }

    #[derive(Serialize, Deserialize)]
    #[serde(tag = "kind")]
    enum Tagged {
        Opened { by: String },
    }

    #[derive(Serialize, Deserialize)]
    struct With<T> {
        before: u32,
        value: T,
        after: u32,
    }

    fn with<T>(value: T) -> With<T> {
        With { before: 1, value, after: 2 }
    }

    #[test]
    fn what_asks_for_the_kind_of_its_bytes_is_refused_with_its_field() {
        let refused = [
            refusal(&with(Either::Text("t".to_owned()))),
            refusal(&with(Some(Either::Number(1)))),
            refusal(&with(Tagged::Opened { by: "b".to_owned() })),
            refusal(&with(serde_json::json!({ "a": 1 }))),
        ];
        for refused in refused {
            let refused = refused.unwrap();
            assert!(
                refused.starts_with("its field `value")
                    && refused.contains("asks what the bytes are"),
                "{refused}"
            );
        }
        assert_eq!(refusal(&with(None::<Either>)), None);
    }

    #[derive(Serialize, Deserialize)]
    struct Flat {
        #[serde(flatten)]
        more: BTreeMap<String, u32>,
    }

    #[derive(Serialize, Deserialize)]
    struct Unwritten {
        #[serde(skip_serializing)]
        _hidden: u32,
        shown: u32,
    }

    #[derive(Serialize, Deserialize)]
    struct Unread {
        #[serde(skip_deserializing)]
        count: u32,
        shown: u32,
    }

    #[derive(Serialize, Deserialize)]
    enum Holed {
        A,
        #[serde(skip)]
        B,
        C,
        D,
    }

    #[test]
    fn fields_and_variants_that_only_one_side_knows_are_refused() {
        assert!(refusal(&Flat { more: BTreeMap::new() }).unwrap().contains("flatten"));
        assert!(refusal(&Unwritten { _hidden: 1, shown: 2 }).is_some());
        assert!(refusal(&Unread { count: 1, shown: 2 }).is_some());
        assert_eq!(refusal(&Holed::A), None);
        assert!(
            [refusal(&Holed::B), refusal(&Holed::C), refusal(&Holed::D)]
                .iter()
                .all(Option::is_some)
        );
    }

    /// Text that its own `Deserialize` takes only if it is short.
    #[derive(Serialize)]
    struct Short(String);

    impl<'de> Deserialize<'de> for Short {
        fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
            let text = String::deserialize(deserializer)?;
            if text.len() > 3 { Err(D::Error::custom("too long")) } else { Ok(Self(text)) }
        }
    }

    /// A number that loses its last digit.
    #[derive(Deserialize)]
    struct Rounded(u32);

    impl Serialize for Rounded {
        fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
            serializer.serialize_newtype_struct("Rounded", &(self.0 / 10))
        }
    }

    #[test]
    fn it_depends_on_the_value_what_a_hand_written_impl_takes() {
        assert_eq!(refusal(&with(Short("abc".to_owned()))), None);
        let refused = refusal(&with(Short("secret".to_owned()))).unwrap();
        assert!(refused.starts_with("its field `value` is refused by its own"), "{refused}");
        assert!(!refused.contains("secret"));
        assert_eq!(refusal(&with(Rounded(0))), None);
        assert!(refusal(&with(Rounded(70))).is_some());
    }

    #[test]
    fn what_has_another_order_each_time_is_read_back() {
        #[derive(Serialize, Deserialize, PartialEq, Eq, Hash, PartialOrd, Ord)]
        struct Key(u32, String);
        let keys = || (0..50).map(|n| Key(n, n.to_string()));
        assert_eq!(refusal(&keys().collect::<HashSet<_>>()), None);
        assert_eq!(refusal(&keys().zip(0..).collect::<HashMap<_, u64>>()), None);
        assert_eq!(refusal(&keys().zip(0..).collect::<BTreeMap<_, u64>>()), None);
    }
}
