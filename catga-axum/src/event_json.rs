//! The JSON of an event, as histories and the feed show it.

use std::borrow::Cow;

use catga::{
    Aggregate, Event, Recorded, Timestamp,
    log::{EventId, Origin},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Serialize, Serializer, ser::SerializeMap};

use crate::members::Members;

/// An event.
#[derive(Serialize)]
pub(crate) struct EventJson<'a, E> {
    version: u64,
    position: u64,
    r#type: &'static str,
    timestamp: Timestamp,
    data: Data<'a, E>,
    metadata: MetadataJson<'a>,
}

/// Where an event came from.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(rename = "EventMetadata")]
struct MetadataJson<'a> {
    /// The `Idempotency-Key` of the command that made it.
    #[serde(skip_serializing_if = "Option::is_none")]
    command_id: Option<&'a str>,
    /// The `X-Correlation-Id` of the request.
    #[serde(skip_serializing_if = "Option::is_none")]
    correlation_id: Option<&'a str>,
    /// The event that the command reacted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    causation_id: Option<EventId>,
    /// The event's own id.
    event_id: EventId,
    /// The node that decided it.
    node: &'a str,
}

/// What happened, with the key of what it happened to. The members are those of the event's type.
struct Data<'a, E> {
    /// The name of the member that holds the key.
    member: &'a str,
    key: &'a str,
    event: &'a E,
}

impl<E: Serialize> Serialize for Data<'_, E> {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        let mut map = json.serialize_map(None)?;
        map.serialize_entry(self.member, self.key)?;
        self.event.serialize(Members::of(&mut map))?;
        map.end()
    }
}

impl<'a, E: Event> EventJson<'a, E> {
    /// `recorded`, whose key is shown as `member`.
    pub(crate) fn new(recorded: &'a Recorded<E>, member: &'a str) -> Self {
        let Origin { command_id, correlation, causation, node, .. } = recorded.origin();
        let metadata = MetadataJson {
            command_id,
            correlation_id: correlation,
            causation_id: causation,
            event_id: recorded.id,
            node,
        };
        Self {
            version: recorded.version.get(),
            position: recorded.position.get(),
            r#type: recorded.event.event_type().name,
            timestamp: recorded.time,
            data: Data { member, key: recorded.stream.key(), event: &recorded.event },
            metadata,
        }
    }

    pub(crate) fn type_name(&self) -> &'static str {
        self.r#type
    }
}

/// The name that an aggregate's key has in JSON: `orderId` for `order`, `shoppingCartId` for `shopping-cart`.
pub(crate) fn key_member(aggregate: &str) -> String {
    let mut words = aggregate.split(['-', '_']).filter(|word| !word.is_empty());
    let mut name = words.next().unwrap_or_default().to_owned();
    for word in words {
        let (first, rest) = word.split_at(1);
        name.push_str(&first.to_ascii_uppercase());
        name.push_str(rest);
    }
    name + "Id"
}

/// The schema of a history of aggregates of type `A`.
pub(crate) struct HistoryJson<A>(std::marker::PhantomData<A>);

impl<A: Aggregate> JsonSchema for HistoryJson<A> {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        format!("{}History", A::NAME).into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let event = generator.subschema_for::<RecordedEvent>();
        json_schema!({ "type": "array", "items": event })
    }
}

/// An event with its place in the log.
#[derive(JsonSchema)]
#[schemars(rename = "Event")]
#[allow(dead_code, reason = "it is the shape of EventJson")]
pub(crate) struct RecordedEvent {
    /// Its place in the stream of what it happened to; 1 is the first.
    version: u64,
    /// Its place in the whole log.
    position: u64,
    /// What happened.
    r#type: String,
    /// When.
    timestamp: Timestamp,
    /// More about it, by its type, with the key of what it happened to.
    data: serde_json::Map<String, serde_json::Value>,
    /// Where it came from.
    metadata: MetadataJson<'static>,
}

#[cfg(test)]
mod tests {
    use catga::{
        log::{Commit, EventFrame, Record, StreamId},
        testing,
    };
    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Closed {
        closed_at: Timestamp,
        reason: Option<String>,
    }

    #[derive(Serialize)]
    #[allow(dead_code)]
    enum Happened {
        Closed(Closed),
        Moved { to: String },
        Lost,
    }

    fn data(event: &Happened) -> String {
        serde_json::to_string(&Data { member: "ticketId", key: "7", event }).unwrap()
    }

    #[test]
    fn the_members_of_an_event_follow_its_key() {
        let closed_at = Timestamp::from_micros(0);
        let closed = Happened::Closed(Closed { closed_at, reason: None });
        assert_eq!(data(&closed), r#"{"ticketId":"7","closedAt":"1970-01-01T00:00:00Z"}"#);
        let closed = Happened::Closed(Closed { closed_at, reason: Some("old".into()) });
        assert!(data(&closed).ends_with(r#","reason":"old"}"#));
        let moved = Happened::Moved { to: "x".into() };
        assert_eq!(data(&moved), r#"{"ticketId":"7","to":"x"}"#);
        assert_eq!(data(&Happened::Lost), r#"{"ticketId":"7"}"#);
    }

    #[catga::event]
    struct Answered {}

    #[test]
    fn the_metadata_says_what_caused_an_event() {
        let stream: StreamId = "ticket/7".parse().unwrap();
        let mut payload = Vec::new();
        let ty = Answered {}.encode(&mut payload).unwrap();
        let (name, schema, id) = (ty.name, ty.version, uuid::Uuid::from_u128(1));
        let event = EventFrame { id, name, schema, payload: &payload };
        let cause = uuid::Uuid::from_u128(2);
        let metadata = |causation| {
            let commit = testing::commit(&stream, 0.into(), [event.clone()]);
            let frame = Commit { causation, ..commit }.encode();
            let record = Record { position: 1.into(), token: 0, frame };
            let recorded = &Recorded::<Answered>::read(&record).unwrap()[0];
            serde_json::to_value(EventJson::new(recorded, "ticketId")).unwrap()["metadata"].take()
        };
        let mut expected = json!({ "eventId": id, "node": "test" });
        assert_eq!(metadata(None), expected);
        expected["causationId"] = json!(cause);
        assert_eq!(metadata(Some(cause)), expected);
    }

    #[test]
    fn a_key_is_named_after_the_aggregate() {
        assert_eq!(key_member("order"), "orderId");
        assert_eq!(key_member("shopping-cart"), "shoppingCartId");
    }
}
