//! A handler that is no free function.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

struct Handlers;

impl Handlers {
    #[command_handler]
    fn pay_order(command: PayOrder) -> Result<u32, MailError> {
        Ok(0)
    }

    #[event_handler(name = "receipts")]
    async fn send_receipt(paid: OrderPaid) {}
}

fn main() {}
