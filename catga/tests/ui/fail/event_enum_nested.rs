//! An enum of events in an enum of events.
#![allow(unused)]

use catga::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(name = "A", version = 1)]
struct A;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "B", version = 1)]
struct B;

#[derive(Event)]
enum Inner {
    A(A),
    B(B),
}

#[derive(Event)]
enum Outer {
    Inner(Inner),
}

fn main() {}
