//! The impl is of another trait.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[projection]
#[derive(Default)]
struct Orders;

fn main() {}
