//! A command that can't be run again after a conflict.
#![allow(unused)]

use catga::prelude::*;

#[derive(serde::Serialize, Command)]
#[command(name = "order.pay", output = u32)]
struct PayOrder;

fn main() {}
