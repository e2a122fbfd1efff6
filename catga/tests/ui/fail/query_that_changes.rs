//! A query or an event handler takes something as `&mut`.
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

fn main() {}
