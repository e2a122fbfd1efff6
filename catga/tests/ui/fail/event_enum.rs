//! Enums that are not made of events.
#![allow(unused)]

use catga::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize, Event)]
struct A;

#[derive(Event)]
#[event(name = "Shapes", version = 1)]
enum Shapes {
    Two(A, A),
    Nothing(),
    #[event(version = 2, upcast(1 = A))]
    One(A),
    #[event(name = "Same")]
    Named { a: u32 },
    #[event(name = "Same", version = 2)]
    Unit,
}

#[derive(Event)]
enum Empty {}

#[derive(Event)]
enum Generic<T> {
    A(T),
}

struct Opaque;

#[derive(Event)]
enum NotStored {
    Held { opaque: Opaque },
}

fn main() {}
