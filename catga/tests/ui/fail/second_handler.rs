//! Two functions handle one command.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler]
fn pay_order(command: PayOrder) -> Result<u32, MailError> {
    Ok(command.amount)
}

#[command_handler]
fn pay_again(command: PayOrder) -> Result<u32, MailError> {
    Ok(command.amount)
}

fn main() {}
