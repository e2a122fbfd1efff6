//! The order: its state, and why something can't happen to it.
//!
//! A handler asks [`Order::step`] and records what happened; `apply` is the only place where the state changes.

use catga::prelude::*;
use catga_axum::{Problem, Shown, View};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Money, events::*};

/// An order, as the fold of its events.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Order {
    pub customer_id: String,
    pub items: Vec<Item>,
    /// `None` until the order is created.
    pub status: Option<Status>,
    /// The sum over the items.
    pub total: Money,
    pub created_at: Timestamp,
    pub paid: Option<OrderPaid>,
    pub shipped: Option<OrderShipped>,
    pub delivered: Option<OrderDelivered>,
    pub cancelled: Option<OrderCancelled>,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    pub product_id: String,
    pub name: String,
    pub quantity: u32,
    /// The price of one.
    pub price: Money,
}

/// Where an order is on its way.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub enum Status {
    /// Created, not paid.
    Pending,
    /// Paid, not shipped.
    Paid,
    /// On its way.
    Shipped,
    /// Arrived.
    Delivered,
    /// Called off.
    Cancelled,
}

impl Status {
    /// All of them, in the order of an order's life.
    pub const ALL: [Self; 5] =
        [Self::Pending, Self::Paid, Self::Shipped, Self::Delivered, Self::Cancelled];
}

/// Why something can't happen to an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error, Problem)]
pub enum OrderError {
    /// There is no such order.
    #[error("there is no such order")]
    #[problem(status = 404, code = "order_not_found")]
    NotFound,
    /// The order never had this version, or did not exist at this time.
    #[error("the order has no such version")]
    #[problem(status = 404)]
    VersionNotFound,
    /// It is asked for as of a version and as of a time.
    #[error("version and at exclude each other")]
    #[problem(status = 400, code = "bad_request")]
    TwoMoments,
    /// There is an order with this id already.
    #[error("there is an order with this id already")]
    #[problem(status = 409, code = "order_exists")]
    Exists,
    /// The order's status forbids the step.
    #[error("an order that is {status:?} can't be {step}")]
    #[problem(status = 409)]
    InvalidTransition {
        /// The status it has. RFC 9457 has `status` for the number, so the order's has a longer name.
        #[problem(extra = "orderStatus")]
        status: Status,
        step: &'static str,
    },
}

/// What comes of a command: the order, where nothing else is said.
pub type Result<T = OrderView> = std::result::Result<T, OrderError>;

impl Order {
    /// The rule for every `step` of an order: it is taken `from` some statuses only.
    pub fn step(&self, step: &'static str, from: &[Status]) -> Result<()> {
        match self.status {
            None => Err(OrderError::NotFound),
            Some(status) if from.contains(&status) => Ok(()),
            Some(status) => Err(OrderError::InvalidTransition { status, step }),
        }
    }

    fn now(&mut self, status: Status) -> &mut Self {
        self.status = Some(status);
        self
    }
}

impl Aggregate for Order {
    type Event = OrderEvent;
    const NAME: &'static str = "order";
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(50));

    fn apply(&mut self, event: OrderEvent) {
        match event {
            OrderEvent::Created(OrderCreated { customer_id, items, total, created_at }) => {
                *self = Self { customer_id, items, total, created_at, ..Self::default() };
                self.status = Some(Status::Pending);
            }
            OrderEvent::Paid(paid) => self.now(Status::Paid).paid = Some(paid),
            OrderEvent::Shipped(shipped) => self.now(Status::Shipped).shipped = Some(shipped),
            OrderEvent::Delivered(event) => self.now(Status::Delivered).delivered = Some(event),
            OrderEvent::Cancelled(event) => self.now(Status::Cancelled).cancelled = Some(event),
        }
    }

    fn size_hint_bytes(&self) -> usize {
        let item = |item: &Item| size_of::<Item>() + item.product_id.len() + item.name.len();
        size_of::<Self>() + self.customer_id.len() + self.items.iter().map(item).sum::<usize>()
    }
}

/// An order with its id and version.
pub type OrderView = View<Order>;

/// An order as clients see it; what has not happened is left out.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(rename = "Order", rename_all = "camelCase")]
pub struct OrderJson<'a> {
    id: &'a str,
    customer_id: &'a str,
    items: &'a [Item],
    #[schemars(with = "Status")]
    status: Option<Status>,
    total: Money,
    created_at: Timestamp,
    #[serde(flatten)]
    paid: &'a Option<OrderPaid>,
    #[serde(flatten)]
    shipped: &'a Option<OrderShipped>,
    #[serde(flatten)]
    delivered: &'a Option<OrderDelivered>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancelled_at: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel_reason: Option<&'a str>,
    version: u64,
}

impl Shown for Order {
    type Json<'a> = OrderJson<'a>;

    fn json(View { id, version, state }: &View<Self>) -> OrderJson<'_> {
        let Self { customer_id, items, paid, shipped, delivered, cancelled, .. } = &**state;
        OrderJson {
            id,
            customer_id,
            items,
            status: state.status,
            total: state.total,
            created_at: state.created_at,
            paid,
            shipped,
            delivered,
            cancelled_at: cancelled.as_ref().map(|cancelled| cancelled.cancelled_at),
            cancel_reason: cancelled.as_ref().and_then(|cancelled| cancelled.reason.as_deref()),
            version: *version,
        }
    }
}
