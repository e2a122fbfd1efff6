//! An effect outside the program: an event handler that is called again until it succeeds.
//!
//! Run it with `cargo run -p catga --example effect_with_retry`.
use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use catga::{Consistency, DeliverySettings, prelude::*};

#[catga::event]
struct InvoicePaid {
    email: String,
}

#[derive(Debug, Clone, Default)]
struct Invoice;

impl Aggregate for Invoice {
    type Event = InvoicePaid;
    const NAME: &str = "invoice";
    fn apply(&mut self, _: InvoicePaid) {}
}

#[catga::command]
struct PayInvoice {
    #[key]
    invoice: u64,
    email: String,
}

#[command_handler]
fn pay(command: PayInvoice, invoice: &mut Root<Invoice>) {
    invoice.record(InvoicePaid { email: command.email });
}

/// A mail server that is busy the first time it is asked.
#[derive(Clone, Default)]
struct Mailer {
    asked: Arc<Mutex<Vec<String>>>,
}

impl Mailer {
    /// Mail servers drop a second mail with the same id, and so the receipt arrives once however often it is sent.
    async fn send(&self, id: String, to: &str) -> Result<(), std::io::Error> {
        let mut asked = self.asked.lock().unwrap();
        asked.push(format!("{id} to {to}"));
        if asked.len() == 1 { Err(std::io::ErrorKind::ConnectionRefused.into()) } else { Ok(()) }
    }
}

/// Mails the receipt. An error means: later again. After the last attempt the event becomes a dead letter.
#[event_handler(name = "receipts")]
async fn send_receipt(paid: Recorded<InvoicePaid>, mailer: &State<Mailer>) -> catga::Result<()> {
    Ok(mailer.send(paid.id.to_string(), &paid.email).await?)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mailer = Mailer::default();
    let delivery = DeliverySettings {
        attempts: 3,
        first_delay: Duration::from_millis(1),
        ..DeliverySettings::default()
    };
    let catga = Catga::builder().state(mailer.clone()).delivery(delivery).start().await?;
    catga.send(PayInvoice { invoice: 1, email: "ada@example.org".to_owned() }).await?;
    // The command does not wait for the mail. `idle` does: it returns when every event is handled.
    catga.idle().await?;

    let asked = mailer.asked.lock().unwrap().clone();
    assert_eq!(asked.len(), 2, "it failed once, and was sent the second time");
    assert_eq!(asked[0], asked[1], "both times under the event's id");
    assert_eq!(catga.dead_letters(Consistency::Latest).await?, []);
    catga.shutdown().await;
    Ok(())
}
