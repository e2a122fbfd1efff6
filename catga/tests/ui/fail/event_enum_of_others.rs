//! Variants that hold something else.
#![allow(unused)]

use catga::prelude::*;

#[derive(Event)]
enum OrderEvent {
    Paid(String),
}

fn main() {}
