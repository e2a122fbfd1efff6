//! Everything that a handler's signature can't have, at once.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler]
unsafe extern "C" fn pay_order<'a, T>(command: PayOrder, mailer: Mailer) -> Result<u32, MailError> {
    Ok(0)
}

struct Handlers;

impl Handlers {
    #[query_handler]
    fn get_order(&self, query: GetOrder) -> Result<u32, MailError> {
        Ok(0)
    }
}

fn main() {}
