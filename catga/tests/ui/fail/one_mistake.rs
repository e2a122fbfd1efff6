//! A handler with a mistake is a handler all the same where its message is sent.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler]
fn pay_order(command: PayOrder, order: Root<Order>) -> Result<u32, MailError> {
    Ok(0)
}

#[query_handler(cached)]
fn get_order(query: &GetOrder) -> u32 {
    0
}

#[catga::query]
struct Total;

struct Handlers;

impl Handlers {
    #[query_handler]
    fn total(&self, query: Total) -> u32 {
        0
    }
}

async fn run(catga: &Catga, command: PayOrder, query: GetOrder) -> Result<u32, catga::Error> {
    let paid: u32 = catga.send(command).await?;
    Ok(paid + catga.query(query).await? + catga.query(Total).await?)
}

fn main() {}
