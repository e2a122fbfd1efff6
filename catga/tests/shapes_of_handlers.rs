//! Every shape that a handler can have.
#![deny(warnings, clippy::all)]

#[allow(unreachable_pub, reason = "the cases that are not to compile are programs of their own")]
#[path = "ui/order.rs"]
mod order;

use catga::prelude::*;
use order::*;

type Result<T, E = MailError> = std::result::Result<T, E>;

/// The message's parameter can be a pattern; `&mut` can be anywhere.
#[command_handler]
async fn pay_order(
    PayOrder { amount, .. }: PayOrder,
    _metadata: &Metadata,
    order: &mut Root<Order>,
    _: &State<Mailer>,
) -> Result<u32> {
    order.record(OrderPaid { amount });
    Ok(order.paid)
}

#[query_handler]
fn get_order(
    _: GetOrder,
    order: &Root<Order>,
    _history: &History<Order>,
) -> Result<u32, catga::Error> {
    Ok(order.paid)
}

#[derive(Debug, Clone, serde::Serialize, Command)]
#[command(name = "tick")]
pub(crate) struct Tick;

/// Nothing is returned where the output is `()`. Functions may be called as the macro's own variables.
#[command_handler]
fn message(_: Tick) {}

#[event_handler(name = "receipts")]
async fn cx(paid: Recorded<OrderPaid>, mailer: &State<Mailer>) -> Result<()> {
    let _ = (paid.amount, mailer);
    Ok(())
}

#[catga::query]
pub(crate) struct Later(u32);

/// A handler that can't fail returns its value.
#[query_handler]
async fn later(
    Later(by): Later,
    _: &Clock,
    _: &State<std::sync::Arc<dyn Fn() + Send + Sync>>,
) -> Option<u32> {
    by.checked_add(1)
}

#[catga::query]
pub(crate) struct Any(String);

/// `?` takes errors of many types.
#[query_handler]
fn any(Any(text): Any) -> catga::Result<u32> {
    catga::ensure!(!text.is_empty(), MailError);
    Ok(text.parse()?)
}

#[event_handler(name = "boxed")]
fn boxed(_: OrderPaid) -> Result<(), catga::BoxError> {
    std::fs::read("/")?;
    Ok(())
}

#[event_handler(name = "log_2")]
fn recorded(_: OrderEvent) {}

#[cfg(any())]
mod left_out {
    use super::*;
}

#[event_handler(name = "absent")]
#[cfg(any())]
fn absent(_: DoesNotExist) {}

macro_rules! handle {
    ($name:ident, $message:ty, $param:ty) => {
        #[derive(Debug, Query)]
        #[query(name = "by.macro")]
        struct ByMacro;

        #[query_handler]
        fn $name(message: $message, cx: $param) -> Result<u32> {
            let _ = (message, cx);
            Ok(1)
        }
    };
}
handle!(setup, ByMacro, &State<Mailer>);

#[test]
fn a_handler_stays_a_function_that_can_be_called_as_it_is_written() {
    assert_eq!(setup(ByMacro, &State::new(Mailer)).ok(), Some(1));
    message(Tick);
}
