//! Keys that are marked twice, or with something else than an aggregate.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[derive(Query)]
struct TwoKeys {
    #[key]
    a: String,
    #[key]
    b: String,
}

#[derive(Query)]
struct TwoOfOne(#[key(Order)] String, #[key(Order)] String);

#[derive(Query)]
struct Named(#[key = "order"] String);

#[derive(Query)]
struct NotAnAggregate(#[key(Mailer)] String);

fn main() {}
