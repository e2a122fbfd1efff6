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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[catga::event]
    enum DoorEvent {
        Opened,
    }

    #[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
    struct Door {
        is_open: bool,
    }

    impl Aggregate for Door {
        type Event = DoorEvent;
        const NAME: &'static str = "door";

        fn apply(&mut self, _: DoorEvent) {
            self.is_open = true;
        }
    }

    #[derive(Serialize, JsonSchema)]
    #[serde(rename = "Door")]
    struct DoorJson<'a> {
        door: &'a str,
        state: &'static str,
        version: u64,
    }

    impl Shown for Door {
        type Json<'a> = DoorJson<'a>;

        fn json(View { id, version, state }: &View<Self>) -> DoorJson<'_> {
            let state = if state.is_open { "open" } else { "closed" };
            DoorJson { door: id, state, version: *version }
        }
    }

    #[test]
    fn a_view_is_stored_as_it_is_and_shown_as_it_says() {
        let view = View::of(&Root::<Door>::given([DoorEvent::Opened]));
        let stored = postcard::to_stdvec(&("given", 1_u64, true)).unwrap();
        assert_eq!(postcard::to_stdvec(&view).unwrap(), stored);
        assert_eq!(postcard::from_bytes::<View<Door>>(&stored).unwrap(), view);
        let shown = json!({ "door": "given", "state": "open", "version": 1 });
        assert_eq!(serde_json::to_value(&view).unwrap(), shown);
    }

    #[test]
    fn the_schema_of_a_view_is_that_of_what_is_shown() {
        assert_eq!(View::<Door>::schema_name(), "Door");
        let schema = schemars::schema_for!(View<Door>);
        assert_eq!(schema, schemars::schema_for!(DoorJson<'static>));
        assert_eq!(schema.get("required"), Some(&json!(["door", "state", "version"])));
    }
}
