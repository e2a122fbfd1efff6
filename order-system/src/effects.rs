//! What orders set off: event handlers, with effects outside the log. What they write for operators holds no payload.

use catga::{BoxError, prelude::*};

use crate::domain::{OrderEvent, OrderPaid};

/// Writes a line for everything that happens to orders.
#[event_handler(name = "order-log")]
fn log_order(event: Recorded<OrderEvent>) {
    let (order, event_type) = (event.stream.key(), event.event_type().name);
    tracing::info!(order, version = event.version.get(), event_type, "an order changed");
}

/// Sends the customer a receipt for a payment.
#[event_handler(name = "receipts")]
fn send_receipt(paid: Recorded<OrderPaid>, mailer: &State<Mailer>) -> Result<(), BoxError> {
    // The event's id goes with the mail, so that a receipt sent twice can be told from two receipts.
    mailer.send(&paid.payment_method, &paid.id.to_string())
}

/// Stands for a mail server: it only writes to the log, and fails for one payment method when told to.
#[derive(Debug, Default)]
pub struct Mailer {
    /// The payment method for which no receipt can be sent.
    pub refuses: Option<String>,
}

impl Mailer {
    fn send(&self, payment_method: &str, receipt: &str) -> Result<(), BoxError> {
        if self.refuses.as_deref() == Some(payment_method) {
            return Err("the mail server refused the receipt".into());
        }
        tracing::info!(receipt, "receipt sent");
        Ok(())
    }
}
