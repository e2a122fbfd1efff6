//! What one can have done to an order, and what makes a command unacceptable in itself.

use catga::prelude::*;
use catga_axum::{
    json,
    validate::{amount, count, range, text},
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Money, order::Item};

const MAX_ITEMS: usize = 1000;
const MAX_QUANTITY: u32 = 1_000_000;
/// The longest text, in characters.
const MAX_TEXT: usize = 200;
/// The longest reason of a cancellation, in characters.
const MAX_REASON: usize = 500;

/// Makes an order.
#[catga::command(name = "order.create", validate)]
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CreateOrder {
    /// The new order's id.
    #[key]
    pub order_id: String,
    #[schemars(length(min = 1, max = MAX_TEXT))]
    pub customer_id: String,
    #[serde(deserialize_with = "json::objects")]
    #[schemars(with = "Vec<OrderLine>", length(min = 1, max = MAX_ITEMS))]
    pub items: Vec<OrderLine>,
}

/// An item as it is ordered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    #[schemars(length(min = 1, max = MAX_TEXT))]
    pub product_id: String,
    #[schemars(length(min = 1, max = MAX_TEXT))]
    pub name: String,
    // A number of any size is well-formed; `None` is one that validation refuses.
    #[serde(deserialize_with = "json::whole")]
    #[schemars(with = "u32", range(min = 1, max = MAX_QUANTITY))]
    pub quantity: Option<u32>,
    /// The price of one, with at most 4 decimals.
    #[serde(deserialize_with = "Money::from_json")]
    #[schemars(with = "Money", range(min = 0))]
    pub price: Option<Money>,
}

/// The answer to [`CreateOrder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    pub order_id: String,
    /// The sum over the order's items.
    pub total: Money,
    pub created_at: Timestamp,
}

/// Pays an order.
#[catga::command(name = "order.pay", validate)]
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PayOrder {
    #[key]
    pub order_id: String,
    #[schemars(length(min = 1, max = MAX_TEXT))]
    pub payment_method: String,
}

/// Ships an order.
#[catga::command(name = "order.ship", validate)]
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ShipOrder {
    #[key]
    pub order_id: String,
    /// The carrier's number.
    #[schemars(length(min = 1, max = MAX_TEXT))]
    pub tracking_number: String,
}

/// Says that an order arrived.
#[catga::command(name = "order.deliver")]
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct DeliverOrder {
    #[key]
    pub order_id: String,
}

/// Calls an order off.
#[catga::command(name = "order.cancel", validate)]
#[derive(JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct CancelOrder {
    #[key]
    pub order_id: String,
    #[schemars(length(min = 1, max = MAX_REASON))]
    pub reason: Option<String>,
}

/// The items and their sum; `None` when one is not valid or the sum is too large.
pub fn priced(lines: Vec<OrderLine>) -> Option<(Vec<Item>, Money)> {
    let mut total = Money::default();
    let mut items = Vec::with_capacity(lines.len());
    for OrderLine { product_id, name, quantity, price } in lines {
        let (quantity, price) = (quantity?, price?);
        total = total.plus(price.times(quantity)?)?;
        items.push(Item { product_id, name, quantity, price });
    }
    Some((items, total))
}

impl Validate for CreateOrder {
    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::from_iter(text("customerId", &self.customer_id, MAX_TEXT));
        problems.extend(count("items", self.items.len(), 1..=MAX_ITEMS));
        for (i, item) in self.items.iter().enumerate().take(MAX_ITEMS) {
            problems.extend(text(format_args!("items[{i}].productId"), &item.product_id, MAX_TEXT));
            problems.extend(text(format_args!("items[{i}].name"), &item.name, MAX_TEXT));
            let quantity = format_args!("items[{i}].quantity");
            problems.extend(range(quantity, item.quantity, 1..=MAX_QUANTITY));
            problems.extend(amount(format_args!("items[{i}].price"), item.price));
        }
        if problems.is_empty() && priced(self.items.clone()).is_none() {
            problems.push(FieldError::new("items", "the total is too large"));
        }
        problems
    }
}

impl Validate for PayOrder {
    fn problems(&self) -> Vec<FieldError> {
        Vec::from_iter(text("paymentMethod", &self.payment_method, MAX_TEXT))
    }
}

impl Validate for ShipOrder {
    fn problems(&self) -> Vec<FieldError> {
        Vec::from_iter(text("trackingNumber", &self.tracking_number, MAX_TEXT))
    }
}

impl Validate for CancelOrder {
    fn problems(&self) -> Vec<FieldError> {
        let reason = self.reason.as_deref();
        Vec::from_iter(reason.and_then(|reason| text("reason", reason, MAX_REASON)))
    }
}
