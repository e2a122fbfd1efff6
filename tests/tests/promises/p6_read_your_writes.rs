//! P6 read your writes: a read sees what was answered before it, on whichever node.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use catga_tests::{Server, backend::Backend, cluster::Cluster, dice::Dice, order};
use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::time::Instant;

/// A client's stay at the nodes: each command at one of them, and the reads right after it at another.
struct Visitor<'a> {
    urls: &'a [String],
    http: &'a Client,
    /// How many orders are answered, by all clients.
    created: &'a AtomicUsize,
    dice: Dice,
}

impl Visitor<'_> {
    fn two_nodes(&mut self) -> (String, String) {
        let (one, step) = (self.dice.index(3), 1 + self.dice.index(2));
        (self.urls[one].clone(), self.urls[(one + step) % 3].clone())
    }

    async fn get(&self, url: &str) -> Value {
        let answer = self.http.get(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{url}");
        answer.json().await.unwrap()
    }

    /// What is not on another node right after it was answered on one.
    async fn stale(&mut self, customer: &str, id: &str, status: &str, node: &str) -> usize {
        let answered = self.created.load(Ordering::SeqCst);
        let list = self.get(&format!("{node}/orders?customerId={customer}&limit=1")).await;
        let one = self.get(&format!("{node}/orders/{id}")).await;
        let stats = self.get(&format!("{node}/stats")).await;
        let found = (&list[0]["id"], &list[0]["status"]) == (&json!(id), &json!(status));
        let counted = stats["totalOrders"].as_u64().unwrap() >= answered as u64;
        [found, one["status"] == status, counted].iter().filter(|&&is_right| !is_right).count()
    }

    /// Makes an order and pays it. Answers the number of stale answers among six.
    async fn order(&mut self, customer: &str) -> usize {
        let (write, read) = self.two_nodes();
        let answer =
            self.http.post(format!("{write}/orders")).json(&order(customer)).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        self.created.fetch_add(1, Ordering::SeqCst);
        let created: Value = answer.json().await.unwrap();
        let id = created["orderId"].as_str().unwrap();
        let stale = self.stale(customer, id, "Pending", &read).await;
        let (write, read) = self.two_nodes();
        let pay = self.http.post(format!("{write}/orders/{id}/pay"));
        let answer = pay.json(&json!({ "paymentMethod": "card" })).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        stale + self.stale(customer, id, "Paid", &read).await
    }
}

/// 10,000 commands from 64 clients, each followed by a list, a get and the statistics on another node.
async fn p6_no_node_is_ever_stale(backend: Backend) {
    const CLIENTS: usize = 64;
    const ORDERS: usize = 5000;
    let cluster = Cluster::start(&backend, 3, &[]).await;
    // The service closes a connection that is idle for ten seconds: a request that is sent just then is lost.
    let http = Client::builder().pool_idle_timeout(Duration::from_secs(5)).build().unwrap();
    let (urls, created) = (cluster.urls(), AtomicUsize::new(0));
    let visits = (0..CLIENTS).map(|client| {
        let dice = Dice::new(client as u64);
        let mut visitor = Visitor { urls: &urls, http: &http, created: &created, dice };
        async move {
            let mut stale = 0;
            for n in (client..ORDERS).step_by(CLIENTS) {
                stale += visitor.order(&format!("c-{client}-{n}")).await;
            }
            stale
        }
    });
    let begin = Instant::now();
    let stale: usize = join_all(visits).await.into_iter().sum();
    println!(
        "{}: {} commands, {stale} of {} reads on other nodes stale, {:?}",
        backend.flags()[1],
        2 * ORDERS,
        6 * ORDERS,
        begin.elapsed()
    );
    assert_eq!(stale, 0, "P6");
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_no_node_is_ever_stale_on_redis() {
    p6_no_node_is_ever_stale(Backend::redis().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_no_node_is_ever_stale_on_nats() {
    p6_no_node_is_ever_stale(Backend::nats_newest().await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p6_a_list_right_after_a_create_holds_the_order() {
    let server = Server::start(&[]).await;
    let (writers, orders) = (8, 1250);
    let write = |writer: usize| {
        let server = &server;
        async move {
            let customer = format!("c{writer}");
            for n in 1..=orders {
                let id = server.create(&customer).await;
                let answer = server
                    .get(&format!("/orders?customerId={customer}&limit=1"))
                    .send()
                    .await
                    .unwrap();
                assert_eq!(answer.headers()["x-total-count"], n.to_string());
                let page: Value = answer.json().await.unwrap();
                assert_eq!(page[0]["id"], id);
            }
        }
    };
    join_all((0..writers).map(write)).await;
    assert_eq!(server.json("/stats").await["totalOrders"], writers * orders);
}
