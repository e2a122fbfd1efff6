//! Asks each node all the time how it is, as an operator's probes do, and takes down what it says.

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use reqwest::Client;
use serde_json::Value;
use tokio::{
    task::JoinSet,
    time::{Instant, MissedTickBehavior, interval},
};

/// How often a node is asked for its health.
const EVERY: Duration = Duration::from_millis(250);

/// How often it is asked for more, compared to that.
const MORE: u32 = 4;

/// How long a probe waits for an answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// What a node said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Word {
    /// All is well.
    Healthy,
    /// Something is not: the names of the checks and of the handlers that it is.
    Sick(Vec<String>),
    /// Nothing, which says enough.
    Silence(String),
}

/// An answer to a probe.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Which node, as an index.
    pub node: usize,
    /// When it was asked.
    pub asked: Instant,
    /// When it had answered.
    pub at: Instant,
    /// What it said.
    pub word: Word,
}

/// A number that a node gave.
#[derive(Debug, Clone, Copy)]
pub struct Number {
    /// Which node, as an index.
    pub node: usize,
    /// When it was asked.
    pub at: Instant,
    /// The number.
    pub is: u64,
}

/// All that was seen.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// Their health.
    pub samples: Vec<Sample>,
    /// How many log lines they lost, as their metrics have it.
    pub lost_lines: Vec<Number>,
    /// How many dead letters they list.
    pub dead_letters: Vec<Number>,
    /// How many orders they count in their read model, as it is.
    pub orders: Vec<Number>,
}

/// The probes of all nodes.
#[derive(Debug)]
pub struct Watch {
    seen: Arc<Mutex<Seen>>,
    /// They end with it.
    _probes: JoinSet<()>,
}

impl Watch {
    /// Begins to ask the nodes at `urls`.
    pub fn start(urls: &[String]) -> Self {
        let (seen, mut probes) = (Arc::default(), JoinSet::new());
        for (node, url) in urls.iter().enumerate() {
            let probe = Probe { node, url: url.clone(), http: client(), seen: Arc::clone(&seen) };
            probes.spawn(async move { probe.run().await });
        }
        Self { seen, _probes: probes }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn client() -> Client {
    Client::builder().timeout(PATIENCE).build().expect("plain settings")
}

struct Probe {
    node: usize,
    url: String,
    http: Client,
    seen: Arc<Mutex<Seen>>,
}

impl Probe {
    async fn run(&self) {
        let mut ticks = interval(EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        for n in 0_u32.. {
            ticks.tick().await;
            let asked = Instant::now();
            let word = self.health().await.unwrap_or_else(|error| Word::Silence(error.to_string()));
            let is_there = !matches!(word, Word::Silence(_));
            let sample = Sample { node: self.node, asked, at: Instant::now(), word };
            self.put(|seen| seen.samples.push(sample));
            if n % MORE == 0 && is_there {
                self.more().await;
            }
        }
    }

    async fn health(&self) -> reqwest::Result<Word> {
        let answer = self.http.get(format!("{}/health", self.url)).send().await?;
        let health: Value = answer.json().await?;
        Ok(match health["status"] == "healthy" {
            true => Word::Healthy,
            false => Word::Sick(not_healthy(&health["checks"])),
        })
    }

    async fn more(&self) {
        let node = self.node;
        let at = Instant::now();
        if let Some(is) = self.lost_lines().await {
            self.put(|seen| seen.lost_lines.push(Number { node, at, is }));
        }
        let at = Instant::now();
        if let Some(Value::Array(letters)) = self.json("/dead-letters").await {
            let is = letters.len() as u64;
            self.put(|seen| seen.dead_letters.push(Number { node, at, is }));
        }
        let at = Instant::now();
        let stats = self.json("/stats?consistency=eventual").await;
        if let Some(is) = stats.and_then(|stats| stats["totalOrders"].as_u64()) {
            self.put(|seen| seen.orders.push(Number { node, at, is }));
        }
    }

    async fn lost_lines(&self) -> Option<u64> {
        let answer = self.http.get(format!("{}/metrics", self.url)).send().await.ok()?;
        let metrics = answer.text().await.ok()?;
        let mut lines = metrics.lines();
        lines.find_map(|line| line.strip_prefix("catga_log_lines_lost_total "))?.parse().ok()
    }

    async fn json(&self, path: &str) -> Option<Value> {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await.ok()?;
        answer.error_for_status().ok()?.json().await.ok()
    }

    fn put(&self, put: impl FnOnce(&mut Seen)) {
        put(&mut self.seen.lock().unwrap_or_else(PoisonError::into_inner));
    }
}

/// The names of the checks that are not healthy, those within others too.
fn not_healthy(checks: &Value) -> Vec<String> {
    let Value::Object(checks) = checks else { return Vec::new() };
    let names = checks.iter().flat_map(|(name, check)| {
        let is_sick = check["status"].as_str().is_some_and(|status| status != "healthy");
        is_sick.then(|| name.clone()).into_iter().chain(not_healthy(check))
    });
    names.collect()
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = |is: fn(&Word) -> bool| self.samples.iter().filter(|s| is(&s.word)).count();
        write!(
            f,
            "{} probes: {} healthy, {} not, {} unanswered",
            self.samples.len(),
            count(|word| *word == Word::Healthy),
            count(|word| matches!(word, Word::Sick(_))),
            count(|word| matches!(word, Word::Silence(_)))
        )
    }
}
