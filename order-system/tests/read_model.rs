//! The read model shows each order as its stream does.

use catga::prelude::*;
use catga_axum::Limit;
use order_system::{
    domain::{
        commands::{CancelOrder, CreateOrder, DeliverOrder, OrderLine, PayOrder, ShipOrder},
        money::Money,
        queries::{GetOrder, GetStats, ListOrders},
    },
    effects::Mailer,
};

/// Ids that differ only in how a UUID is written are different ids.
const IDS: [&str; 8] = [
    "01a20b68-e9fc-7460-9108-0123456789ab",
    "01A20B68-E9FC-7460-9108-0123456789AB",
    "01a20b68e9fc746091080123456789ab",
    "01a20b68-e9fc-7460-9108-0123456789a",
    "00000000-0000-0000-0000-000000000000",
    "a",
    "order_with-an-id-of-sixty-four-characters-that-is-the-longest-on",
    "0123456789abcdef",
];

fn create(id: &str, items: usize) -> CreateOrder {
    let line = |item| OrderLine {
        product_id: format!("p{item}"),
        name: "Füller".repeat(item % 30 + 1),
        quantity: Some(2),
        price: Money::parse("49.99"),
    };
    let (order_id, customer_id) = (id.to_owned(), format!("c{}", items % 3));
    CreateOrder { order_id, customer_id, items: (0..items).map(line).collect() }
}

/// Takes an order through the first `steps` of its life, or cancels it after as many.
async fn live(catga: &Catga, id: String, steps: usize, is_cancelled: bool) {
    let (payment_method, tracking_number) = ("card".to_owned(), "track-1".repeat(steps));
    if steps > 0 {
        catga.send(PayOrder { order_id: id.clone(), payment_method }).await.unwrap();
    }
    if steps > 1 {
        catga.send(ShipOrder { order_id: id.clone(), tracking_number }).await.unwrap();
    }
    if steps > 2 {
        catga.send(DeliverOrder { order_id: id.clone() }).await.unwrap();
    }
    if is_cancelled {
        let reason = (steps > 0).then(|| "no longer wanted".to_owned());
        catga.send(CancelOrder { order_id: id, reason }).await.unwrap();
    }
}

#[tokio::test]
async fn the_list_shows_what_the_streams_say() {
    let catga = Catga::builder().state(Mailer::default()).start().await.unwrap();
    let mut revenue = 0;
    for (n, id) in IDS.into_iter().enumerate() {
        // Larger than any buffer that was large enough before.
        let create = create(id, 1 + n * n * 12);
        let (steps, is_cancelled) =
            [(0, false), (1, false), (2, false), (3, false), (0, true), (1, true)][n % 6];
        let id = create.order_id.clone();
        let total = catga.send(create).await.unwrap().total;
        live(&catga, id, steps, is_cancelled).await;
        revenue += if is_cancelled { 0 } else { i128::from(total.units()) };
    }
    let all = ListOrders { status: None, customer_id: None, cursor: None, limit: Limit(100) };
    let page = catga.query(all).await.unwrap();
    let listed: Vec<_> = page.orders.iter().rev().map(|order| &*order.id).collect();
    assert_eq!(listed, IDS);
    let mut by_status = [0; 5];
    for order in &page.orders {
        let query = GetOrder { order_id: order.id.clone(), version: None, at: None };
        assert_eq!(*order, catga.query(query).await.unwrap());
        by_status[order.order.status.unwrap() as usize] += 1;
    }
    let stats = catga.query(GetStats).await.unwrap();
    assert_eq!((stats.by_status, stats.revenue), (by_status, revenue));
    for customer in ["c0", "c1", "c2", "c3"] {
        let of = ListOrders {
            status: None,
            customer_id: Some(customer.to_owned()),
            cursor: None,
            limit: Limit(100),
        };
        let theirs: Vec<_> =
            page.orders.iter().filter(|o| o.order.customer_id == customer).collect();
        let listed = catga.query(of).await.unwrap();
        assert_eq!(listed.orders.iter().collect::<Vec<_>>(), theirs);
    }
    catga.shutdown().await;
}
