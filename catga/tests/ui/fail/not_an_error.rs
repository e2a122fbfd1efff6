//! Errors that are none, or that can't go to another thread.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

struct NoError;

#[command_handler]
fn pay_order(command: PayOrder) -> Result<u32, NoError> {
    Ok(0)
}

#[query_handler]
fn get_order(query: GetOrder) -> Result<u32, Box<dyn std::error::Error>> {
    Ok(0)
}

#[event_handler(name = "receipts")]
fn send_receipt(paid: OrderPaid) -> Result<(), NoError> {
    Ok(())
}

fn main() {}
