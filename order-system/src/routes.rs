//! What is served: the routes, and the service's own flags.

use catga_axum::{App, command, history, query};

use crate::{domain::*, effects::Mailer};

/// The flags beside those that every service has.
#[derive(Debug, Clone, clap::Args)]
#[command(next_help_heading = "Observability")]
pub struct Flags {
    /// Let the receipt of every order paid by this method fail, to see retries and dead letters
    #[arg(long, global = true, env = "CATGA_FAIL_RECEIPTS_FOR", value_name = "METHOD")]
    pub fail_receipts_for: Option<String>,
}

/// The service.
pub fn app() -> App<Flags> {
    App::new("Catga OrderSystem")
        .version(env!("CARGO_PKG_VERSION"))
        .about("An event-sourced order service: every change is an event in a log, and everything else is read from it")
        .after_help(include_str!("examples.txt").trim_end())
        .args::<Flags>()
        .setup(|builder, flags| {
            builder.state(Mailer { refuses: flags.fail_receipts_for.clone() })
        })
        .errors::<OrderError>()
        .not_found(OrderError::NotFound)
        .tag("Orders")
        .post("/orders", command::<CreateOrder>().created(|made| format!("/orders/{}", made.order_id)))
        .get("/orders", query::<ListOrders>().page(|page| page))
        .get("/orders/{id}", query::<GetOrder>().etag(|order| order.version))
        .get("/orders/{id}/history", history::<Order>())
        .post("/orders/{id}/pay", command::<PayOrder>())
        .post("/orders/{id}/ship", command::<ShipOrder>())
        .post("/orders/{id}/deliver", command::<DeliverOrder>())
        .post("/orders/{id}/cancel", command::<CancelOrder>())
        .tag("System")
        .get("/stats", query::<GetStats>())
}
