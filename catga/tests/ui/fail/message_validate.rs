//! A command is to be validated, and nothing does.
#![allow(unused)]

use catga::prelude::*;
use serde::Serialize;

#[derive(Clone, Serialize, Command)]
#[command(name = "order.pay", output = u32, validate)]
struct PayOrder;

fn main() {}
