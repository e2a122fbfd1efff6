//! A command that nobody handles is sent.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

async fn run(catga: &Catga, command: PayOrder) {
    let _ = catga.send(command).await;
}

fn main() {}
