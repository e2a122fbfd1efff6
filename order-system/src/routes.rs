//! What is served: the routes, and the service's own flags.

use catga::{Clock, Timestamp};
use catga_axum::{App, Page, command, history, query};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use crate::{
    domain::{
        commands::{CancelOrder, CreateOrder, DeliverOrder, PayOrder, ShipOrder},
        order::{Order, OrderError, OrderView, Status},
        queries::{GetOrder, GetStats, ListOrders, OrderPage, Stats},
    },
    effects::Mailer,
};

/// The flags beside those that every service has.
#[derive(Debug, Clone, clap::Args)]
pub struct Flags {
    /// Let the receipt of every order paid by this method fail, to see retries and dead letters
    #[arg(
        long,
        global = true,
        env = "CATGA_FAIL_RECEIPTS_FOR",
        value_name = "METHOD",
        help_heading = "Observability"
    )]
    pub fail_receipts_for: Option<String>,
}

/// The service.
pub fn app() -> App<Flags> {
    App::new("Catga OrderSystem")
        .version(env!("CARGO_PKG_VERSION"))
        .about("An event-sourced order service: every change is an event in a log, and everything else is read from it")
        .after_help(EXAMPLES)
        .args::<Flags>()
        .setup(|builder, flags| {
            builder.state(Mailer { refuses: flags.fail_receipts_for.clone() })
        })
        .errors::<OrderError>()
        .not_found(OrderError::NotFound)
        .tag("Orders")
        .post("/orders", command::<CreateOrder>().created(|made| format!("/orders/{}", made.order_id)))
        .get("/orders", query::<ListOrders>().page(page))
        .get("/orders/{id}", query::<GetOrder>().etag(|order| order.version))
        .get("/orders/{id}/history", history::<Order>())
        .post("/orders/{id}/pay", command::<PayOrder>())
        .post("/orders/{id}/ship", command::<ShipOrder>())
        .post("/orders/{id}/deliver", command::<DeliverOrder>())
        .post("/orders/{id}/cancel", command::<CancelOrder>())
        .tag("System")
        .get("/stats", query::<GetStats>().map(StatsJson::from))
}

fn page(OrderPage { orders, total, next }: OrderPage) -> Page<OrderView> {
    Page { items: orders, total: Some(total), next }
}

/// The statistics as clients see them.
#[derive(Serialize, JsonSchema)]
#[serde(rename = "Stats", rename_all = "camelCase")]
struct StatsJson {
    total_orders: u64,
    #[schemars(with = "std::collections::BTreeMap<String, u64>")]
    by_status: ByStatus,
    /// Of all orders that are not cancelled.
    #[serde(serialize_with = "amount")]
    #[schemars(with = "f64")]
    total_revenue: i128,
    timestamp: Timestamp,
}

struct ByStatus([u64; Status::ALL.len()]);

impl From<Stats> for StatsJson {
    fn from(Stats { by_status, revenue }: Stats) -> Self {
        Self {
            total_orders: by_status.iter().sum(),
            by_status: ByStatus(by_status),
            total_revenue: revenue,
            timestamp: Clock::system().now(),
        }
    }
}

impl Serialize for ByStatus {
    fn serialize<S: Serializer>(&self, json: S) -> Result<S::Ok, S::Error> {
        json.collect_map(Status::ALL.iter().zip(self.0))
    }
}

fn amount<S: Serializer>(ten_thousandths: &i128, json: S) -> Result<S::Ok, S::Error> {
    let amount = rust_decimal::Decimal::try_from_i128_with_scale(*ten_thousandths, 4);
    catga_axum::json::exact(&amount.unwrap_or_default().normalize(), json)
}

const EXAMPLES: &str = "\
Examples:
  order-system                       serve on http://127.0.0.1:5000, in memory
  order-system --port 0              serve on a free port; the first line says which
  order-system --persistence file --data-dir /var/lib/orders
                                     keep the orders in files
  order-system --persistence redis   keep the log on the Redis server at localhost:6379
  order-system --persistence nats --nats-monitor localhost:8222
                                     keep it in JetStream, and ask the server how it syncs
  order-system --cluster --persistence redis --port 0
                                     be one of many nodes on that server
  order-system check                 say what an answered command survives
  order-system handlers              list every command, query, event and handler

Exit codes: 0 stopped cleanly, 1 failed, 2 wrong usage, 130 stopped at once by a second Ctrl-C.";
