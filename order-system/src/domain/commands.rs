//! What one can have done to an order, and what makes a command unacceptable in itself.

use catga::prelude::*;
use catga_axum::{json, validate::text};
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::{money::Money, order::Item};

/// The most items an order can have.
pub const MAX_ITEMS: usize = 1000;
/// The most of one item.
pub const MAX_QUANTITY: u32 = 1_000_000;
/// The longest text, in characters.
pub const MAX_TEXT: usize = 200;
/// The longest reason of a cancellation, in characters.
pub const MAX_REASON: usize = 500;

/// Makes an order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Command)]
#[serde(rename_all = "camelCase")]
#[command(name = "order.create", validate)]
pub struct CreateOrder {
    /// The new order's id.
    #[key]
    pub order_id: String,
    /// Who orders.
    #[schemars(length(min = 1, max = MAX_TEXT))]
    pub customer_id: String,
    /// What.
    #[serde(deserialize_with = "json::objects")]
    #[schemars(with = "Vec<OrderLine>", length(min = 1, max = MAX_ITEMS))]
    pub items: Vec<OrderLine>,
}

/// An item as it is ordered, checked by [`CreateOrder`]'s validation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct OrderLine {
    /// Which product.
    #[schemars(length(min = 1, max = MAX_TEXT))]
    pub product_id: String,
    /// What it is called.
    #[schemars(length(min = 1, max = MAX_TEXT))]
    pub name: String,
    /// How many; `None` when the number is not in the range.
    #[serde(deserialize_with = "json::whole")]
    #[schemars(with = "u32", range(min = 1, max = MAX_QUANTITY))]
    pub quantity: Option<u32>,
    /// The price of one; `None` when it is not an exact amount.
    #[serde(deserialize_with = "price")]
    #[schemars(with = "Money", range(min = 0))]
    pub price: Option<Money>,
}

/// The answer to [`CreateOrder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Created {
    /// The new order's id.
    pub order_id: String,
    /// The sum over its items.
    pub total: Money,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Pays an order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Command)]
#[serde(rename_all = "camelCase")]
#[command(name = "order.pay", validate)]
pub struct PayOrder {
    /// Which one.
    #[key]
    pub order_id: String,
    /// By what.
    #[schemars(length(min = 1, max = MAX_TEXT))]
    pub payment_method: String,
}

/// Ships an order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Command)]
#[serde(rename_all = "camelCase")]
#[command(name = "order.ship", validate)]
pub struct ShipOrder {
    /// Which one.
    #[key]
    pub order_id: String,
    /// The carrier's number.
    #[schemars(length(min = 1, max = MAX_TEXT))]
    pub tracking_number: String,
}

/// Says that an order arrived.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Command)]
#[serde(rename_all = "camelCase")]
#[command(name = "order.deliver")]
pub struct DeliverOrder {
    /// Which one.
    #[key]
    pub order_id: String,
}

/// Calls an order off.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Command)]
#[serde(rename_all = "camelCase")]
#[command(name = "order.cancel", validate)]
pub struct CancelOrder {
    /// Which one.
    #[key]
    pub order_id: String,
    /// Why.
    #[schemars(length(min = 1, max = MAX_REASON))]
    pub reason: Option<String>,
}

impl CreateOrder {
    /// The items and their sum; `None` when one is not valid or the sum is too large.
    pub fn priced(&self) -> Option<(Vec<Item>, Money)> {
        let mut total = Money::default();
        let mut items = Vec::with_capacity(self.items.len());
        for OrderLine { product_id, name, quantity, price } in &self.items {
            let (quantity, price) = ((*quantity)?, (*price)?);
            total = total.plus(price.times(quantity)?)?;
            items.push(Item {
                product_id: product_id.clone(),
                name: name.clone(),
                quantity,
                price,
            });
        }
        Some((items, total))
    }
}

impl Validate for CreateOrder {
    fn problems(&self) -> Vec<FieldError> {
        let mut problems = Vec::from_iter(text("customerId", &self.customer_id, MAX_TEXT));
        if self.items.is_empty() || self.items.len() > MAX_ITEMS {
            problems.push(FieldError::new("items", format!("1 to {MAX_ITEMS} items are allowed")));
        }
        for (i, item) in self.items.iter().enumerate().take(MAX_ITEMS) {
            problems.extend(text(format_args!("items[{i}].productId"), &item.product_id, MAX_TEXT));
            problems.extend(text(format_args!("items[{i}].name"), &item.name, MAX_TEXT));
            if !matches!(item.quantity, Some(1..=MAX_QUANTITY)) {
                let message = format!("1 to {MAX_QUANTITY} are allowed");
                problems.push(FieldError::new(format!("items[{i}].quantity"), message));
            }
            if item.price.is_none_or(Money::is_negative) {
                let message = "an amount of 0 or more with at most 4 decimals is allowed";
                problems.push(FieldError::new(format!("items[{i}].price"), message));
            }
        }
        if problems.is_empty() && self.priced().is_none() {
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

/// Numbers of any size are well-formed, and prices are exact.
fn price<'de, D: Deserializer<'de>>(json: D) -> Result<Option<Money>, D::Error> {
    json::number(json).map(Money::parse)
}
