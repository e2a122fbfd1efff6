//! `#[event]` with mistakes.
#![allow(unused)]

use catga::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(name = "Order Paid!", version = 0)]
struct BadValues;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "Big", version = 70000, schema = 2, name = "Again")]
struct Unknown;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "Twice", version = 1)]
#[event(name = "Twice", version = 1)]
struct Twice;

#[derive(Serialize, Deserialize, Event)]
struct Generic<T>(T);

#[derive(Event)]
union Either {
    a: u32,
    b: f32,
}

fn main() {}
