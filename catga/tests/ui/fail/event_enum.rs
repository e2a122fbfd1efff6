//! Enums that are not made of events.
#![allow(unused)]

use catga::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
#[event(name = "A", version = 1)]
struct A;

#[derive(Event)]
#[event(name = "Shapes", version = 1)]
enum Shapes {
    Unit,
    Named { a: A },
    Two(A, A),
    One(A),
}

#[derive(Event)]
enum Empty {}

#[derive(Event)]
enum Generic<T> {
    A(T),
}

fn main() {}
