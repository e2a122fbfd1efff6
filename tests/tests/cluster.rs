//! Three nodes as people run them: equal, never stale, and not missed when one is gone.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    time::Duration,
};

use catga_tests::{
    Server,
    backend::Backend,
    binary,
    cluster::{Cluster, LEASE},
    dice::Dice,
    eventually,
    history::Recorder,
    load::{Stop, http},
    order,
};
use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

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

/// The longest time between two successes of a client that asks the next node when one does not answer.
async fn longest_gap(urls: &[String], stop: &Stop) -> Duration {
    let http = Client::builder().timeout(Duration::from_secs(1)).build().unwrap();
    let (mut last, mut longest, mut turn) = (Instant::now(), Duration::ZERO, 0);
    while !stop.is_now() {
        let node = &urls[turn % urls.len()];
        let sent = http.post(format!("{node}/orders")).json(&order("gap")).send().await;
        if sent.is_ok_and(|answer| answer.status() == StatusCode::CREATED) {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        turn += 1;
        sleep(Duration::from_millis(2)).await;
    }
    longest
}

/// Waits until `n` nodes are left and work on everything, as node 0 sees it. Answers how long that took.
async fn taken_over(cluster: &Cluster, n: usize) -> Duration {
    let (http, url, begin) = (Client::new(), cluster.nodes[0].url(), Instant::now());
    eventually(async || {
        let answer = http.get(format!("{url}/cluster")).send().await.map_err(|e| e.to_string())?;
        let cluster: Value = answer.json().await.unwrap();
        let nodes = cluster["nodes"].as_array().unwrap();
        let leases: usize = nodes.iter().map(|n| n["leases"].as_array().unwrap().len()).sum();
        if nodes.len() == n && leases == 16 { Ok(()) } else { Err(cluster.to_string()) }
    })
    .await;
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_not_missed() {
    let backend = Backend::redis().await;
    let mut cluster = Cluster::start(&backend, 3, &[]).await;
    cluster.settled().await;
    let (urls, stop) = (cluster.urls(), Stop::default());
    let trouble = async {
        // What the survivors tell is one beat old.
        cluster.nodes[2].kill().await;
        let killed = taken_over(&cluster, 2).await;
        // How long it takes is printed: a busy machine may be late.
        assert!(killed <= 3 * LEASE, "taken over {killed:?} after a kill");
        cluster.nodes[1].terminate().await;
        let left = taken_over(&cluster, 1).await;
        assert!(left <= LEASE, "taken over {left:?} after a stop");
        println!("lease {LEASE:?}: taken over {killed:?} after a kill, {left:?} after a stop");
        stop.now();
    };
    let (gap, ()) = tokio::join!(longest_gap(&urls, &stop), trouble);
    println!("longest gap seen by a client that goes on to the next node: {gap:?}");
    assert!(gap < 2 * LEASE, "nobody waits for the lease: {gap:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_request_that_is_sent_again_once() {
    let backend = Backend::redis().await;
    let mut cluster = Cluster::start(&backend, 3, &[]).await;
    cluster.settled().await;
    let (urls, recorder, stop) = (cluster.urls(), Recorder::new(), Stop::default());
    let time = Duration::from_secs(60);
    let plan = http::Plan { clients: 8, orders: 100_000, time, name: "roll".to_owned() };
    let restarts = async {
        for node in &mut cluster.nodes {
            node.terminate().await;
            node.start().await;
        }
        cluster.settled().await;
        stop.now();
    };
    let (answered, ()) = tokio::join!(http::send(&urls, &plan, &recorder, &stop), restarts);
    assert!(answered.len() > 300, "void: {} commands", answered.len());
    let worst = answered.iter().map(|command| command.tries).max();
    println!("{} commands over three restarts, sent at most {worst:?} times", answered.len());
    assert!(worst <= Some(2), "a command was sent {worst:?} times");
    cluster.all_handled().await;
    let log = http::final_log(&Client::new(), &urls[0]).await;
    recorder.history().check(&log).expect_clean(300);
    assert_eq!(cluster.effects().violations(&log), [""; 0], "P7");
    assert_eq!(cluster.effects().repeats(), 0, "a node that is stopped hands over");
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_poisoned_order_parks_alone_wherever_its_handler_runs() {
    let backend = Backend::redis().await;
    let mut cluster = Cluster::start(&backend, 3, &["--fail-receipts-for", "stale"]).await;
    cluster.settled().await;
    let (urls, http) = (cluster.urls(), Client::new());
    let pay = async |method: &str, n: usize| {
        let (one, two) = (&urls[n % 3], &urls[(n + 1) % 3]);
        let answer = http.post(format!("{one}/orders")).json(&order("c")).send().await.unwrap();
        let created: Value = answer.json().await.unwrap();
        let id = created["orderId"].as_str().unwrap().to_owned();
        let pay = http.post(format!("{two}/orders/{id}/pay"));
        let answer = pay.json(&json!({ "paymentMethod": method })).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        id
    };
    let bad = pay("stale", 0).await;
    for batch in 0..50 {
        join_all((0..20).map(|n| pay("card", batch + n))).await;
    }
    cluster.all_handled().await;
    let letters = async |node: usize| {
        let answer = http.get(format!("{}/dead-letters", urls[node])).send().await.unwrap();
        answer.json::<Value>().await.unwrap()
    };
    for node in 0..3 {
        let letters = letters(node).await;
        assert_eq!(letters.as_array().unwrap().len(), 1, "{letters}");
        assert_eq!(letters[0]["orderId"], bad);
    }
    // A step of the parked order waits, on a handler that wants it too.
    let id = letters(0).await[0]["id"].as_str().unwrap().to_owned();
    // The nodes are replaced by ones whose mail server works; then it is tried again.
    for node in &mut cluster.nodes {
        node.terminate().await;
        node.replace_flag("stale", "nothing");
        node.start().await;
    }
    cluster.settled().await;
    let retry = http.post(format!("{}/dead-letters/{id}/retry", urls[1])).send().await.unwrap();
    assert_eq!(retry.status(), StatusCode::ACCEPTED);
    eventually(async || {
        let letters = letters(2).await;
        if letters == json!([]) { Ok(()) } else { Err(letters.to_string()) }
    })
    .await;
}

async fn refused(flags: &[&str]) -> String {
    let output = tokio::process::Command::new(binary())
        .args(flags)
        .args(["--cluster", "--port", "0", "--lease", "1"])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(15), output).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "nothing is announced");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_needs_a_store_that_is_shared_and_names_that_are_not() {
    for persistence in ["inmemory", "file"] {
        let text = refused(&["--persistence", persistence]).await;
        for part in ["--cluster", "--persistence redis or nats", persistence] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }
    let backend = Backend::redis().await;
    let flags = backend.flags();
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.extend(["--node-id", "one"]);
    let more = ["--cluster", "--lease", "1", "--advertise", "example:5000"];
    let node = Server::start(&[&flags[..], &more].concat()).await;
    let text = refused(&flags).await;
    for part in ["--node-id", "`one`", "example:5000"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let cluster = node.json("/cluster").await;
    assert_eq!(cluster["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(cluster["nodes"][0]["address"], "example:5000");
}
