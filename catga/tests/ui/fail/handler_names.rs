//! Names of event handlers that can't be parts of keys.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[event_handler(name = "")]
fn empty(paid: OrderPaid) {}

#[event_handler(name = "billing.receipts")]
fn dotted(paid: OrderPaid) {}

#[event_handler(name = "Receipts")]
fn upper(paid: OrderPaid) {}

#[event_handler(name = "sixty-five-sixty-five-sixty-five-sixty-five-sixty-five-sixty-five")]
fn long(paid: OrderPaid) {}

fn main() {}
