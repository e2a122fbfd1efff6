//! What one can ask about orders.

use catga::{prelude::*, read_model::Cursor};

use super::{commands::OrderView, events::OrderEvent, order::Status};

/// One order, now or as it was.
#[derive(Debug, Query)]
#[query(name = "order.get", output = OrderView)]
pub struct GetOrder {
    /// Which one.
    #[key]
    pub order_id: String,
    /// As of when.
    pub moment: Moment,
}

/// A moment in an order's life.
#[derive(Debug, Clone, Copy)]
pub enum Moment {
    /// As it is now.
    Now,
    /// As it was at a version.
    Version(u64),
    /// As it was at a time.
    Time(Timestamp),
}

/// What happened to one order.
#[derive(Debug, Query)]
#[query(name = "order.history", output = Vec<Recorded<OrderEvent>>)]
pub struct GetHistory {
    /// Which one.
    #[key]
    pub order_id: String,
    /// From which version on.
    pub from: u64,
    /// How many events at most.
    pub limit: usize,
}

/// A page of orders, newest first.
#[derive(Debug, Query)]
#[query(name = "order.list", output = OrderPage)]
pub struct ListOrders {
    /// Only those with this status.
    pub status: Option<Status>,
    /// Only those of this customer.
    pub customer_id: Option<String>,
    /// Only those made before these: the `next` of another page.
    pub before: Option<Cursor>,
    /// How many at most.
    pub limit: usize,
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
#[derive(Debug, Query)]
#[query(name = "order.stats", output = Stats)]
pub struct GetStats;

/// The answer to [`GetStats`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stats {
    /// How many of each status, as in [`Status::ALL`].
    pub by_status: [u64; Status::ALL.len()],
    /// The total of all orders that are not cancelled, in ten-thousandths.
    pub revenue: i128,
}
