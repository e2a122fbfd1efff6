//! A command handler without `->`, for a command that has an output.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler]
fn pay_order(command: PayOrder) {}

fn main() {}
