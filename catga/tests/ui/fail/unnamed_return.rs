//! A query without an answer, and an answer without a name.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[query_handler]
fn get_order(query: GetOrder) {}

#[command_handler]
fn pay_order(command: PayOrder) -> impl Future<Output = Result<u32, MailError>> {
    async { Ok(0) }
}

fn main() {}
