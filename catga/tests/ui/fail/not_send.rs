//! The future of a handler can't move between threads.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

use std::rc::Rc;

#[command_handler]
async fn pay_order(command: PayOrder, order: &mut Root<Order>) -> Result<u32, MailError> {
    let amount = Rc::new(command.amount);
    std::future::ready(()).await;
    Ok(*amount)
}

fn main() {}
