//! What each registered item adds to a program, and what it needs there.

use std::{
    any::{Any, TypeId, type_name},
    collections::HashMap,
    fmt,
};

use foldhash::fast::RandomState;

use crate::{
    model::{DecodeError, Event},
    program::{extensions::Extensions, state::State},
};

/// All event types that are linked into the program, by name.
pub(crate) type EventTypes = HashMap<&'static str, TryRead, RandomState>;

/// Tries to read an event from its stored name, version and payload.
type TryRead = fn(&str, u16, &[u8]) -> Result<(), DecodeError>;

/// What a registered item adds to the program, and what it needs there. Generated code calls it.
pub struct Setup<'a> {
    /// The item, and where it is.
    item: String,
    /// About how many bytes of aggregates of one type are kept in memory.
    pub(crate) cache_bytes: u64,
    /// The aggregate that the key of the handler's message is taken for.
    keyed: Option<&'static str>,
    extensions: &'a mut Extensions,
    problems: &'a mut Vec<String>,
}

/// The aggregates of a program by their NAME, each with the first item that takes it.
type Aggregates = HashMap<&'static str, (TypeId, &'static str, String)>;

impl<'a> Setup<'a> {
    pub(crate) fn new(
        item: String,
        cache_bytes: u64,
        extensions: &'a mut Extensions,
        problems: &'a mut Vec<String>,
    ) -> Self {
        Self { item, cache_bytes, keyed: None, extensions, problems }
    }

    /// The item's handler takes `&State<T>`.
    pub fn state<T: Send + Sync + 'static>(&mut self) {
        self.require::<State<T>>(|| {
            format!(
                "`&State<{0}>`, which the builder was not given: `.state(..)` with a `{0}`",
                type_name::<T>()
            )
        });
    }

    /// The item is the event type `E`.
    pub fn event<E: Event>(&mut self) {
        let types = self.extensions.get_or_default::<EventTypes>();
        let read: TryRead = |name, version, payload| E::decode(name, version, payload).map(drop);
        types.extend(E::TYPES.iter().map(|ty| (ty.name, read)));
    }

    /// The item's handler takes an aggregate. Two of one NAME would share their streams.
    pub(crate) fn aggregate(&mut self, id: TypeId, ty: &'static str, name: &'static str) {
        let item = self.item.clone();
        let aggregates = self.extensions.get_or_default::<Aggregates>();
        let (first, first_ty, first_item) =
            aggregates.entry(name).or_insert_with(|| (id, ty, item.clone()));
        if *first != id {
            self.problems.push(format!(
                "two aggregates have the NAME `{name}` and would share their streams: `{first_ty}` in {first_item}, and `{ty}` in {item}"
            ));
        }
    }

    /// The item's handler takes an aggregate of type `ty` by the key in `field`, which is of one type of aggregate alone.
    pub(crate) fn key(&mut self, field: &str, ty: &'static str) {
        let first = *self.keyed.get_or_insert(ty);
        if first != ty {
            let name = ty.rsplit("::").next().unwrap_or(ty);
            self.missing(&format!(
                "a `{first}` and a `{ty}` by one key, `{field}`: mark the field with the other one's key `#[key({name})]`, or this one too if they have the same key"
            ));
        }
    }

    /// The item takes what `what` says: without a `T` in the program it is a problem.
    pub(crate) fn require<T: Any>(&mut self, what: impl FnOnce() -> String) {
        if !self.extensions.has::<T>() {
            self.missing(&what());
        }
    }

    /// The item's handler takes what `what` says, and that is not there.
    pub(crate) fn missing(&mut self, what: &str) {
        self.problems.push(format!("{} takes {what}", self.item));
    }

    /// Puts a value into the program, unless one of its type is there.
    pub(crate) fn provide<T: Any + Send + Sync>(&mut self, make: impl FnOnce() -> T) {
        if !self.extensions.has::<T>() {
            self.extensions.insert(make());
        }
    }

    /// The program's value of type `T`, to add something to.
    pub(crate) fn part<T: Any + Send + Sync + Default>(&mut self) -> &mut T {
        self.extensions.get_or_default()
    }
}

impl fmt::Debug for Setup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup").field("item", &self.item).finish_non_exhaustive()
    }
}
