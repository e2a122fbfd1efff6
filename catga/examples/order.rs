//! An order: created with its items, paid in parts, shipped. Run it: `cargo run -p catga --example order`.
use catga::{ensure, prelude::*};

#[catga::event]
enum OrderEvent {
    Created { items: Vec<(String, u64)> },
    Paid { cents: u64 },
    Shipped,
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("this can't happen to the order: {self:?}")]
enum OrderError {
    Exists,
    NoItems,
    NotFound,
    Overpaid,
    NotPaid,
    AlreadyShipped,
}

#[derive(Debug, Clone, Default)]
struct Order {
    to_pay: u64,
    is_shipped: bool,
}

impl Aggregate for Order {
    type Event = OrderEvent;
    const NAME: &str = "order";
    fn apply(&mut self, event: OrderEvent) {
        match event {
            OrderEvent::Created { items } => self.to_pay = items.iter().map(|item| item.1).sum(),
            OrderEvent::Paid { cents } => self.to_pay -= cents,
            OrderEvent::Shipped => self.is_shipped = true,
        }
    }
}

#[catga::command]
struct CreateOrder(#[key] String, Vec<(String, u64)>);

#[catga::command]
struct PayOrder(#[key] String, u64);

#[catga::command]
struct ShipOrder(#[key] String);

#[command_handler(creates)]
fn create(CreateOrder(_, items): CreateOrder, order: &mut Root<Order>) -> Result<(), OrderError> {
    ensure!(!order.exists(), OrderError::Exists);
    ensure!(!items.is_empty(), OrderError::NoItems);
    order.record(OrderEvent::Created { items });
    Ok(())
}

#[command_handler]
fn pay(PayOrder(_, cents): PayOrder, order: &mut Root<Order>) -> Result<u64, OrderError> {
    ensure!(order.exists(), OrderError::NotFound);
    ensure!(cents <= order.to_pay, OrderError::Overpaid);
    order.record(OrderEvent::Paid { cents });
    Ok(order.to_pay)
}

#[command_handler]
fn ship(_: ShipOrder, order: &mut Root<Order>) -> Result<(), OrderError> {
    ensure!(order.exists(), OrderError::NotFound);
    ensure!(order.to_pay == 0, OrderError::NotPaid);
    ensure!(!order.is_shipped, OrderError::AlreadyShipped);
    order.record(OrderEvent::Shipped);
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let catga = Catga::builder().start().await?;
    catga.send(CreateOrder("7".into(), vec![("pen".into(), 250)])).await?;
    assert_eq!(catga.send(PayOrder("7".into(), 250)).await?, 0);
    Ok(catga.send(ShipOrder("7".into())).await?)
}
