//! `cargo run --release -p order-system --example bench_http`: POST /orders and GET /orders/{id} over a bare axum
//! handler that takes and gives JSON of the same kind, and what large logs cost.
//!
//! Both servers run in this process, behind the same accept loop, and are driven by the same clients over
//! loopback; rounds alternate and the median counts. It sends a fixed number of requests and ends.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{Json, Router, routing::post};
use catga::{Catga, Clock};
use metrics_exporter_prometheus::PrometheusBuilder;
use order_system::{
    domain::{
        commands::{CreateOrder, OrderLine},
        money::Money,
        queries::ListOrders,
    },
    effects::Mailer,
    http::{self, App, Node},
    server,
};
use reqwest::Client;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const CLIENTS: usize = 64;
const REQUESTS: usize = 20_000;
const ROUNDS: usize = 5;

type Outcome<T> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

#[tokio::main]
async fn main() -> Outcome<()> {
    let catga = Catga::builder().resource(Mailer::default()).start().await?;
    let stop = CancellationToken::new();
    let node = Node {
        id: "bench".to_owned(),
        address: String::new(),
        transport: "inmemory",
        persistence: "inmemory",
        started_at: Clock::system().now(),
    };
    let metrics = PrometheusBuilder::new().install_recorder()?;
    let app = App { catga: catga.clone(), node: Arc::new(node), metrics, draining: stop.clone() };
    let service = serve(http::router(app), &stop).await?;
    let echo = |Json(body): Json<Value>| async move {
        (
            axum::http::StatusCode::CREATED,
            Json(json!({ "orderId": body["customerId"], "total": 99.98 })),
        )
    };
    let bare = serve(Router::new().route("/orders", post(echo)), &stop).await?;

    let (mut ours, mut limit) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        limit.push(rate(&bare).await?);
        ours.push(rate(&service).await?);
    }
    let (ours, limit) = (median(ours), median(limit));
    println!(
        "POST /orders, {CLIENTS} connections: {ours:.0}/s, bare axum {limit:.0}/s, ratio {:.2}",
        ours / limit
    );
    large_list(&catga).await?;
    stop.cancel();
    Ok(())
}

async fn serve(router: Router, stop: &CancellationToken) -> Outcome<String> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/orders", listener.local_addr()?);
    tokio::spawn(server::serve(listener, router, stop.clone(), Duration::from_secs(1)));
    Ok(url)
}

/// How many orders a second are answered.
async fn rate(url: &str) -> Outcome<f64> {
    let item = json!({ "productId": "p1", "name": "Pen", "quantity": 2, "price": 49.99 });
    let body = json!({ "customerId": "c", "items": [item] }).to_string();
    let client = Client::builder().pool_max_idle_per_host(CLIENTS).build()?;
    let start = Instant::now();
    let mut tasks = Vec::new();
    for _ in 0..CLIENTS {
        let (client, url, body) = (client.clone(), url.to_owned(), body.clone());
        tasks.push(tokio::spawn(async move {
            for _ in 0..REQUESTS / CLIENTS {
                let request = client.post(&url).header("content-type", "application/json");
                let answer = request.body(body.clone()).send().await?;
                assert_eq!(answer.status(), 201);
                answer.bytes().await?;
            }
            Ok::<_, reqwest::Error>(())
        }));
    }
    for task in tasks {
        task.await??;
    }
    #[expect(clippy::cast_precision_loss, reason = "a small count")]
    Ok(REQUESTS as f64 / start.elapsed().as_secs_f64())
}

/// A page of a list over a million orders costs what a page of a short one does.
async fn large_list(catga: &Catga) -> Outcome<()> {
    let orders = 1_000_000_u32;
    let line = OrderLine {
        product_id: "p1".to_owned(),
        name: "Pen".to_owned(),
        quantity: Some(2),
        price: Money::parse("49.99"),
    };
    let start = Instant::now();
    for i in 0..orders {
        let command = CreateOrder {
            order_id: format!("bulk-{i}"),
            customer_id: format!("c{}", i % 1000),
            items: vec![line.clone()],
        };
        catga.send(command).await?;
    }
    println!(
        "1,000,000 creates, one after the other, in process: {:.1} s",
        start.elapsed().as_secs_f64()
    );
    let start = Instant::now();
    let list = |customer_id: Option<String>, before| ListOrders {
        status: None,
        customer_id,
        before,
        limit: 100,
    };
    catga.query(list(None, None)).await?;
    println!("until the read model had them all: {:.2} s more", start.elapsed().as_secs_f64());
    for (what, customer, before) in [
        ("the newest 100", None, None),
        ("100 from the middle", None, Some(orders / 2)),
        ("100 of one customer's 1,000", Some("c7".to_owned()), None),
    ] {
        let mut times = Vec::new();
        for _ in 0..101 {
            let start = Instant::now();
            assert_eq!(catga.query(list(customer.clone(), before)).await?.orders.len(), 100);
            times.push(start.elapsed().as_secs_f64() * 1e6);
        }
        println!("a page over 1,000,000 orders, {what}: {:.0} µs", median(times));
    }
    let status = std::fs::read_to_string("/proc/self/status")?;
    if let Some(line) = status.lines().find(|line| line.starts_with("VmRSS")) {
        println!(
            "memory of the process then, log, caches and clients included: {}",
            line["VmRSS:".len()..].trim()
        );
    }
    Ok(())
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
