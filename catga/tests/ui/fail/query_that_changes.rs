//! Aggregates where none can be changed, or is none.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[query_handler]
fn get_order(query: GetOrder, order: &mut Root<Order>) -> Result<u32, MailError> {
    Ok(0)
}

#[event_handler(name = "receipts")]
fn send_receipt(paid: OrderPaid, order: &mut Root<Order>) {}

#[event_handler(name = "looks")]
fn look(paid: OrderPaid, order: &Root<Order>) {}

#[event_handler(name = "history")]
fn remember(paid: OrderPaid, history: &History<Order>) {}

fn main() {}
