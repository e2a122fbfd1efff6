//! Answers that can't be told from errors, can't be stored, or that nobody gets.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

type Outcome = Result<u32, MailError>;

#[command_handler]
fn pay_order(command: PayOrder) -> Outcome {
    Ok(1)
}

#[derive(Debug, Clone, serde::Serialize, Command)]
struct Unstored;

#[command_handler]
fn unstored(_: Unstored) -> Result<Mailer, MailError> {
    Ok(Mailer)
}

#[event_handler(name = "receipts")]
async fn send_receipt(paid: OrderPaid) -> Result<bool, MailError> {
    Ok(true)
}

#[event_handler(name = "answers")]
async fn answer(paid: OrderPaid) -> bool {
    true
}

fn main() {}
