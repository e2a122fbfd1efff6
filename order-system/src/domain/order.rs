//! The order: its state, and the rules.
//!
//! Each rule is a method that looks at the order and answers what happened, or why it can't. A
//! handler records the answer; `take_in` is the only place where the state changes.

use catga::prelude::*;
use serde::{Deserialize, Serialize};

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
    pub paid: Option<(String, Timestamp)>,
    /// Under which number and when it was shipped.
    pub shipped: Option<(String, Timestamp)>,
    /// When it arrived.
    pub delivered_at: Option<Timestamp>,
    /// Why and when it was cancelled.
    pub cancelled: Option<(Option<String>, Timestamp)>,
}

/// One line of an order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
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

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pending => "Pending",
            Self::Paid => "Paid",
            Self::Shipped => "Shipped",
            Self::Delivered => "Delivered",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// Why something can't happen to an order.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// There is no such order.
    #[error("there is no such order")]
    NotFound,
    /// The order never had this version, or did not exist at this time.
    #[error("the order has no such version")]
    VersionNotFound,
    /// There is an order with this id already.
    #[error("there is an order with this id already")]
    Exists,
    /// The order's status forbids the step.
    #[error("an order that is {} can't be {step}", status.name())]
    InvalidTransition {
        /// The status it has.
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
            OrderEvent::Paid(paid) => self.paid = Some((paid.payment_method, paid.paid_at)),
            OrderEvent::Shipped(shipped) => {
                self.shipped = Some((shipped.tracking_number, shipped.shipped_at));
            }
            OrderEvent::Delivered(delivered) => self.delivered_at = Some(delivered.delivered_at),
            OrderEvent::Cancelled(cancelled) => {
                self.cancelled = Some((cancelled.reason, cancelled.cancelled_at));
            }
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

    fn apply(&mut self, event: &OrderEvent) {
        self.take_in(event.clone());
    }

    fn size_hint_bytes(&self) -> usize {
        let item = |item: &Item| size_of::<Item>() + item.product_id.len() + item.name.len();
        size_of::<Self>() + self.customer_id.len() + self.items.iter().map(item).sum::<usize>()
    }
}
