//! What one can have done to an order, and what makes a command unacceptable in itself.

use std::{fmt::Display, sync::Arc};

use catga::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    money::Money,
    order::{Item, Order},
};

/// The most items an order can have.
pub const MAX_ITEMS: usize = 1000;
/// The most of one item.
pub const MAX_QUANTITY: u32 = 1_000_000;
/// The longest text, in characters.
pub const MAX_TEXT: usize = 200;
/// The longest reason of a cancellation, in characters.
pub const MAX_REASON: usize = 500;

/// An order as one sees it: its id and version with its state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
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

/// Makes an order.
#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "order.create", output = Created, creates, validate)]
pub struct CreateOrder {
    /// The new order's id.
    #[key]
    pub order_id: String,
    /// Who orders.
    pub customer_id: String,
    /// What.
    pub items: Vec<OrderLine>,
}

/// An item as it is ordered, checked by [`CreateOrder`]'s validation.
#[derive(Debug, Clone, Serialize)]
pub struct OrderLine {
    /// Which product.
    pub product_id: String,
    /// What it is called.
    pub name: String,
    /// How many; `None` when the number is not in the range.
    pub quantity: Option<u32>,
    /// The price of one; `None` when it is not an exact amount.
    pub price: Option<Money>,
}

/// The answer to [`CreateOrder`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Created {
    /// The new order's id.
    pub order_id: String,
    /// The sum over its items.
    pub total: Money,
    /// When it was created.
    pub created_at: Timestamp,
}

/// Pays an order.
#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "order.pay", output = OrderView, validate)]
pub struct PayOrder {
    /// Which one.
    #[key]
    pub order_id: String,
    /// By what.
    pub payment_method: String,
}

/// Ships an order.
#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "order.ship", output = OrderView, validate)]
pub struct ShipOrder {
    /// Which one.
    #[key]
    pub order_id: String,
    /// The carrier's number.
    pub tracking_number: String,
}

/// Says that an order arrived.
#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "order.deliver", output = OrderView)]
pub struct DeliverOrder {
    /// Which one.
    #[key]
    pub order_id: String,
}

/// Calls an order off.
#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "order.cancel", output = OrderView, validate)]
pub struct CancelOrder {
    /// Which one.
    #[key]
    pub order_id: String,
    /// Why.
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
        let mut problems = text("customerId", &self.customer_id);
        if self.items.is_empty() || self.items.len() > MAX_ITEMS {
            problems.push(FieldError::new("items", format!("1 to {MAX_ITEMS} items are allowed")));
        }
        for (i, item) in self.items.iter().enumerate().take(MAX_ITEMS) {
            problems.extend(text(format_args!("items[{i}].productId"), &item.product_id));
            problems.extend(text(format_args!("items[{i}].name"), &item.name));
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
        text("paymentMethod", &self.payment_method)
    }
}

impl Validate for ShipOrder {
    fn problems(&self) -> Vec<FieldError> {
        text("trackingNumber", &self.tracking_number)
    }
}

impl Validate for CancelOrder {
    fn problems(&self) -> Vec<FieldError> {
        let reason = self.reason.as_deref();
        reason.map_or_else(Vec::new, |reason| text_up_to(MAX_REASON, "reason", reason))
    }
}

fn text(field: impl Display, value: &str) -> Vec<FieldError> {
    text_up_to(MAX_TEXT, field, value)
}

fn text_up_to(longest: usize, field: impl Display, value: &str) -> Vec<FieldError> {
    let is_allowed = !value.trim().is_empty()
        && value.chars().count() <= longest
        && !value.chars().any(char::is_control);
    let message = || {
        format!(
            "1 to {longest} characters are allowed, not all blank, none of them control characters"
        )
    };
    if is_allowed { Vec::new() } else { vec![FieldError::new(field.to_string(), message())] }
}
