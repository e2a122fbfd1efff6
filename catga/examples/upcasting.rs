//! An event whose fields changed: what was stored with the old ones is read as if it had the new ones.
//!
//! Run it with `cargo run -p catga --example upcasting`.
use std::sync::Arc;

use catga::{
    log::{EventFrame, EventId, StreamId},
    prelude::*,
    store::{Backend, MemoryKvStore, MemoryStore},
    testing,
};

#[catga::event]
enum PersonEvent {
    #[event(name = "PersonNamed", version = 2, upcast(1 = PersonNamedV1))]
    Named { given: String, family: String },
}

/// The fields that `PersonNamed` had in version 1. It stays for as long as a log may hold such events.
#[derive(serde::Deserialize)]
struct PersonNamedV1 {
    name: String,
}

impl From<PersonNamedV1> for PersonEvent {
    fn from(old: PersonNamedV1) -> Self {
        let (given, family) = old.name.split_once(' ').unwrap_or((&old.name, ""));
        Self::Named { given: given.to_owned(), family: family.to_owned() }
    }
}

#[derive(Debug, Clone, Default)]
struct Person {
    family: String,
}

impl Aggregate for Person {
    type Event = PersonEvent;
    const NAME: &str = "person";
    // It only ever sees today's fields.
    fn apply(&mut self, PersonEvent::Named { family, .. }: PersonEvent) {
        self.family = family;
    }
}

#[catga::query]
struct FamilyName {
    #[key]
    person: u64,
}

#[query_handler]
fn family_name(_: FamilyName, person: &Root<Person>) -> String {
    person.family.clone()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // What last year's program stored: version 1, with one field, a text of 12 bytes.
    let store = Arc::new(MemoryStore::new());
    let stream: StreamId = "person/1".parse()?;
    let payload = b"\x0cAda Lovelace";
    let old = EventFrame { id: EventId::now_v7(), name: "PersonNamed", schema: 1, payload };
    testing::append(&*store, &testing::commit(&stream, 0.into(), [old]), 0).await?;

    let backend = Backend::new(store, Arc::new(MemoryKvStore::new()));
    let catga = Catga::builder().backend(backend).start().await?;
    assert_eq!(catga.query(FamilyName { person: 1 }).await?, "Lovelace");
    catga.shutdown().await;
    Ok(())
}
