//! The names of streams.

use std::{fmt, str::FromStr, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// The longest key a stream can have, in bytes.
pub const MAX_KEY: usize = 64;

/// The name of a stream: the aggregate's type and the key of one aggregate, as in `order/7f3a`.
///
/// Both parts are 1 to [`MAX_KEY`] characters of `A-Z a-z 0-9 _ -`. A key can also have `.`, `:`, `@` and `+`, as mail
/// addresses and URNs do, and does not begin with `.`. That is narrow on purpose: no store's separators, wildcards or
/// globs (`*`, `>`, `/`, `{`, space) can be part of a name, so a name can never reach another stream's data. The one
/// that is, the `.` of NATS, is written otherwise there.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    /// `aggregate/key`.
    name: Arc<str>,
}

impl StreamId {
    /// The stream of the aggregate of type `aggregate` with `key`.
    ///
    /// # Errors
    /// [`InvalidStreamId`] when a part is empty, too long or has a character outside the set.
    pub fn new(aggregate: &str, key: &str) -> Result<Self, InvalidStreamId> {
        check_part(aggregate)?;
        check_key(key)?;
        // On the stack, so that only the name itself is allocated: every command makes one.
        let mut name = [b'/'; 2 * MAX_KEY + 1];
        let length = aggregate.len() + 1 + key.len();
        name[..aggregate.len()].copy_from_slice(aggregate.as_bytes());
        name[aggregate.len() + 1..length].copy_from_slice(key.as_bytes());
        let name = std::str::from_utf8(&name[..length]).expect("the parts are ASCII");
        Ok(Self { name: name.into() })
    }

    /// Whether `text` can be either part of a name: an aggregate's type, or a key.
    pub fn is_part(text: &str) -> bool {
        check_part(text).is_ok()
    }

    /// Whether `text` can be a key.
    pub fn is_key(text: &str) -> bool {
        check_key(text).is_ok()
    }

    /// The type of the aggregate: [`Aggregate::NAME`](crate::model::Aggregate::NAME).
    pub fn aggregate(&self) -> &str {
        self.split().0
    }

    /// Which aggregate of that type.
    pub fn key(&self) -> &str {
        self.split().1
    }

    /// The whole name, `aggregate/key`.
    pub fn as_str(&self) -> &str {
        &self.name
    }

    fn split(&self) -> (&str, &str) {
        self.name.split_once('/').expect("a stream id is built with its slash")
    }
}

impl FromStr for StreamId {
    type Err = InvalidStreamId;

    fn from_str(name: &str) -> Result<Self, InvalidStreamId> {
        let (aggregate, key) =
            name.split_once('/').ok_or(InvalidStreamId("it has no `/` after the aggregate"))?;
        check_part(aggregate)?;
        check_key(key)?;
        Ok(Self { name: name.into() })
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.name, f)
    }
}

impl Serialize for StreamId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.name)
    }
}

impl<'de> Deserialize<'de> for StreamId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <&str>::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

/// A name that no stream can have, and why. It does not repeat the name, which may be hostile.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a stream id: {0}")]
pub struct InvalidStreamId(&'static str);

/// Which bytes a part can have. Every command and every event checks a name.
const IN_PARTS: [bool; 256] =
    bytes(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-");

/// Which bytes a key can have.
const IN_KEYS: [bool; 256] =
    bytes(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_-.:@+");

const fn bytes(listed: &[u8]) -> [bool; 256] {
    let (mut allowed, mut i) = ([false; 256], 0);
    while i < listed.len() {
        allowed[listed[i] as usize] = true;
        i += 1;
    }
    allowed
}

fn check_key(key: &str) -> Result<(), InvalidStreamId> {
    check(key, &IN_KEYS, "only A-Z a-z 0-9 _ - . : @ and + are allowed")?;
    if key.starts_with('.') {
        return Err(InvalidStreamId("a key begins with a `.`"));
    }
    Ok(())
}

fn check_part(part: &str) -> Result<(), InvalidStreamId> {
    check(part, &IN_PARTS, "only A-Z a-z 0-9 _ and - are allowed")
}

fn check(part: &str, allowed: &[bool; 256], reason: &'static str) -> Result<(), InvalidStreamId> {
    if part.is_empty() {
        return Err(InvalidStreamId("a part is empty"));
    }
    if part.len() > MAX_KEY {
        return Err(InvalidStreamId("a part is longer than 64 characters"));
    }
    // All of them, without a branch for each.
    if !part.bytes().fold(true, |all, b| all & allowed[usize::from(b)]) {
        return Err(InvalidStreamId(reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_id_keeps_its_two_parts() {
        let stream = StreamId::new("order", "7f-3_A").unwrap();
        assert_eq!((stream.aggregate(), stream.key()), ("order", "7f-3_A"));
        assert_eq!(stream.to_string().parse(), Ok(stream));
    }

    #[test]
    fn names_that_a_backend_could_read_as_something_else_are_refused() {
        let long = "x".repeat(MAX_KEY + 1);
        for key in ["", "*", ">", ".", ".a", "a b", "a/b", "{a}", "a\n", "\0", "ä", "..", &long] {
            assert!(!StreamId::is_part(key) && !StreamId::is_key(key), "{key:?}");
            assert!(StreamId::new("order", key).is_err(), "{key:?}");
            assert!(StreamId::new(key, "order").is_err(), "{key:?}");
        }
        assert!("order".parse::<StreamId>().is_err());
    }

    #[test]
    fn a_key_can_be_a_mail_address_or_a_urn() {
        for key in ["a.b", "jane.doe+news@example.org", "urn:isbn:0451450523", "a..b."] {
            let stream = StreamId::new("order", key).unwrap();
            assert_eq!(stream.as_str().parse(), Ok(stream.clone()));
            assert_eq!(stream.key(), key);
            assert!(StreamId::new(key, "order").is_err(), "an aggregate's type stays plain");
        }
    }

    #[test]
    fn bytes_that_hold_a_bad_name_are_refused() {
        let bytes = postcard::to_stdvec("order/*").unwrap();
        assert!(postcard::from_bytes::<StreamId>(&bytes).is_err());
    }
}
