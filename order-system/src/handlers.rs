//! Every command and query, each a plain function.

use catga::{ensure, prelude::*};
use catga_axum::Page;

use crate::{domain::*, projections::Orders};

/// Makes an order.
#[command_handler(creates)]
pub fn create_order(cmd: CreateOrder, order: &mut Root<Order>, clock: &Clock) -> Result<Created> {
    ensure!(!order.exists(), OrderError::Exists);
    let (items, total) = priced(cmd.items).expect("the command was validated");
    let (customer_id, created_at) = (cmd.customer_id, clock.now());
    order.record(OrderCreated { customer_id, items, total, created_at });
    Ok(Created { order_id: cmd.order_id, total, created_at })
}

/// Pays a pending order.
#[command_handler]
pub fn pay_order(cmd: PayOrder, order: &mut Root<Order>, clock: &Clock) -> Result {
    order.step("paid", &[Status::Pending])?;
    order.record(OrderPaid { payment_method: cmd.payment_method, paid_at: clock.now() });
    Ok(OrderView::of(order))
}

/// Ships a paid order.
#[command_handler]
pub fn ship_order(cmd: ShipOrder, order: &mut Root<Order>, clock: &Clock) -> Result {
    order.step("shipped", &[Status::Paid])?;
    order.record(OrderShipped { tracking_number: cmd.tracking_number, shipped_at: clock.now() });
    Ok(OrderView::of(order))
}

/// Says that a shipped order arrived.
#[command_handler]
pub fn deliver_order(_: DeliverOrder, order: &mut Root<Order>, clock: &Clock) -> Result {
    order.step("delivered", &[Status::Shipped])?;
    order.record(OrderDelivered { delivered_at: clock.now() });
    Ok(OrderView::of(order))
}

/// Calls off an order that was not shipped.
#[command_handler]
pub fn cancel_order(cmd: CancelOrder, order: &mut Root<Order>, clock: &Clock) -> Result {
    order.step("cancelled", &[Status::Pending, Status::Paid])?;
    order.record(OrderCancelled { reason: cmd.reason, cancelled_at: clock.now() });
    Ok(OrderView::of(order))
}

/// One order, now or as it was.
#[query_handler]
pub async fn get_order(
    query: GetOrder,
    order: &Root<Order>,
    history: &History<Order>,
) -> catga::Result<OrderView> {
    if !order.exists() {
        return Err(OrderError::NotFound.into());
    }
    let then = match (query.version, query.at) {
        (Some(_), Some(_)) => return Err(OrderError::TwoMoments.into()),
        (None, None) => return Ok(OrderView::of(order)),
        (Some(version), None) => history.at_version(version.into()).await?,
        (None, Some(time)) => history.at_time(time).await?,
    };
    Ok(then.map(|root| OrderView::of(&root)).ok_or(OrderError::VersionNotFound)?)
}

/// A page of orders, newest first.
#[query_handler]
pub fn list_orders(query: ListOrders, orders: &ReadModel<Orders>) -> Page<OrderView> {
    orders.read().page(&query)
}

/// How many orders there are, and what they are worth.
#[query_handler]
pub fn get_stats(_: GetStats, orders: &ReadModel<Orders>, clock: &Clock) -> Stats {
    orders.read().stats(clock.now())
}
