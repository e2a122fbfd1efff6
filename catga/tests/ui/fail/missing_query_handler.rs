//! A query that nobody handles is asked.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

async fn run(catga: &Catga, query: GetOrder) {
    let _ = catga.query(query).await;
}

fn main() {}
