//! Every command and query, each a plain function.

use catga::prelude::*;

use crate::{
    domain::{
        commands::{CancelOrder, CreateOrder, Created, DeliverOrder, PayOrder, ShipOrder},
        order::{Order, OrderError, OrderView},
        queries::{GetOrder, GetStats, ListOrders, OrderPage, Stats},
    },
    projections::Orders,
};

/// Makes an order.
#[command_handler(creates)]
fn create_order(
    cmd: CreateOrder,
    order: &mut Root<Order>,
    clock: &Clock,
) -> Result<Created, OrderError> {
    let (items, total) = cmd.priced().expect("the command was validated");
    let created_at = clock.now();
    order.record(order.create(cmd.customer_id, items, total, created_at)?);
    Ok(Created { order_id: cmd.order_id, total, created_at })
}

/// Pays a pending order.
#[command_handler]
fn pay_order(
    cmd: PayOrder,
    order: &mut Root<Order>,
    clock: &Clock,
) -> Result<OrderView, OrderError> {
    order.record(order.pay(cmd.payment_method, clock.now())?);
    Ok(OrderView::of(order))
}

/// Ships a paid order.
#[command_handler]
fn ship_order(
    cmd: ShipOrder,
    order: &mut Root<Order>,
    clock: &Clock,
) -> Result<OrderView, OrderError> {
    order.record(order.ship(cmd.tracking_number, clock.now())?);
    Ok(OrderView::of(order))
}

/// Says that a shipped order arrived.
#[command_handler]
fn deliver_order(
    _: DeliverOrder,
    order: &mut Root<Order>,
    clock: &Clock,
) -> Result<OrderView, OrderError> {
    order.record(order.deliver(clock.now())?);
    Ok(OrderView::of(order))
}

/// Calls off an order that was not shipped.
#[command_handler]
fn cancel_order(
    cmd: CancelOrder,
    order: &mut Root<Order>,
    clock: &Clock,
) -> Result<OrderView, OrderError> {
    order.record(order.cancel(cmd.reason, clock.now())?);
    Ok(OrderView::of(order))
}

/// One order, now or as it was.
#[query_handler]
async fn get_order(
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
        (Some(version), None) if order.version() == version => return Ok(OrderView::of(order)),
        (Some(version), None) if order.version() < version => None,
        (Some(version), None) => history.at_version(version.into()).await?,
        (None, Some(time)) => history.at_time(time).await?,
    };
    Ok(then.map(|root| OrderView::of(&root)).ok_or(OrderError::VersionNotFound)?)
}

/// A page of orders, newest first.
#[query_handler]
fn list_orders(query: ListOrders, orders: &ReadModel<Orders>) -> OrderPage {
    orders.read().page(&query)
}

/// How many orders there are, and what they are worth.
#[query_handler]
fn get_stats(_: GetStats, orders: &ReadModel<Orders>) -> Stats {
    orders.read().stats()
}
