//! What one can ask about orders.

use std::collections::BTreeMap;

use catga::prelude::*;
use catga_axum::{Cursor, Limit};
use schemars::JsonSchema;
use serde::Serialize;

use super::{MoneySum, order::Status};

/// One order, now or as it was.
#[catga::query(name = "order.get")]
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GetOrder {
    /// The order's id.
    #[key]
    pub order_id: String,
    /// As it was at a version.
    pub version: Option<u64>,
    /// As it was at a time.
    pub at: Option<Timestamp>,
}

/// A page of orders, newest first.
#[catga::query(name = "order.list")]
#[derive(Default, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ListOrders {
    /// Only those with this status.
    pub status: Option<Status>,
    /// Only those of this customer.
    pub customer_id: Option<String>,
    /// Only those made before this one: the place of the last order of the page before.
    pub cursor: Option<Cursor>,
    /// How many at most.
    #[serde(default)]
    pub limit: Limit,
}

/// How many orders there are, and what they are worth.
#[catga::query(name = "order.stats")]
#[derive(JsonSchema)]
pub struct GetStats;

/// How many orders there are, and what they are worth.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Stats {
    pub total_orders: u64,
    #[schemars(with = "BTreeMap<String, u64>")]
    pub by_status: BTreeMap<Status, u64>,
    /// Of all orders that are not cancelled.
    pub total_revenue: MoneySum,
    pub timestamp: Timestamp,
}
