//! What is returned is not the message's output.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler]
fn pay_order(command: PayOrder) -> Result<String, MailError> {
    Ok(String::new())
}

#[query_handler]
fn get_order(query: GetOrder) -> u32 {
    0
}

#[event_handler(name = "receipts")]
async fn send_receipt(paid: OrderPaid) -> Result<bool, MailError> {
    Ok(true)
}

fn main() {}
