//! A command is to be validated, and nothing does.
#![allow(unused)]

use catga::prelude::*;
use serde::Serialize;

#[derive(Clone, Serialize, Command)]
#[command(name = "order.pay", validate)]
struct PayOrder;

fn main() {}
