//! An aggregate as clients see it.

use std::{borrow::Cow, sync::Arc};

use catga::{Aggregate, Root};
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};

/// An aggregate whose JSON is not its fields.
pub trait Shown: Aggregate + Serialize {
    /// What clients get.
    type Json<'a>: Serialize + JsonSchema
    where
        Self: 'a;

    /// `view` as clients get it.
    fn json(view: &View<Self>) -> Self::Json<'_>;
}

/// The id and version of an aggregate with its state, as commands and queries answer it: stored it is these fields, in
/// JSON it is [what it is shown as](Shown::json).
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(bound = "A: serde::de::DeserializeOwned")]
pub struct View<A> {
    /// The aggregate's key.
    pub id: String,
    /// Which version of it.
    pub version: u64,
    /// What it was like at that version.
    pub state: Arc<A>,
}

impl<A: Aggregate> View<A> {
    /// The aggregate as it is now, what was just recorded included.
    pub fn of(root: &Root<A>) -> Self {
        Self { id: root.key().to_owned(), version: root.version().get(), state: root.state() }
    }
}

impl<A: Shown> Serialize for View<A> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => A::json(self).serialize(serializer),
            false => (&self.id, self.version, &self.state).serialize(serializer),
        }
    }
}

impl<A: Shown> JsonSchema for View<A> {
    fn schema_name() -> Cow<'static, str> {
        A::Json::<'static>::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        A::Json::<'static>::json_schema(generator)
    }
}
