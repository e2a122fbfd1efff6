//! Projections that can't be registered.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[derive(Default)]
struct Orders;

#[projection(name = "orders")]
impl Projection for Orders {
    type Event = OrderEvent;
    const NAME: &'static str = "orders";

    fn apply(&mut self, _: &Recorded<OrderEvent>) {}
}

#[derive(Default)]
struct Generic<T>(T);

#[projection]
impl<T: Default + Send + Sync + 'static> Projection for Generic<T> {
    type Event = OrderEvent;
    const NAME: &'static str = "generic";

    fn apply(&mut self, _: &Recorded<OrderEvent>) {}
}

fn main() {}
