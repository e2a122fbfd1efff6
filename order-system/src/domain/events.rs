//! What can happen to an order. Each struct is stored; a change to its fields needs a new version.

use catga::prelude::*;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    money::Money,
    order::{Item, Status},
};

/// A customer ordered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Event)]
#[event(name = "OrderCreated", version = 1)]
#[serde(rename_all = "camelCase")]
pub struct OrderCreated {
    /// Who ordered.
    pub customer_id: String,
    /// What, how many, and at which price.
    pub items: Vec<Item>,
    /// The sum over the items.
    pub total: Money,
    /// When.
    pub created_at: Timestamp,
}

/// The order was paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Event)]
#[event(name = "OrderPaid", version = 1)]
#[serde(rename_all = "camelCase")]
pub struct OrderPaid {
    /// By what.
    pub payment_method: String,
    /// When.
    pub paid_at: Timestamp,
}

/// The order left the house.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Event)]
#[event(name = "OrderShipped", version = 1)]
#[serde(rename_all = "camelCase")]
pub struct OrderShipped {
    /// The carrier's number.
    pub tracking_number: String,
    /// When.
    pub shipped_at: Timestamp,
}

/// The order arrived.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Event)]
#[event(name = "OrderDelivered", version = 1)]
#[serde(rename_all = "camelCase")]
pub struct OrderDelivered {
    /// When.
    pub delivered_at: Timestamp,
}

/// The order was called off.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema, Event)]
#[event(name = "OrderCancelled", version = 1)]
#[serde(rename_all = "camelCase")]
pub struct OrderCancelled {
    /// Why, if somebody said.
    pub reason: Option<String>,
    /// When.
    pub cancelled_at: Timestamp,
}

/// All that can happen to an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, Event)]
pub enum OrderEvent {
    /// See [`OrderCreated`].
    Created(OrderCreated),
    /// See [`OrderPaid`].
    Paid(OrderPaid),
    /// See [`OrderShipped`].
    Shipped(OrderShipped),
    /// See [`OrderDelivered`].
    Delivered(OrderDelivered),
    /// See [`OrderCancelled`].
    Cancelled(OrderCancelled),
}

impl OrderEvent {
    /// The status that the order has after it.
    pub fn status(&self) -> Status {
        match self {
            Self::Created(_) => Status::Pending,
            Self::Paid(_) => Status::Paid,
            Self::Shipped(_) => Status::Shipped,
            Self::Delivered(_) => Status::Delivered,
            Self::Cancelled(_) => Status::Cancelled,
        }
    }
}
