//! Attributes with arguments they don't have.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler(name = "pay")]
fn pay_order(command: PayOrder) -> Result<u32, MailError> {
    Ok(0)
}

#[query_handler(cached)]
fn get_order(query: GetOrder) -> Result<u32, MailError> {
    Ok(0)
}

#[event_handler]
fn unnamed(paid: OrderPaid) {}

#[event_handler(name = "a", retries = 3, name = "b")]
fn unknown(paid: OrderPaid) {}

#[event_handler(name = Receipts)]
fn not_a_literal(paid: OrderPaid) {}

#[event_handler("receipts")]
fn no_argument(paid: OrderPaid) {}

fn main() {}
