//! What can happen to an order. Each struct is stored; a change to its fields needs a new version.

use catga::prelude::*;
use schemars::JsonSchema;

use super::{Money, order::Item};

/// A customer ordered.
#[catga::event(name = "OrderCreated", version = 1)]
#[serde(rename_all = "camelCase")]
pub struct OrderCreated {
    pub customer_id: String,
    pub items: Vec<Item>,
    /// The sum over the items.
    pub total: Money,
    pub created_at: Timestamp,
}

/// The order was paid.
#[catga::event(name = "OrderPaid", version = 1)]
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderPaid {
    pub payment_method: String,
    pub paid_at: Timestamp,
}

/// The order left the house.
#[catga::event(name = "OrderShipped", version = 1)]
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderShipped {
    pub tracking_number: String,
    pub shipped_at: Timestamp,
}

/// The order arrived.
#[catga::event(name = "OrderDelivered", version = 1)]
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderDelivered {
    pub delivered_at: Timestamp,
}

/// The order was called off.
#[catga::event(name = "OrderCancelled", version = 1)]
#[serde(rename_all = "camelCase")]
pub struct OrderCancelled {
    pub reason: Option<String>,
    pub cancelled_at: Timestamp,
}

/// All that can happen to an order.
#[catga::event]
pub enum OrderEvent {
    Created(OrderCreated),
    Paid(OrderPaid),
    Shipped(OrderShipped),
    Delivered(OrderDelivered),
    Cancelled(OrderCancelled),
}
