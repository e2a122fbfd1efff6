//! Types that postcard can't read, as their bytes do not say what they are.
#![allow(unused)]

use std::collections::BTreeMap;

use catga::prelude::*;

#[catga::event]
struct Imported {
    row: serde_json::Value,
}

#[catga::event]
enum Happened {
    Noted { by_name: BTreeMap<String, Option<serde_json::Value>> },
}

fn main() {}
