//! P9: what can't be read again is never written, and the error says what it is.

use std::{
    io::Write,
    sync::{Arc, Mutex},
};

use catga::{ErrorKind, handler::DecodeError, prelude::*, store::Backend};
use serde::{Deserialize, Deserializer, Serialize, de};

/// As some crates do it: text when it is written, whatever comes when it is read.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
struct Decimal(String);

impl<'de> Deserialize<'de> for Decimal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Decimal;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a number")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Decimal, E> {
                Ok(Decimal(text.to_owned()))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// What is left out is read as what follows.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Note {
    #[serde(skip_serializing_if = "is_zero")]
    stars: u32,
    bytes: Vec<u8>,
}

fn is_zero(stars: &u32) -> bool {
    *stars == 0
}

#[catga::event]
enum ItemEvent {
    #[event(name = "ReadablePriced")]
    Priced { item: String, price: Option<Decimal> },
    #[event(name = "ReadableNoted")]
    Noted { note: Note },
    #[event(name = "ReadableCounted")]
    Counted { by: u64 },
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Item {
    count: u64,
    price: Option<Decimal>,
    note: Note,
}

impl Aggregate for Item {
    type Event = ItemEvent;
    const NAME: &str = "readable-item";
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(70));

    fn apply(&mut self, event: ItemEvent) {
        match event {
            ItemEvent::Priced { price, .. } => self.price = price,
            ItemEvent::Noted { note } => self.note = note,
            ItemEvent::Counted { by } => self.count += by,
        }
    }
}

#[catga::command]
struct Price {
    #[key]
    item: String,
    price: Option<String>,
}

#[command_handler]
fn price(price: Price, item: &mut Root<Item>) {
    item.record(ItemEvent::Priced { item: price.item, price: price.price.map(Decimal) });
}

#[catga::command]
struct Take {
    #[key]
    item: String,
    stars: u32,
}

#[command_handler]
fn take(take: Take, item: &mut Root<Item>) {
    item.record(ItemEvent::Noted { note: Note { stars: take.stars, bytes: vec![0] } });
}

/// What `Count` answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Counted {
    count: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
}

#[catga::command]
struct Count {
    #[key]
    item: String,
    /// The length of the answer's text.
    text: usize,
}

#[command_handler]
fn count(count: Count, item: &mut Root<Item>) -> Counted {
    item.record(ItemEvent::Counted { by: 1 });
    Counted { count: item.count, text: "x".repeat(count.text) }
}

#[derive(Debug, Default)]
struct Seen(u64);

#[projection]
impl Projection for Seen {
    type Event = ItemEvent;
    const NAME: &str = "readable-seen";

    fn apply(&mut self, _: &Recorded<ItemEvent>) {
        self.0 += 1;
    }
}

#[catga::query]
struct HowMany;

#[query_handler]
fn how_many(_: HowMany, seen: &ReadModel<Seen>) -> u64 {
    seen.read().0
}

fn item() -> String {
    "a".to_owned()
}

async fn started() -> (Backend, Catga) {
    let backend = Backend::memory();
    let catga = Catga::builder().backend(backend.clone()).start().await;
    (backend, catga.expect("it starts"))
}

async fn head(backend: &Backend) -> u64 {
    backend.store().head().await.expect("a head").get()
}

#[tokio::test]
async fn p9_an_event_that_could_not_be_read_is_refused_with_its_field_and_nothing_is_appended() {
    let (backend, catga) = started().await;
    catga.send(Price { item: item(), price: None }).await.expect("without a price it can be read");
    let error = catga.send(Price { item: item(), price: Some("4.99".to_owned()) }).await;
    let error = error.expect_err("nobody could read it");
    assert!(matches!(error.kind(), ErrorKind::Decode(DecodeError::Encode(..))), "{error:?}");
    let text = error.to_string();
    for part in ["`ReadablePriced v1`", "`price`", "`Price`", "`readable-item/a`", "postcard"] {
        assert!(text.contains(part), "{part} is in: {text}");
    }
    assert!(!text.contains("4.99"), "{text}");
    assert_eq!(head(&backend).await, 1);
    assert_eq!(catga.query(HowMany).await.expect("the read model goes on"), 1);
    let counted = catga.send(Count { item: item(), text: 0 }).await.expect("the aggregate goes on");
    assert_eq!(counted.count, 1);
    catga.shutdown().await;
}

#[tokio::test]
async fn p9_an_event_that_would_be_read_as_another_is_refused() {
    let (backend, catga) = started().await;
    catga.send(Take { item: item(), stars: 3 }).await.expect("nothing of it is left out");
    let error = catga.send(Take { item: item(), stars: 0 }).await.expect_err("it would have stars");
    assert!(error.to_string().contains("`note.stars`"), "{error}");
    assert_eq!(head(&backend).await, 1);
    catga.shutdown().await;
}

#[tokio::test]
async fn p4_an_answer_that_could_not_be_given_again_is_refused_before_anything_is_appended() {
    let (backend, catga) = started().await;
    let count = |text| Count { item: item(), text };
    let error = catga.send(count(0)).id("first").await.expect_err("it could not be given again");
    let text = error.to_string();
    assert!(text.contains("`Count`") && text.contains("`text`"), "{text}");
    assert_eq!(head(&backend).await, 0);
    // Without an id it is not stored, and with all fields it is read.
    assert_eq!(catga.send(count(0)).await.expect("done").count, 1);
    let first = catga.send(count(2)).id("second").outcome().await.expect("done");
    let again = catga.send(count(2)).id("second").outcome().await.expect("answered again");
    assert_eq!((again.output, again.is_replay), (first.output, true));
    catga.shutdown().await;
}

#[tokio::test]
async fn an_answer_that_is_too_large_to_be_stored_is_refused_on_every_store_alike() {
    let (backend, catga) = started().await;
    let count = |text| Count { item: item(), text };
    let error = catga.send(count(800_000)).id("first").await.expect_err("too large");
    assert!(matches!(error.kind(), ErrorKind::Store(error) if error.is_too_large()), "{error:?}");
    let text = error.to_string();
    for part in ["`Count`", "80000", "786432"] {
        assert!(text.contains(part), "{part} is in: {text}");
    }
    assert_eq!(head(&backend).await, 0);
    assert_eq!(catga.send(count(800_000)).await.expect("it is not stored").count, 1);
    assert_eq!(catga.send(count(700_000)).id("first").await.expect("stored").count, 2);
    catga.shutdown().await;
}

/// Lines of the log.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().expect("no panic").extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn a_snapshot_that_could_not_be_read_is_not_written_and_that_is_said_once() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).finish();
    let _guard = tracing::subscriber::set_default(subscriber);
    let (backend, catga) = started().await;
    for item in ["a", "b"] {
        for _ in 0..150 {
            catga.send(Count { item: item.to_owned(), text: 0 }).await.expect("done");
        }
    }
    catga.shutdown().await;
    let text = String::from_utf8(lines.0.lock().expect("no panic").clone()).expect("text");
    assert_eq!(text.matches("a snapshot of").count(), 1, "{text}");
    assert!(text.contains("Item") && text.contains("`note.stars`"), "{text}");
    for item in ["a", "b"] {
        let snapshot = backend.kv().get(&format!("snapshot/readable-item/{item}")).await;
        assert!(snapshot.expect("an answer").is_none(), "a snapshot of {item}");
    }
}
