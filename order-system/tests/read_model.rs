//! The read model shows each order as its stream does.

use std::collections::BTreeMap;

use catga::prelude::*;
use order_system::{domain::*, effects::Mailer, projections::Orders};

/// Makes the `n`th order, and takes it through the first steps of its life, or cancels it after as many.
async fn live(catga: &Catga, n: usize) {
    let order_id = || format!("o{n}");
    let item = |item| OrderLine {
        product_id: format!("p{item}"),
        name: "Füller".repeat(item % 30 + 1),
        quantity: Some(2),
        price: Money::parse("49.99"),
    };
    // Larger than any buffer that was large enough before.
    let items = (0..1 + n * n * 12).map(item).collect();
    let customer_id = format!("c{}", n % 3);
    catga.send(CreateOrder { order_id: order_id(), customer_id, items }).await.unwrap();
    let (steps, is_cancelled) =
        [(0, false), (1, false), (2, false), (3, false), (0, true), (1, true)][n % 6];
    if steps > 0 {
        let payment_method = "card".to_owned();
        catga.send(PayOrder { order_id: order_id(), payment_method }).await.unwrap();
    }
    if steps > 1 {
        let tracking_number = "track-1".repeat(steps);
        catga.send(ShipOrder { order_id: order_id(), tracking_number }).await.unwrap();
    }
    if steps > 2 {
        catga.send(DeliverOrder { order_id: order_id() }).await.unwrap();
    }
    if is_cancelled {
        let reason = (steps > 0).then(|| "no longer wanted".to_owned());
        catga.send(CancelOrder { order_id: order_id(), reason }).await.unwrap();
    }
}

#[tokio::test]
async fn the_list_shows_what_the_streams_say() {
    let catga = Catga::builder().state(Mailer::default()).start().await.unwrap();
    for n in 0..8 {
        live(&catga, n).await;
    }
    let all = catga.query(ListOrders::default()).await.unwrap().items;
    assert!(all.iter().rev().map(|order| order.id.clone()).eq((0..8).map(|n| format!("o{n}"))));
    let (mut by_status, mut revenue) = (BTreeMap::new(), 0);
    for order in &all {
        let query = GetOrder { order_id: order.id.clone(), version: None, at: None };
        assert_eq!(*order, catga.query(query).await.unwrap());
        let status = order.state.status.unwrap();
        *by_status.entry(status).or_default() += 1;
        revenue +=
            if status == Status::Cancelled { 0 } else { i128::from(order.state.total.units()) };
    }
    let stats = catga.query(GetStats).await.unwrap();
    assert_eq!((stats.total_orders, stats.total_revenue), (8, revenue));
    assert_eq!(stats.by_status, by_status);

    // A snapshot goes on in the same way, however the events of orders follow each other.
    let (mut log, mut events) = (catga.subscribe::<OrderEvent>(0.into()), Vec::new());
    for _ in 0..all.iter().map(|order| order.version).sum() {
        events.push(log.next().await.unwrap().unwrap());
    }
    events.sort_by_key(|event| event.version);
    let mut orders = Orders::default();
    for event in &events {
        orders.apply(event);
        let before = orders.page(&ListOrders::default());
        orders = postcard::from_bytes(&postcard::to_stdvec(&orders).unwrap()).unwrap();
        assert_eq!(orders.page(&ListOrders::default()), before);
    }
    assert_eq!(orders.stats(stats.timestamp), stats);

    let statuses = Status::ALL.map(|status| (Some(status), None));
    let customers = ["c0", "c1", "c2", "c3"].map(|id| (None, Some(id.to_owned())));
    for (status, customer_id) in statuses.into_iter().chain(customers).chain([(None, None)]) {
        let mut expected = all.clone();
        expected.retain(|order| status.is_none() || order.state.status == status);
        expected.retain(|o| customer_id.as_ref().is_none_or(|id| o.state.customer_id == *id));
        let list = ListOrders { status, customer_id, ..ListOrders::default() };
        let page = catga.query(list.clone()).await.unwrap();
        assert_eq!((page.total, &page.items), (Some(expected.len() as u64), &expected), "{list:?}");
        assert_eq!(orders.page(&list), page);
    }
    catga.shutdown().await;
}
