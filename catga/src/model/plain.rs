//! Types whose values are always read as they were written, so that it need not be tried each time.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet},
    marker::PhantomData,
    sync::atomic::{AtomicU32, Ordering},
};

use crate::log::{EventId, Position, Timestamp, Version};

/// How many events of each type are read back even if all fields are plain: its own impls of serde's traits may be written
/// by hand.
const FIRST: u32 = 64;

/// Whether the events of one type must be read back. Derived code has one for each.
#[derive(Debug)]
pub struct ReadBack {
    is_plain: bool,
    /// How many more at least.
    left: AtomicU32,
}

impl ReadBack {
    /// For a type whose fields are all of plain types, or for another one.
    pub const fn new(is_plain: bool) -> Self {
        Self { is_plain, left: AtomicU32::new(FIRST) }
    }

    /// Whether the next one must be.
    pub(crate) fn is_due(&self) -> bool {
        if !self.is_plain {
            return true;
        }
        let left = self.left.load(Ordering::Relaxed);
        if left > 0 {
            // Of two at once both are read back, and counted as one.
            self.left.store(left - 1, Ordering::Relaxed);
        }
        left > 0
    }
}

/// A type that is encoded and decoded without any code of a user, whatever its value.
pub trait Plain {}

/// Whether a type is [`Plain`].
#[derive(Debug)]
pub struct IsPlain<T>(PhantomData<T>);

impl<T: Plain> IsPlain<T> {
    /// It is.
    pub const ANSWER: bool = true;
}

/// The answer for all other types: what a type says itself comes first.
pub trait IsNotPlain {
    /// It is not, or not known to be.
    const ANSWER: bool = false;
}

impl<T> IsNotPlain for IsPlain<T> {}

macro_rules! plain {
    ($($ty:ty),* $(,)?) => { $(impl Plain for $ty {})* };
}

plain! {
    bool, char, u8, u16, u32, u64, u128, usize, i8, i16, i32, i64, i128, isize, f32, f64, String,
    EventId, Position, Timestamp, Version,
}

impl<T: Plain> Plain for Option<T> {}
impl<T: Plain> Plain for Box<T> {}
impl<T: Plain> Plain for Vec<T> {}
impl<T: Plain> Plain for BTreeSet<T> {}
impl<T: Plain, H> Plain for HashSet<T, H> {}
impl<K: Plain, V: Plain> Plain for BTreeMap<K, V> {}
impl<K: Plain, V: Plain, H> Plain for HashMap<K, V, H> {}
impl<A: Plain, B: Plain> Plain for (A, B) {}
impl<A: Plain, B: Plain, C: Plain> Plain for (A, B, C) {}

#[cfg(test)]
mod tests {
    use serde::{Deserialize, Serialize};

    use super::*;
    use crate::model::Event;

    #[test]
    fn all_but_plain_types_are_read_back_each_time() {
        let (plain, other) = (ReadBack::new(true), ReadBack::new(false));
        let due = |read_back: &ReadBack| (0..1000).filter(|_| read_back.is_due()).count();
        assert_eq!((due(&plain), due(&other)), (64, 1000));
    }

    #[derive(Serialize, Deserialize)]
    struct Own(String);

    #[test]
    fn a_type_is_plain_if_all_that_it_holds_is() {
        const {
            assert!(IsPlain::<Option<Vec<(String, u64, Timestamp)>>>::ANSWER);
            assert!(IsPlain::<BTreeMap<String, EventId>>::ANSWER);
            assert!(!IsPlain::<Own>::ANSWER);
            assert!(!IsPlain::<HashMap<String, Option<Own>>>::ANSWER);
            assert!(!IsPlain::<(String, Own)>::ANSWER);
        }
    }

    /// Text of at most ten letters, for the module below.
    fn is_short(text: &str) -> bool {
        text.len() <= 10
    }

    mod short {
        use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

        pub(super) fn serialize<S: Serializer>(text: &str, to: S) -> Result<S::Ok, S::Error> {
            to.serialize_str(text)
        }

        pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
            let text = String::deserialize(from)?;
            if super::is_short(&text) { Ok(text) } else { Err(D::Error::custom("too long")) }
        }
    }

    #[derive(Serialize, Deserialize, catga_macros::Event)]
    #[event(name = "PlainNamed")]
    struct Named {
        #[serde(with = "short")]
        name: String,
    }

    #[test]
    fn a_plain_field_with_code_of_its_own_is_not_plain() {
        for _ in 0..100 {
            let name = "short".to_owned();
            assert!(Named { name }.encode(&mut Vec::new()).is_ok());
        }
        let name = "long enough".to_owned();
        let error = Named { name }.encode(&mut Vec::new()).unwrap_err().to_string();
        assert!(error.contains("`name`") && !error.contains("long enough"), "{error}");
    }
}
