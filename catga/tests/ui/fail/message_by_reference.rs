//! The message is a reference, or is not named.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler]
fn by_reference(command: &PayOrder) -> Result<u32, MailError> {
    Ok(0)
}

#[query_handler]
fn unnamed(query: impl Query) -> Result<u32, MailError> {
    Ok(0)
}

fn main() {}
