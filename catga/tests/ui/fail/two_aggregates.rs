//! A command changes two aggregates.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler]
fn pay_order(command: PayOrder, a: &mut Root<Order>, b: &mut Root<Order>) -> Result<u32, MailError> {
    Ok(0)
}

fn main() {}
