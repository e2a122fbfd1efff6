//! A command that can't be run again after a conflict.
#![allow(unused)]

use catga::prelude::*;

#[derive(serde::Serialize, Command)]
#[command(name = "order.pay")]
struct PayOrder;

fn main() {}
