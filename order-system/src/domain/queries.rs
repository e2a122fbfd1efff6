//! What one can ask about orders.

use catga::prelude::*;
use catga_axum::{Cursor, Limit};
use schemars::JsonSchema;
use serde::Deserialize;

use super::order::{OrderView, Status};

/// One order, now or as it was.
#[derive(Debug, Deserialize, JsonSchema, Query)]
#[query(name = "order.get")]
#[serde(rename_all = "camelCase")]
pub struct GetOrder {
    /// Which one.
    #[key]
    pub order_id: String,
    /// As it was at a version.
    pub version: Option<u64>,
    /// As it was at a time.
    pub at: Option<Timestamp>,
}

/// A page of orders, newest first.
#[derive(Debug, Deserialize, JsonSchema, Query)]
#[query(name = "order.list")]
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

/// Some orders, and how many match in all.
#[derive(Debug)]
pub struct OrderPage {
    /// Newest first.
    pub orders: Vec<OrderView>,
    /// How many orders match the filters, over all pages.
    pub total: u64,
    /// What to give as `before` for the next page; `None` at the end.
    pub next: Option<Cursor>,
}

/// How many orders there are, and what they are worth.
#[derive(Debug, Deserialize, JsonSchema, Query)]
#[query(name = "order.stats")]
pub struct GetStats;

/// The answer to [`GetStats`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// How many of each status, as in [`Status::ALL`].
    pub by_status: [u64; Status::ALL.len()],
    /// The total of all orders that are not cancelled, in ten-thousandths.
    pub revenue: i128,
}
