//! What each registered item adds to a program, and what it needs there.

use std::{
    any::{Any, type_name},
    collections::HashSet,
    fmt,
};

use foldhash::fast::RandomState;

use crate::{log::Clock, model::Event, program::extensions::Extensions};

/// The names of all event types that are linked into the program.
pub(crate) type EventTypes = HashSet<&'static str, RandomState>;

/// A value of the program that handlers can take as `&Self`: a clock, a mailer, a client.
///
/// Give the value to the builder with [`resource`](crate::runtime::Builder::resource); one that is missing is a start
/// error that names the handler.
pub trait Resource: Send + Sync + 'static {}

impl Resource for Clock {}

/// What a registered item adds to the program, and what it needs there. Generated code calls it.
pub struct Setup<'a> {
    /// The item, and where it is.
    item: String,
    /// About how many bytes of aggregates of one type are kept in memory.
    pub(crate) cache_bytes: u64,
    extensions: &'a mut Extensions,
    problems: &'a mut Vec<String>,
}

impl<'a> Setup<'a> {
    pub(crate) fn new(
        item: String,
        cache_bytes: u64,
        extensions: &'a mut Extensions,
        problems: &'a mut Vec<String>,
    ) -> Self {
        Self { item, cache_bytes, extensions, problems }
    }

    /// The item's handler takes `&T`.
    pub fn resource<T: Resource>(&mut self) {
        self.require::<T>(|| {
            format!(
                "`&{0}`, which the builder was not given: `.resource(..)` with a `{0}`",
                type_name::<T>()
            )
        });
    }

    /// The item is the event type `E`.
    pub fn event<E: Event>(&mut self) {
        let types = self.extensions.get_or_default::<EventTypes>();
        types.extend(E::TYPES.iter().map(|ty| ty.name));
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
