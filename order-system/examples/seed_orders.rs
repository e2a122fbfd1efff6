//! `cargo run --release -p order-system --example seed_orders -- DIRECTORY N`: a log of N new orders in files, to
//! measure with. `scripts/bench-restart.sh` uses it.

use std::{sync::Arc, time::Instant};

use catga::{Catga, FileStore};
use futures_util::{StreamExt, stream};
use order_system::{
    domain::{
        commands::{CreateOrder, OrderLine},
        money::Money,
    },
    effects::Mailer,
};

/// How many orders are made at once, so that they share a sync.
const AT_ONCE: usize = 512;

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let usage = "usage: seed_orders DIRECTORY N";
    let mut arguments = std::env::args().skip(1);
    let directory = arguments.next().ok_or(usage)?;
    let n: u64 = arguments.next().ok_or(usage)?.parse()?;
    let store = Arc::new(FileStore::open(directory)?);
    let builder = Catga::builder().store(store.clone()).keyed(store);
    let catga = builder.resource(Mailer::default()).start().await?;
    let begin = Instant::now();
    stream::iter(0..n)
        .map(|i| {
            let create = create(i);
            async { catga.send(create).await.map(drop) }
        })
        .buffer_unordered(AT_ONCE)
        .for_each(|made| async move { made.expect("the store takes it") })
        .await;
    println!("{n} orders in {:.1} s", begin.elapsed().as_secs_f64());
    catga.shutdown().await;
    Ok(())
}

fn create(i: u64) -> CreateOrder {
    let line = OrderLine {
        product_id: "p1".to_owned(),
        name: "Pen".to_owned(),
        quantity: Some(2),
        price: Money::parse("49.99"),
    };
    CreateOrder {
        order_id: format!("bulk-{i}"),
        customer_id: format!("c{}", i % 1000),
        items: vec![line],
    }
}
