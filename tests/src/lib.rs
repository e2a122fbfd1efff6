//! What the end-to-end tests share: servers as child processes, waiting without sleeping, faults to inject,
//! and a checker of what came of them.

pub mod backend;
pub mod cluster;
pub mod conformance;
pub mod crash;
pub mod dice;
pub mod docs;
pub mod effects;
pub mod history;
pub mod load;
pub mod nats;
pub mod nats_cluster;
pub mod nemesis;
pub mod power;
pub mod proxy;
pub mod redis;

use std::{
    net::SocketAddr,
    path::PathBuf,
    process::Stdio,
    time::{Duration, Instant},
};

use reqwest::{Client, RequestBuilder, Response, StatusCode};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

/// The built `order-system`, which lies beside the tests in the target folder.
///
/// # Panics
/// When it was not built.
pub fn binary() -> PathBuf {
    program("order-system")
}

/// A built program, by its name below the target folder: `order-system`, `examples/tickets`.
///
/// # Panics
/// When it was not built.
pub fn program(name: &str) -> PathBuf {
    let mut path = std::env::current_exe().expect("a test knows where it is");
    path.pop();
    path.pop();
    path.push(name);
    assert!(
        path.exists(),
        "{} is missing: run `cargo build -p order-system`, and `cargo build -p catga-axum --examples`, first",
        path.display()
    );
    path
}

/// A running order-system of one test's own, on a free port. It is killed when dropped.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub child: Child,
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    client: Client,
}

impl Server {
    /// Starts a server with `flags`, and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start(flags: &[&str]) -> Self {
        Self::start_program("order-system", flags).await
    }

    /// Starts a [`program`] of the service kit with `flags`, and waits until it listens.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_program(name: &str, flags: &[&str]) -> Self {
        // The tests may run under `nohup`, which has all that they start ignore SIGHUP.
        let mut command = Command::new("env");
        command.arg("--default-signal=HUP").arg(program(name));
        Self::spawn(command.args(["--log", "warn"]).args(flags).stderr(Stdio::null())).await
    }

    /// Starts a server with `flags` that writes its log to `log`, as a file.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_logged(flags: &[&str], log: impl Into<Stdio>) -> Self {
        Self::spawn(Command::new(binary()).args(flags).stderr(log)).await
    }

    /// Starts a server on a store.
    ///
    /// # Panics
    /// When it does not start.
    pub async fn start_on(backend: &backend::Backend) -> Self {
        let flags = backend.flags();
        Self::start(&flags.iter().map(String::as_str).collect::<Vec<_>>()).await
    }

    async fn spawn(command: &mut Command) -> Self {
        let mut child = command
            .args(["--port", "0"])
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("the program can be started");
        let stdout = child.stdout.take().expect("it is piped");
        let mut lines = BufReader::new(stdout).lines();
        let line = lines.next_line().await.expect("stdout can be read").expect("it prints a line");
        let url = line.strip_prefix("listening on ").expect("the first line says where").to_owned();
        Self { child, url, client: Client::new() }
    }

    /// Where it listens.
    ///
    /// # Panics
    /// Never: the URL is made from an address.
    pub fn address(&self) -> SocketAddr {
        let address = self.url.strip_prefix("http://").expect("the URL has its scheme");
        address.parse().expect("it holds an address")
    }

    /// Ends it as an operator does, and answers the exit code.
    ///
    /// # Panics
    /// When it takes longer than 15 seconds.
    pub async fn terminate(&mut self) -> Option<i32> {
        signal(&self.child, "-TERM").await;
        self.end().await
    }

    /// The exit code with which it ends by itself.
    ///
    /// # Panics
    /// When it does not.
    pub async fn end(&mut self) -> Option<i32> {
        let exit = timeout(Duration::from_secs(15), self.child.wait()).await;
        exit.expect("it stops in time").expect("it can be waited for").code()
    }

    /// The most memory that it had so far, in MiB.
    ///
    /// # Panics
    /// When it has ended.
    pub fn peak_memory(&self) -> u64 {
        let pid = self.child.id().expect("it runs");
        let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("it runs");
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).expect("Linux says it");
        let kibibytes = line.split_whitespace().nth(1).expect("a number follows");
        kibibytes.parse::<u64>().expect("it is a number") / 1024
    }

    /// A GET request.
    pub fn get(&self, path: &str) -> RequestBuilder {
        self.client.get(format!("{}{path}", self.url))
    }

    /// A POST request with a JSON body; without a body when it is null.
    pub fn post(&self, path: &str, body: &Value) -> RequestBuilder {
        let request = self.client.post(format!("{}{path}", self.url));
        if body.is_null() { request } else { request.json(body) }
    }

    /// A DELETE request.
    pub fn delete(&self, path: &str) -> RequestBuilder {
        self.client.delete(format!("{}{path}", self.url))
    }

    /// The JSON at `path`, which must be there.
    ///
    /// # Panics
    /// When the answer is not 200 with JSON.
    pub async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).send().await.expect("the server answers");
        assert_eq!(answer.status(), StatusCode::OK, "GET {path}");
        answer.json().await.expect("the answer is JSON")
    }

    /// Makes an order for `customer`, and answers its id.
    ///
    /// # Panics
    /// When the order is not made.
    pub async fn create(&self, customer: &str) -> String {
        let answer =
            self.post("/orders", &order(customer)).send().await.expect("the server answers");
        assert_eq!(answer.status(), StatusCode::CREATED);
        let created: Value = answer.json().await.expect("the answer is JSON");
        created["orderId"].as_str().expect("it has an id").to_owned()
    }

    /// Sends the order one step on.
    ///
    /// # Panics
    /// When the server does not answer.
    pub async fn step(&self, id: &str, step: &str) -> Response {
        let body = match step {
            "pay" => json!({ "paymentMethod": "card" }),
            "ship" => json!({ "trackingNumber": "T-1" }),
            _ => Value::Null,
        };
        self.post(&format!("/orders/{id}/{step}"), &body).send().await.expect("the server answers")
    }
}

/// An order of two pens at 49.99.
pub fn order(customer: &str) -> Value {
    json!({
        "customerId": customer,
        "items": [{ "productId": "p1", "name": "Pen", "quantity": 2, "price": 49.99 }],
    })
}

/// Asks `probe` until it answers `Ok`, for at most ten seconds.
///
/// # Panics
/// With the last state, when the time is over.
pub async fn eventually<T, F: Future<Output = Result<T, String>>>(probe: impl FnMut() -> F) -> T {
    eventually_within(Duration::from_secs(10), probe).await
}

/// Sends a signal to a child process, as in `-STOP`.
async fn signal(child: &tokio::process::Child, signal: &str) {
    let pid = child.id().expect("it runs").to_string();
    let status = tokio::process::Command::new("kill").args([signal, &pid]).status().await;
    assert!(status.expect("`kill` can be run").success());
}

/// Asks `probe` until it answers `Ok`, for at most `limit`.
///
/// # Panics
/// With the last state, when the time is over.
pub async fn eventually_within<T, F: Future<Output = Result<T, String>>>(
    limit: Duration,
    mut probe: impl FnMut() -> F,
) -> T {
    let deadline = Instant::now() + limit;
    loop {
        match probe().await {
            Ok(value) => return value,
            Err(state) => {
                assert!(Instant::now() < deadline, "it did not happen; the last state: {state}");
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
