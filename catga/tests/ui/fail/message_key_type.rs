//! A key that can't be shown.
#![allow(unused)]

use catga::prelude::*;
use serde::{Deserialize, Serialize};

struct Number(u64);

#[derive(Query)]
struct GetOrder {
    #[key]
    number: Number,
}

fn main() {}
