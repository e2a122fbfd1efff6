//! The order: its state, and the rules.
//!
//! Each rule is a method that looks at the order and answers what happened, or why it can't. A
//! handler records the answer; `take_in` is the only place where the state changes.

use std::{borrow::Cow, sync::Arc};

use catga::prelude::*;
use catga_axum::Problem;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize, Serializer};

use super::{
    events::{OrderCancelled, OrderCreated, OrderDelivered, OrderEvent, OrderPaid, OrderShipped},
    money::Money,
};

/// An order, as the fold of its events.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Order {
    /// Who ordered.
    pub customer_id: String,
    /// What was ordered.
    pub items: Vec<Item>,
    /// `None` until the order is created.
    pub status: Option<Status>,
    /// The sum over the items.
    pub total: Money,
    /// When it was created.
    pub created_at: Timestamp,
    /// How and when it was paid.
    pub paid: Option<OrderPaid>,
    /// Under which number and when it was shipped.
    pub shipped: Option<OrderShipped>,
    /// When it arrived.
    pub delivered: Option<OrderDelivered>,
    /// Why and when it was cancelled.
    pub cancelled: Option<OrderCancelled>,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Item {
    /// Which product.
    pub product_id: String,
    /// What it is called.
    pub name: String,
    /// How many.
    pub quantity: u32,
    /// The price of one.
    pub price: Money,
}

/// Where an order is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
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
        /// The step that was asked for.
        step: &'static str,
    },
}

impl Order {
    /// A new order.
    pub fn create(
        &self,
        customer_id: String,
        items: Vec<Item>,
        total: Money,
        created_at: Timestamp,
    ) -> Result<OrderCreated, OrderError> {
        match self.status {
            None => Ok(OrderCreated { customer_id, items, total, created_at }),
            Some(_) => Err(OrderError::Exists),
        }
    }

    /// Pays a pending order.
    pub fn pay(&self, payment_method: String, paid_at: Timestamp) -> Result<OrderPaid, OrderError> {
        self.step("paid", &[Status::Pending])?;
        Ok(OrderPaid { payment_method, paid_at })
    }

    /// Ships a paid order.
    pub fn ship(
        &self,
        tracking_number: String,
        shipped_at: Timestamp,
    ) -> Result<OrderShipped, OrderError> {
        self.step("shipped", &[Status::Paid])?;
        Ok(OrderShipped { tracking_number, shipped_at })
    }

    /// Delivers a shipped order.
    pub fn deliver(&self, delivered_at: Timestamp) -> Result<OrderDelivered, OrderError> {
        self.step("delivered", &[Status::Shipped])?;
        Ok(OrderDelivered { delivered_at })
    }

    /// Cancels an order that was not shipped.
    pub fn cancel(
        &self,
        reason: Option<String>,
        cancelled_at: Timestamp,
    ) -> Result<OrderCancelled, OrderError> {
        self.step("cancelled", &[Status::Pending, Status::Paid])?;
        Ok(OrderCancelled { reason, cancelled_at })
    }

    /// The change that `event` makes; the only place where an order changes.
    pub(crate) fn take_in(&mut self, event: OrderEvent) {
        let status = Some(event.status());
        match event {
            OrderEvent::Created(OrderCreated { customer_id, items, total, created_at }) => {
                *self = Self { customer_id, items, total, created_at, ..Self::default() };
            }
            OrderEvent::Paid(paid) => self.paid = Some(paid),
            OrderEvent::Shipped(shipped) => self.shipped = Some(shipped),
            OrderEvent::Delivered(delivered) => self.delivered = Some(delivered),
            OrderEvent::Cancelled(cancelled) => self.cancelled = Some(cancelled),
        }
        self.status = status;
    }

    fn step(&self, step: &'static str, from: &[Status]) -> Result<(), OrderError> {
        match self.status {
            None => Err(OrderError::NotFound),
            Some(status) if from.contains(&status) => Ok(()),
            Some(status) => Err(OrderError::InvalidTransition { status, step }),
        }
    }
}

impl Aggregate for Order {
    type Event = OrderEvent;
    const NAME: &'static str = "order";
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(50));

    fn apply(&mut self, event: OrderEvent) {
        self.take_in(event);
    }

    fn size_hint_bytes(&self) -> usize {
        let item = |item: &Item| size_of::<Item>() + item.product_id.len() + item.name.len();
        size_of::<Self>() + self.customer_id.len() + self.items.iter().map(item).sum::<usize>()
    }
}

/// An order as one sees it: its id and version with its state.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct OrderView {
    /// Which order.
    pub id: String,
    /// At which version.
    pub version: u64,
    /// What it is like.
    pub order: Arc<Order>,
}

impl OrderView {
    /// The order as it is now, what was just recorded included.
    pub fn of(root: &Root<Order>) -> Self {
        Self { id: root.key().to_owned(), version: root.version().get(), order: root.state() }
    }
}

/// An order as clients see it; what has not happened is left out.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Order", rename_all = "camelCase")]
struct OrderJson<'a> {
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

/// Stored it is its fields; in JSON it is flat.
impl Serialize for OrderView {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { id, version, order } = self;
        if !serializer.is_human_readable() {
            return (id, version, order).serialize(serializer);
        }
        let Order { customer_id, items, status, total, created_at, .. } = &**order;
        let json = OrderJson {
            id,
            customer_id,
            items,
            status: *status,
            total: *total,
            created_at: *created_at,
            paid: &order.paid,
            shipped: &order.shipped,
            delivered: &order.delivered,
            cancelled_at: order.cancelled.as_ref().map(|cancelled| cancelled.cancelled_at),
            cancel_reason: order.cancelled.as_ref().and_then(|c| c.reason.as_deref()),
            version: *version,
        };
        json.serialize(serializer)
    }
}

impl JsonSchema for OrderView {
    fn schema_name() -> Cow<'static, str> {
        OrderJson::schema_name()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        OrderJson::json_schema(generator)
    }
}
