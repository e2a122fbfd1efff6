//! A key that is no text.
#![allow(unused)]

use catga::prelude::*;

#[derive(Query)]
#[query(name = "order.get")]
struct GetOrder {
    #[key]
    number: u64,
}

fn main() {}
