//! The first parameter is something else than the handler's kind of message.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler]
fn command(query: GetOrder) -> Result<u32, MailError> {
    Ok(0)
}

#[query_handler]
fn query(mailer: Mailer) -> Result<u32, MailError> {
    Ok(0)
}

#[event_handler(name = "event")]
fn event(command: PayOrder) -> Result<(), MailError> {
    Ok(())
}

fn main() {}
