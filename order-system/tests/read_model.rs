//! The read model shows each order as its stream does.

use std::collections::BTreeMap;

use catga::{prelude::*, testing::project_with_snapshots};
use order_system::{domain::*, effects::Mailer, projections::Orders};

/// Makes the `n`th order, and takes it through the first steps of its life, or cancels it after as many.
async fn live(catga: &Catga, n: usize) -> catga::Result<()> {
    let order_id = || format!("o{n}");
    let item = |item| OrderLine {
        product_id: format!("p{item}"),
        name: "Füller".repeat(item % 30 + 1),
        quantity: Some(2),
        price: Money::parse("49.99"),
    };
    // Larger than any buffer that was large enough before.
    let items = (0..1 + (n % 8).pow(2) * 12).map(item).collect();
    let customer_id = format!("c{}", n % 3);
    catga.send(CreateOrder { order_id: order_id(), customer_id, items }).await?;
    let (steps, is_cancelled) = (n % 6 % 4, n % 6 >= 4);
    if steps > 0 {
        let payment_method = "card".to_owned();
        catga.send(PayOrder { order_id: order_id(), payment_method }).await?;
    }
    if steps > 1 {
        let tracking_number = "track-1".repeat(steps);
        catga.send(ShipOrder { order_id: order_id(), tracking_number }).await?;
    }
    if steps > 2 {
        catga.send(DeliverOrder { order_id: order_id() }).await?;
    }
    if is_cancelled {
        let reason = (steps > 0).then(|| "no longer wanted".to_owned());
        catga.send(CancelOrder { order_id: order_id(), reason }).await?;
    }
    Ok(())
}

const ORDERS: usize = 16;

#[tokio::test]
async fn the_list_shows_what_the_streams_say() {
    let catga = Catga::builder().state(Mailer::default()).start().await.unwrap();
    for n in 0..ORDERS {
        live(&catga, n).await.unwrap();
    }
    let all = catga.query(ListOrders::default()).await.unwrap().items;
    let ids = (0..ORDERS).map(|n| format!("o{n}"));
    assert!(all.iter().rev().map(|order| order.id.clone()).eq(ids));
    let (mut by_status, mut revenue) = (BTreeMap::new(), 0);
    for order in &all {
        let query = GetOrder { order_id: order.id.clone(), version: None, at: None };
        assert_eq!(*order, catga.query(query).await.unwrap());
        let status = order.state.status.unwrap();
        *by_status.entry(status).or_default() += 1;
        let is_worth = status != Status::Cancelled;
        revenue += if is_worth { i128::from(order.state.total.units()) } else { 0 };
    }
    let stats = catga.query(GetStats).await.unwrap();
    assert_eq!((stats.total_orders, stats.total_revenue), (ORDERS as u64, MoneySum(revenue)));
    assert_eq!(stats.by_status, by_status);

    let statuses = Status::ALL.map(|status| (Some(status), None));
    let customers = ["c0", "c1", "c2", "c3"].map(|id| (None, Some(id.to_owned())));
    let filters = statuses.into_iter().chain(customers).chain([(None, None)]);
    let list = |(status, customer_id)| ListOrders { status, customer_id, ..ListOrders::default() };
    let lists = Vec::from_iter(filters.map(list));
    // However the events of orders follow each other, and with a snapshot after each.
    let (mut log, mut events) = (catga.subscribe::<OrderEvent>(0.into()), Vec::new());
    for _ in 0..all.iter().map(|order| order.version).sum() {
        events.push(log.next().await.unwrap().unwrap());
    }
    events.sort_by_key(|event| event.version);
    let orders = project_with_snapshots(events, |orders: &Orders| {
        (Vec::from_iter(lists.iter().map(|list| orders.page(list))), orders.stats(stats.timestamp))
    });
    assert_eq!(orders.stats(stats.timestamp), stats);
    for list in lists {
        let mut expected = all.clone();
        expected.retain(|o| list.status.is_none_or(|status| o.state.status == Some(status)));
        expected.retain(|o| list.customer_id.as_ref().is_none_or(|id| o.state.customer_id == *id));
        let page = catga.query(list.clone()).await.unwrap();
        assert_eq!((page.total, &page.items), (Some(expected.len() as u64), &expected), "{list:?}");
        assert_eq!(orders.page(&list), page);
    }
    catga.shutdown().await;
}
