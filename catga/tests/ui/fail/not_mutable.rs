//! A parameter that is no aggregate is taken as `&mut`.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler]
fn pay_order(command: PayOrder, mailer: &mut Mailer) -> Result<u32, MailError> {
    Ok(0)
}

fn main() {}
