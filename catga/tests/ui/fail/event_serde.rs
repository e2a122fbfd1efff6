//! An event that can't be stored.
#![allow(unused)]

use catga::prelude::*;

#[derive(Event)]
#[event(name = "OrderPaid", version = 1)]
struct OrderPaid;

fn main() {}
