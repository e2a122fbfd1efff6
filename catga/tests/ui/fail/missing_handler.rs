//! A command that nobody handles is sent. The first error is what to read. The compiler says the same of the request and of
//! its `.await`: their type is an `impl Future` of a function that requires a handler, and stable Rust checks that again
//! wherever it is used. A future that can be named would be boxed, which costs each command an allocation.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

async fn run(catga: &Catga, command: PayOrder) {
    let _ = catga.send(command).await;
}

fn main() {}
