//! Earlier versions that nothing reads, and upcasts from versions that there are not.
#![allow(unused)]

use catga::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Serialize, Deserialize)]
struct Old;

macro_rules! lift {
    ($($ty:ty),*) => { $(impl From<Old> for $ty { fn from(_: Old) -> Self { Self } })* };
}
lift!(Missing, Extra, Twice);

#[derive(Serialize, Deserialize, Event)]
#[event(name = "Missing", version = 4, upcast(2 = Old))]
struct Missing;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "Extra", version = 2, upcast(1 = Old, 2 = Old, 3 = Old))]
struct Extra;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "Twice", version = 2, upcast(1 = Old, 1 = Old))]
struct Twice;

#[derive(Serialize, Deserialize, Event)]
#[event(name = "Bare", version = 2, upcast = Old)]
struct Bare;

fn main() {}
