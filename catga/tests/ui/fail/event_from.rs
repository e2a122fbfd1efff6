//! Nothing lifts the old type to today's.
#![allow(unused)]

use catga::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct OrderPaidV1;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "OrderPaid", version = 2, upcast(1 = OrderPaidV1))]
struct OrderPaid;

fn main() {}
