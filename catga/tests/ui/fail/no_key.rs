//! The handler takes an aggregate, and the command does not say which.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[derive(Debug, Clone, serde::Serialize, Command)]
#[command(name = "order.pay-any")]
struct PayAny;

#[command_handler]
fn pay_any(command: PayAny, order: &mut Root<Order>) -> Result<u32, MailError> {
    Ok(order.paid)
}

fn main() {}
