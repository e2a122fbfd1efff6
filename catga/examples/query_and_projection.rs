//! A query that is answered from a projection: a read model that the runtime keeps up to date with the log.
//!
//! Run it with `cargo run -p catga --example query_and_projection`.
use std::collections::BTreeMap;

use catga::prelude::*;

#[catga::event]
enum SaleEvent {
    Sold { product: String, cents: u64 },
}

#[derive(Debug, Clone, Default)]
struct Sale;

impl Aggregate for Sale {
    type Event = SaleEvent;
    const NAME: &str = "sale";
    fn apply(&mut self, _: SaleEvent) {}
}

#[catga::command]
struct Sell {
    #[key]
    sale: u64,
    product: String,
    cents: u64,
}

#[command_handler]
fn sell(Sell { product, cents, .. }: Sell, sale: &mut Root<Sale>) {
    sale.record(SaleEvent::Sold { product, cents });
}

#[derive(Debug, Default)]
struct Revenue {
    by_product: BTreeMap<String, u64>,
}

/// What each product brought in, over all sales.
#[projection]
impl Projection for Revenue {
    type Event = SaleEvent;
    const NAME: &str = "revenue";

    fn apply(&mut self, recorded: &Recorded<SaleEvent>) {
        let SaleEvent::Sold { product, cents } = &recorded.event;
        *self.by_product.entry(product.clone()).or_default() += cents;
    }
}

#[catga::query]
struct RevenueOf {
    product: String,
}

#[query_handler]
fn revenue_of(query: RevenueOf, revenue: &ReadModel<Revenue>) -> u64 {
    revenue.read().by_product.get(&query.product).copied().unwrap_or_default()
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let catga = Catga::builder().start().await?;
    for (sale, product, cents) in [(1, "pen", 250), (2, "ink", 900), (3, "pen", 300)] {
        catga.send(Sell { sale, product: product.to_owned(), cents }).await?;
    }
    // A query sees every command that was answered before it was asked.
    assert_eq!(catga.query(RevenueOf { product: "pen".to_owned() }).await?, 550);
    catga.shutdown().await;
    Ok(())
}
