//! What is `async` has no need to block.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[event_handler(name = "receipts", blocking)]
async fn send_receipt(paid: Recorded<OrderPaid>) {}

#[query_handler(blocking)]
fn get_order(query: GetOrder) -> u32 {
    0
}

fn main() {}
