//! What the cases are about: an order that can be paid.
#![allow(dead_code)]

use catga::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "OrderPaid", version = 1)]
pub struct OrderPaid {
    pub amount: u32,
}

#[derive(Debug, Clone, Event)]
pub enum OrderEvent {
    Paid(OrderPaid),
}

#[derive(Debug, Clone, Default)]
pub struct Order {
    pub paid: u32,
}

impl Aggregate for Order {
    type Event = OrderEvent;
    const NAME: &'static str = "order";

    fn apply(&mut self, OrderEvent::Paid(event): OrderEvent) {
        self.paid += event.amount;
    }
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "order.pay")]
pub struct PayOrder {
    #[key]
    pub order_id: String,
    pub amount: u32,
}

#[derive(Debug, Query)]
#[query(name = "order.get")]
pub struct GetOrder {
    #[key]
    pub order_id: String,
}

pub struct Mailer;

#[derive(Debug)]
pub struct MailError;

impl std::fmt::Display for MailError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("no mail")
    }
}

impl std::error::Error for MailError {}
