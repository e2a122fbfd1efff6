//! Parameters after the message by value, and of no one type.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler]
fn pay_order(
    command: PayOrder,
    order: Root<Order>,
    clock: Clock,
    mailer: &impl Send,
    other: &dyn Send,
    third: &'static State<Mailer>,
    fourth: &std::sync::Arc<Mailer>,
) -> Result<u32, MailError> {
    Ok(0)
}

fn main() {}
