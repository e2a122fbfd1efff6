//! order-system over HTTP, over a bare axum handler that takes and gives the same JSON and does nothing.
//!
//! Three processes share the machine: the service as people run it, the bare server (this program again), and the
//! load generator. Rounds alternate. Every answer's status is checked, and at the end the statistics count each order.

use std::{net::SocketAddr, sync::Mutex};

use axum::{
    Json, Router,
    extract::Path,
    http::StatusCode,
    routing::{get, post},
};
use catga_bench::{Reach, Rounds, Table, Unit, load, rounds, server};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const CONNECTIONS: usize = 64;
const REQUESTS: usize = 20_000;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Line {
    product_id: String,
    name: String,
    quantity: u32,
    price: f64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Create {
    customer_id: String,
    items: Vec<Line>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Created {
    created_at: &'static str,
    order_id: String,
    total: f64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Pay {
    payment_method: String,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Order {
    id: String,
    customer_id: &'static str,
    items: Vec<Line>,
    status: &'static str,
    total: f64,
    created_at: &'static str,
    paid_at: &'static str,
    payment_method: String,
    version: u64,
}

#[derive(Debug, Serialize)]
struct Step {
    version: u64,
    position: u64,
    r#type: &'static str,
    timestamp: &'static str,
    data: Order,
    metadata: Created,
}

const NOW: &str = "2026-11-23T22:56:21.557857Z";

fn line() -> Line {
    Line { product_id: "p1".to_owned(), name: "Pen".to_owned(), quantity: 2, price: 49.99 }
}

fn order(id: String, payment_method: String) -> Order {
    let (customer_id, items) = ("c", vec![line()]);
    let (status, total, created_at, paid_at) = ("Paid", 99.98, NOW, NOW);
    Order { id, customer_id, items, status, total, created_at, paid_at, payment_method, version: 2 }
}

fn created(order_id: String) -> Created {
    Created { created_at: NOW, order_id, total: 99.98 }
}

/// The limit: what axum and serde take to do nothing with it.
async fn bare() -> Outcome<()> {
    let create = async |Json(body): Json<Create>| {
        assert!(body.items.len() == 1 && body.customer_id == "c");
        (StatusCode::CREATED, Json(created("01a20a9f-e835-7638-be17-ee03e9ff0ca9".to_owned())))
    };
    let pay =
        async |Path(id): Path<String>, Json(body): Json<Pay>| Json(order(id, body.payment_method));
    let one = async |Path(id): Path<String>| Json(order(id, "card".to_owned()));
    let history = async |Path(id): Path<String>| {
        let step = |version| Step {
            version,
            position: version,
            r#type: "OrderPaid",
            timestamp: NOW,
            data: order(id.clone(), "card".to_owned()),
            metadata: created(id.clone()),
        };
        Json(vec![step(1), step(2)])
    };
    let router = Router::new()
        .route("/orders", post(create))
        .route("/orders/{id}/pay", post(pay))
        .route("/orders/{id}", get(one))
        .route("/orders/{id}/history", get(history));
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on http://{}", listener.local_addr()?);
    axum::serve(listener, router).await?;
    Ok(())
}

/// The rounds of one kind of request.
struct Row {
    what: &'static str,
    status: u16,
    reach: f64,
    rates: Rounds,
    p99s: Rounds,
}

impl Row {
    fn new(what: &'static str, status: u16, reach: f64) -> Self {
        Self { what, status, reach, rates: Rounds::new(), p99s: Rounds::new() }
    }

    /// Sends the same requests to both servers, to the service last. What they answer is shown to `seen`.
    async fn round(
        &mut self,
        servers: [SocketAddr; 2],
        requests: &[Vec<u8>],
        seen: impl Fn(&[u8]) + Sync,
    ) -> Outcome<()> {
        let [service, bare] = servers;
        let limit = load::send(bare, CONNECTIONS, requests, |_, _, body| seen(body)).await?;
        let value = load::send(service, CONNECTIONS, requests, |_, _, body| seen(body)).await?;
        for load in [&limit, &value] {
            assert_eq!(
                load.count(self.status),
                requests.len(),
                "{}: {:?}",
                self.what,
                load.statuses
            );
        }
        self.rates.push(value.rate, limit.rate);
        self.p99s.push(value.p99(), limit.p99());
        Ok(())
    }

    fn show(&self, table: &mut Table) {
        table.row(self.what, Unit::PerSecond, &self.rates, Reach::AtLeast(self.reach));
        let what = format!("{}, p99", self.what);
        table.row(what, Unit::Nanoseconds, &self.p99s, Reach::AtMost(1.3));
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let own = std::env::current_exe()?;
    if std::env::args().nth(1).as_deref() == Some("bare") {
        let servers = tokio::task::spawn_blocking(|| {
            let runtime = tokio::runtime::Runtime::new().expect("a runtime");
            runtime.block_on(bare()).map_err(|error| error.to_string())
        });
        return Ok(servers.await??);
    }
    let (_bare, bare) = server::start(&own, &["bare"]).await?;
    let flags = ["--port", "0", "--log", "off"];
    let (_service, service) = server::start(&own.with_file_name("order-system"), &flags).await?;
    let about = "order-system in memory (level `memory`), 64 keep-alive connections, 20,000 requests a round";
    let mut table = Table::new("http", about);
    let mut rows = [
        Row::new("POST /orders", 201, 0.8),
        Row::new("POST /orders/{id}/pay", 200, 0.8),
        Row::new("GET /orders/{id}", 200, 0.85),
        Row::new("GET /orders/{id}/history", 200, 0.85),
    ];
    let create = json!({ "customerId": "c", "items": [line()] }).to_string();
    let creates = vec![load::request("POST", "/orders", &create); REQUESTS];
    let mut made = 0;
    for _ in 0..rounds(5) {
        let ids = Mutex::new(Vec::new());
        let keep = |body: &[u8]| {
            let answer: Value = serde_json::from_slice(body).expect("JSON");
            let id = answer["orderId"].as_str().expect("an id").to_owned();
            ids.lock().expect("no panics").push(id);
        };
        rows[0].round([service, bare], &creates, keep).await?;
        // Those of the service, which come last.
        let ids = ids.into_inner()?.split_off(REQUESTS);
        made += ids.len();
        let requests = |method, rest: &str, body| {
            let request = |id| load::request(method, &format!("/orders/{id}{rest}"), body);
            ids.iter().map(request).collect::<Vec<_>>()
        };
        let pays = requests("POST", "/pay", r#"{"paymentMethod":"card"}"#);
        rows[1].round([service, bare], &pays, |_| {}).await?;
        rows[2].round([service, bare], &requests("GET", "", ""), |_| {}).await?;
        rows[3].round([service, bare], &requests("GET", "/history", ""), |_| {}).await?;
    }
    for row in &rows {
        row.show(&mut table);
    }
    let stats = Mutex::new(Value::Null);
    load::send(service, 1, &[load::request("GET", "/stats", "")], |_, _, body| {
        *stats.lock().expect("no panics") = serde_json::from_slice(body).expect("JSON");
    })
    .await?;
    let stats = stats.into_inner()?;
    assert_eq!(stats["byStatus"]["Paid"], made, "{stats}");
    Ok(())
}
