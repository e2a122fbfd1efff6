//! There is no parameter.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler]
fn pay_order() -> Result<u32, MailError> {
    Ok(0)
}

#[event_handler(name = "receipts")]
async fn send_receipt() {}

fn main() {}
