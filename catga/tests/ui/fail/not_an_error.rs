//! The error is no `std::error::Error`.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler]
fn pay_order(command: PayOrder) -> Result<u32, String> {
    Ok(0)
}

fn main() {}
