//! Keys that are not one field with text.
#![allow(unused)]

use catga::prelude::*;

#[derive(Query)]
#[query(name = "a", output = u32)]
struct TwoKeys {
    #[key]
    a: String,
    #[key]
    b: String,
}

#[derive(Query)]
#[query(name = "b", output = u32)]
struct Arguments(#[key(order)] String);

fn main() {}
