//! The future of an event handler can't move between threads.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

use std::rc::Rc;

#[event_handler(name = "receipts")]
async fn send_receipt(paid: Recorded<OrderPaid>) -> Result<(), MailError> {
    let amount = Rc::new(paid.amount);
    std::future::ready(()).await;
    drop(amount);
    Ok(())
}

fn main() {}
