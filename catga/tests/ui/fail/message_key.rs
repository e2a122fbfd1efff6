//! Keys that are not one field with text.
#![allow(unused)]

use catga::prelude::*;

#[derive(Query)]
#[query(name = "a")]
struct TwoKeys {
    #[key]
    a: String,
    #[key]
    b: String,
}

#[derive(Query)]
#[query(name = "b")]
struct Arguments(#[key(order)] String);

fn main() {}
