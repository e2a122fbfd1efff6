//! order-system with many orders: how fast it starts on them, how much memory they take, and whether what it does
//! costs more the more there are: `orders [start] [memory] [growth]`, all when none is named.

mod growth;
mod memory;
mod start;

use std::{error::Error, ops::Range, sync::Arc};

use catga::{
    Catga,
    store::{Backend, EventStore, KvStore},
};
use catga_bench::is_wanted;
use futures_util::{StreamExt, stream};
use order_system::{
    domain::{
        Money,
        commands::{CreateOrder, DeliverOrder, OrderLine, PayOrder, ShipOrder},
    },
    effects::Mailer,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// How many orders are made at once.
const AT_ONCE: usize = 256;

/// How many events the life of an order has.
const LIFE: usize = 4;

/// order-system's handlers and read models over a store, in this process.
async fn order_system<S: EventStore + 'static>(
    store: Arc<S>,
    kv: Arc<dyn KvStore>,
    cache_bytes: u64,
) -> Catga {
    let builder = Catga::builder().backend(Backend::new(store, kv)).cache_bytes(cache_bytes);
    builder.state(Mailer::default()).start().await.expect("the store can be used")
}

fn id(order: u64) -> String {
    format!("order-{order}")
}

fn create(order: u64) -> CreateOrder {
    let line = OrderLine {
        product_id: "p1".to_owned(),
        name: "Pen".to_owned(),
        quantity: Some(2),
        price: Money::parse("49.99"),
    };
    CreateOrder {
        order_id: id(order),
        customer_id: format!("c{}", order % 1000),
        items: vec![line],
    }
}

/// Makes orders, and takes each through the first `events` of its life.
async fn make(catga: &Catga, orders: Range<u64>, events: usize) {
    stream::iter(orders)
        .map(async |order| {
            let order_id = id(order);
            catga.send(create(order)).await?;
            if events > 1 {
                let payment_method = "card".to_owned();
                catga.send(PayOrder { order_id: order_id.clone(), payment_method }).await?;
            }
            if events > 2 {
                let tracking_number = format!("track-{order}");
                catga.send(ShipOrder { order_id: order_id.clone(), tracking_number }).await?;
            }
            if events > 3 {
                catga.send(DeliverOrder { order_id }).await?;
            }
            Ok::<_, catga::Error>(())
        })
        .buffer_unordered(AT_ONCE)
        .for_each(async |made| made.expect("the store takes it"))
        .await;
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    if let [command, orders] = &arguments[..]
        && command == "hold"
    {
        return memory::hold(orders.parse()?).await;
    }
    if is_wanted("start") {
        start::measure().await?;
    }
    if is_wanted("memory") {
        memory::measure().await?;
    }
    if is_wanted("growth") {
        growth::measure().await?;
    }
    Ok(())
}
