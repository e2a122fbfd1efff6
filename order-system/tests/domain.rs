//! The rules of an order without a runtime, and the promise that its events stay readable.

use std::path::Path;

use catga::{
    prelude::*,
    testing::{check_events_lock, given},
};
use order_system::{domain::*, handlers::*};

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000 + seconds * 1_000_000)
}

fn created() -> OrderCreated {
    let price = Money::parse("49.99").unwrap();
    let item = Item { product_id: "p".into(), name: "Pen".into(), quantity: 2, price };
    let total = Money::parse("99.98").unwrap();
    OrderCreated { customer_id: "c".into(), items: vec![item], total, created_at: at(0) }
}

fn paid() -> OrderPaid {
    OrderPaid { payment_method: "card".into(), paid_at: at(1) }
}

fn pay(order: &mut Root<Order>) -> Result {
    let cmd = PayOrder { order_id: "o".into(), payment_method: "card".into() };
    pay_order(cmd, order, &Clock::manual(at(1)))
}

#[test]
fn paying_a_pending_order_records_it() {
    given::<Order>([created()]).when(pay).then([paid()]);
}

#[test]
fn paying_twice_is_refused() {
    let refusal = OrderError::InvalidTransition { status: Status::Paid, step: "paid" };
    given::<Order>([OrderEvent::from(created()), paid().into()]).when(pay).then_error(refusal);
}

#[test]
fn an_order_that_does_not_exist_can_only_be_created() {
    let (order, clock) = (|| "o".to_owned(), Clock::manual(at(0)));
    let cancel = CancelOrder { order_id: order(), reason: None };
    let deliver = DeliverOrder { order_id: order() };
    let nothing = || given::<Order>([] as [OrderEvent; 0]);
    nothing().when(pay).then_error(OrderError::NotFound);
    nothing().when(|o| cancel_order(cancel, o, &clock)).then_error(OrderError::NotFound);
    nothing().when(|o| deliver_order(deliver, o, &clock)).then_error(OrderError::NotFound);
}

/// P9: what is in people's logs stays readable. `just golden` adds lines for new versions.
#[test]
fn p9_stored_events_mean_what_they_meant() {
    let samples: [OrderEvent; 6] = [
        created().into(),
        paid().into(),
        OrderShipped { tracking_number: "T-1".into(), shipped_at: at(2) }.into(),
        OrderDelivered { delivered_at: at(3) }.into(),
        OrderCancelled { reason: Some("late".into()), cancelled_at: at(4) }.into(),
        OrderCancelled { reason: None, cancelled_at: at(4) }.into(),
    ];
    let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("events.lock");
    check_events_lock(&lock, &samples).unwrap();
}

/// Answers are stored beside the events, for who sends a command again.
#[test]
fn p9_stored_answers_mean_what_they_meant() {
    let mut order = Order::default();
    let late = OrderCancelled { reason: Some("late".into()), cancelled_at: at(2) };
    let events: [OrderEvent; 3] = [created().into(), paid().into(), late.into()];
    events.into_iter().for_each(|event| order.apply(event));
    let view = OrderView { id: "o".into(), version: 3, state: order.into() };
    let time = |seconds| at(seconds).as_micros();
    let items = vec![("p", "Pen", 2_u32, 499_900_i64)];
    let paid = Some(("card", time(1)));
    let none: (Option<(&str, i64)>, Option<i64>) = (None, None);
    let cancelled = Some((Some("late"), time(2)));
    let state = ("c", items, Some(Status::Cancelled), 999_800_i64, time(0));
    let stored = postcard::to_stdvec(&("o", 3_u64, state, paid, none, cancelled)).unwrap();
    assert_eq!(postcard::to_stdvec(&view).unwrap(), stored);
    assert_eq!(postcard::from_bytes::<OrderView>(&stored).unwrap(), view);

    let json = serde_json::json!({
        "id": "o", "customerId": "c", "status": "Cancelled", "total": 99.98, "version": 3,
        "items": [{ "productId": "p", "name": "Pen", "quantity": 2, "price": 49.99 }],
        "createdAt": "2023-11-14T22:13:20Z",
        "paidAt": "2023-11-14T22:13:21Z", "paymentMethod": "card",
        "cancelledAt": "2023-11-14T22:13:22Z", "cancelReason": "late",
    });
    assert_eq!(serde_json::to_value(&view).unwrap(), json);
}
