//! A parameter that nothing provides.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

pub struct Stranger;

#[command_handler]
fn pay_order(command: PayOrder, order: &mut Root<Order>, stranger: &Stranger) -> Result<u32, MailError> {
    Ok(0)
}

#[query_handler]
async fn get_order(query: GetOrder, stranger: &Stranger) -> Result<u32, MailError> {
    Ok(0)
}

#[event_handler(name = "receipts")]
async fn send_receipt(paid: OrderPaid, stranger: &Stranger) {}

fn main() {}
