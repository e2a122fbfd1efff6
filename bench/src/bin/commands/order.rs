//! The order that the commands are about, and its handlers.

use std::hint::black_box;

use catga::{ErrorKind, prelude::*};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Created", version = 1)]
pub(crate) struct Created {
    pub(crate) customer: String,
    pub(crate) cents: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Paid", version = 1)]
pub(crate) struct Paid {
    pub(crate) method: String,
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Shipped", version = 1)]
pub(crate) struct Shipped {
    pub(crate) tracking: u64,
}

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Noted", version = 1)]
pub(crate) struct Noted {
    pub(crate) number: u64,
}

#[derive(Debug, Clone, Event)]
pub(crate) enum OrderEvent {
    Created(Created),
    Paid(Paid),
    Shipped(Shipped),
    Noted(Noted),
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Status {
    #[default]
    Nothing,
    Pending,
    Paid,
    Shipped,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Order {
    pub(crate) status: Status,
    pub(crate) cents: u64,
    pub(crate) notes: u64,
}

impl Aggregate for Order {
    type Event = OrderEvent;
    const NAME: &'static str = "order";

    fn apply(&mut self, event: OrderEvent) {
        match event {
            OrderEvent::Created(created) => {
                (self.status, self.cents) = (Status::Pending, created.cents);
            }
            OrderEvent::Paid(_) => self.status = Status::Paid,
            OrderEvent::Shipped(_) => self.status = Status::Shipped,
            OrderEvent::Noted(_) => self.notes += 1,
        }
    }
}

/// A command that does nothing: what is left is the pipeline.
#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "bench.nothing")]
pub(crate) struct Nothing {
    pub(crate) number: u64,
}

#[command_handler]
pub(crate) async fn nothing(nothing: Nothing) -> Result<u64, catga::Error> {
    Ok(black_box(nothing.number))
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "bench.create")]
pub(crate) struct Create {
    #[key]
    pub(crate) order: String,
    pub(crate) customer: String,
    pub(crate) cents: u64,
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "bench.pay")]
pub(crate) struct Pay {
    #[key]
    pub(crate) order: String,
    pub(crate) method: String,
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "bench.ship")]
pub(crate) struct Ship {
    #[key]
    pub(crate) order: String,
    pub(crate) tracking: u64,
}

pub(crate) fn wrong(status: Status) -> catga::Error {
    ErrorKind::Handler(format!("it is {status:?}").into()).into()
}

#[command_handler(creates)]
pub(crate) fn create(create: Create, order: &mut Root<Order>) -> Result<u64, catga::Error> {
    if order.status != Status::Nothing {
        return Err(wrong(order.status));
    }
    order.record(Created { customer: create.customer, cents: create.cents });
    Ok(order.cents)
}

#[command_handler]
pub(crate) fn pay(pay: Pay, order: &mut Root<Order>) -> Result<u64, catga::Error> {
    if order.status != Status::Pending {
        return Err(wrong(order.status));
    }
    order.record(Paid { method: pay.method });
    Ok(order.cents)
}

#[command_handler]
pub(crate) fn ship(ship: Ship, order: &mut Root<Order>) -> Result<u64, catga::Error> {
    if order.status != Status::Paid {
        return Err(wrong(order.status));
    }
    order.record(Shipped { tracking: ship.tracking });
    Ok(order.cents)
}

pub(crate) fn commands(order: &str) -> (Create, Pay, Ship) {
    let order = order.to_owned();
    (
        Create { order: order.clone(), customer: "c-1234".to_owned(), cents: 4999 },
        Pay { order: order.clone(), method: "card".to_owned() },
        Ship { order, tracking: 77 },
    )
}

/// Create, pay and ship of so many orders.
pub(crate) async fn cycle(catga: &Catga, name: &str, orders: usize) -> Result<(), catga::Error> {
    for i in 0..orders {
        let (create, pay, ship) = commands(&format!("{name}-{i}"));
        assert_eq!(catga.send(create).await?, 4999);
        assert_eq!(catga.send(pay).await?, 4999);
        assert_eq!(catga.send(ship).await?, 4999);
    }
    Ok(())
}
