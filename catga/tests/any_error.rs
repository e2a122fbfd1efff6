//! `?` takes any error in any handler: with `anyhow` the sender has its text and its causes, and so has the dead letter.

use std::{num::ParseIntError, time::Duration};

use anyhow::Context as _;
use catga::{Consistency, DeliverySettings, ErrorKind, prelude::*};
use tokio::time::{sleep, timeout};

#[catga::event]
enum ItemEvent {
    Priced { text: String },
}

#[derive(Debug, Clone, Default)]
struct Item;

impl Aggregate for Item {
    type Event = ItemEvent;
    const NAME: &'static str = "item";

    fn apply(&mut self, _: ItemEvent) {}
}

#[catga::command]
struct SetPrice {
    #[key]
    item: String,
    text: String,
    is_checked: bool,
}

#[command_handler]
fn set_price(command: SetPrice, item: &mut Root<Item>) -> anyhow::Result<u32> {
    let price = command.text.parse();
    item.record(ItemEvent::Priced { text: command.text });
    match command.is_checked {
        true => Ok(price.with_context(|| format!("no price for {}", command.item))?),
        false => Ok(0),
    }
}

#[catga::query]
struct Parse(String);

#[query_handler]
async fn parse(Parse(text): Parse) -> anyhow::Result<u32> {
    Ok(text.parse()?)
}

#[event_handler(name = "labels")]
async fn print_label(ItemEvent::Priced { text }: ItemEvent) -> anyhow::Result<()> {
    let _price: u32 = text.parse().context("no label")?;
    Ok(())
}

#[tokio::test]
async fn question_mark_takes_any_error_in_any_handler() {
    let delivery = DeliverySettings { attempts: 1, ..DeliverySettings::default() };
    let catga = Catga::builder().delivery(delivery).start().await.unwrap();
    let set = |text: &str, is_checked| {
        let command = SetPrice { item: "pears".to_owned(), text: text.to_owned(), is_checked };
        catga.send(command)
    };
    let error = set("x", true).await.unwrap_err();
    assert!(matches!(error.kind(), ErrorKind::Handler(_)), "{error:?}");
    assert_eq!(error.to_string(), "no price for pears");
    assert_eq!(format!("{error:#}"), "no price for pears: invalid digit found in string");
    assert!(error.handler::<ParseIntError>().is_none(), "anyhow hides the type");
    assert_eq!(catga.head().await.unwrap().get(), 0, "what was refused left nothing");

    let error = catga.query(Parse("x".to_owned())).await.unwrap_err();
    assert_eq!(format!("{error:#}"), "invalid digit found in string", "said once");

    // Of two events one is handled, so the other is poison, and no outage.
    assert_eq!(set("x", false).await.unwrap(), 0);
    assert_eq!(set("5", true).await.unwrap(), 5);
    let parked = async {
        loop {
            match &catga.dead_letters(Consistency::Latest).await.unwrap()[..] {
                [letter] => return letter.error.clone(),
                _ => sleep(Duration::from_millis(10)).await,
            }
        }
    };
    let reason = timeout(Duration::from_secs(20), parked).await.expect("it is parked");
    assert_eq!(reason, "no label: invalid digit found in string");
    catga.shutdown().await;
}
