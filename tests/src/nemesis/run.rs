//! A run: the load and the faults on one log after the other, and the judgement of each.
//!
//! `CATGA_SECONDS` says for how long (`just chaos --minutes N`), `CATGA_SEED` which faults.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

use super::{
    flush::{Replaced, flush},
    mail::{Letter, Mail},
    node_faults::{self, Bite, Fault, Span},
    server_faults::{ServerFault, Servers},
    silence::{Epoch, Evidence},
    watch::Watch,
    witness::Witness,
};
use crate::{
    backend::Backend,
    cluster::Cluster,
    dice::Dice,
    effects::Effects,
    eventually_within,
    history::{History, Outcome, Recorder, Stored},
    load::{Stop, http},
};

/// How long the faults of one log last at most, before another takes its place.
const LONGEST_EPOCH: Duration = Duration::from_secs(300);

/// The seed when none is set: every fault of nodes is among the first ones of the runs.
const SEED: u64 = 2;

/// How many commands are acknowledged between two faults: a fault without load says nothing.
const BETWEEN: usize = 50;

/// How long the effect's server is away once for each log; else it comes back sooner.
const AWAY: Duration = Duration::from_secs(60);

/// How long it takes at most after the last fault until all is done and well.
const WELL: Duration = Duration::from_secs(120);

/// What was judged of one log, for the planted faults.
#[derive(Debug)]
pub struct Judged {
    /// What clients saw.
    pub history: History,
    /// What is in the log.
    pub log: Vec<Stored>,
    /// What was done for it.
    pub effects: Effects,
}

/// A run that has ended, and in which nothing was wrong.
#[derive(Debug)]
pub struct Ended {
    /// What the first log was judged by.
    pub first: Judged,
    /// What silence was judged by.
    pub evidence: Evidence,
}

/// How often each thing happened.
type Counts = BTreeMap<String, usize>;

struct Run {
    seed: u64,
    servers: Servers,
    cluster: Cluster,
    urls: Vec<String>,
    witness: Witness,
    node_dice: Bag<Fault>,
    server_dice: Bag<ServerFault>,
    counts: Counts,
    deaf: Vec<(usize, Span)>,
    epochs: Vec<Epoch>,
}

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// The faults of the seed that is `n` behind the one that is set, and the judgement, on three nodes with their log in `log`, and
/// their topic there too or on another server.
///
/// # Panics
/// When anything is wrong.
pub async fn run(n: u64, log: Backend, topic: Option<Backend>) -> Ended {
    let time = Duration::from_secs(setting("CATGA_SECONDS", 30));
    let seed = setting("CATGA_SEED", SEED) + n;
    let logs = u32::try_from(time.as_secs().div_ceil(LONGEST_EPOCH.as_secs())).expect("a few");
    let mut run = Run::start(seed, log, topic).await;
    let watch = Watch::start(&run.urls);
    let mut first = None;
    // The last log shows no more than that the service goes on after the one before it.
    for n in 0..=logs {
        let judged = run.epoch(n, if n < logs { time / logs } else { Duration::ZERO }).await;
        first.get_or_insert(judged);
    }
    let seen = watch.seen();
    println!("seed {seed}: {:?}", run.counts);
    println!("seed {seed}: {seen}");
    let evidence = Evidence {
        tries: run.witness.tries(),
        epochs: std::mem::take(&mut run.epochs),
        letters: run.servers.mail.letters(),
        deaf: std::mem::take(&mut run.deaf),
        nodes: run.cluster.nodes.iter().map(|node| node.name().to_owned()).collect(),
        seen,
    };
    let judgement = evidence.judge();
    println!("seed {seed}: {judgement}");
    assert_eq!(judgement.silent, [""; 0], "wrong without a word; seed {seed}");
    Ended { first: first.expect("there was one"), evidence }
}

impl Run {
    async fn start(seed: u64, log: Backend, topic: Option<Backend>) -> Self {
        let mail = Mail::start().await;
        let mut flags = topic.as_ref().map(Backend::transport_flags).unwrap_or_default();
        if matches!(log, Backend::Redis(_)) {
            flags.extend(["--require-durability", "power-loss"].map(str::to_owned));
        }
        println!("seed {seed}: {} {}", log.flags().join(" "), flags.join(" "));
        let flags: Vec<_> = flags.iter().map(String::as_str).collect();
        let cluster = Cluster::start_chaos(&log, 3, &flags, &mail).await;
        cluster.settled().await;
        Self {
            seed,
            urls: cluster.urls(),
            node_dice: Bag::new(Dice::new(seed), Fault::ALL.to_vec()),
            server_dice: Bag::new(Dice::new(!seed), ServerFault::all(&log, topic.as_ref())),
            servers: Servers { log, topic, mail },
            cluster,
            witness: Witness::default(),
            counts: Counts::new(),
            deaf: Vec::new(),
            epochs: Vec::new(),
        }
    }

    /// The life of a log, which takes the place of the one before under load: faults for `time`, and the judgement.
    async fn epoch(&mut self, n: u32, time: Duration) -> Judged {
        let (recorder, stop) = (Recorder::new(), Stop::default());
        let (urls, mail_before) = (self.urls.clone(), self.servers.mail.letters().len());
        let limit = time + Duration::from_secs(600);
        let plan = http::Plan { clients: 4, orders: 1_000_000, time: limit, name: format!("k{n}") };
        let witness = std::mem::take(&mut self.witness);
        let load = http::send_seen(&urls, &plan, &recorder, &stop, &witness);
        let acks_before = witness.acks().len();
        let trouble = async {
            let replaced = match n {
                0 => None,
                _ => {
                    loaded(&recorder, BETWEEN).await;
                    self.count("Flush".to_owned());
                    Some(flush(&self.servers, &mut self.cluster, &recorder).await)
                }
            };
            let begun = Instant::now();
            let faults = self.faults(begun + time, &recorder, &witness).await;
            loaded(&recorder, recorder.acked() + BETWEEN).await;
            stop.now();
            (replaced, begun, faults)
        };
        let (_, (replaced, begun, faults)) = tokio::join!(load, trouble);
        self.witness = witness;
        self.cluster.settled().await;
        self.all_is_done().await;
        let judged = self.judge(&recorder, replaced, mail_before, faults).await;
        let streams: HashSet<_> = judged.log.iter().map(|s| s.sent.stream.as_str()).collect();
        let acks = self.witness.acks().split_off(acks_before);
        let acks = acks.into_iter().filter(|ack| streams.contains(ack.order.as_str())).collect();
        self.epochs.push(Epoch { span: (begun, Instant::now()), acks });
        judged
    }

    /// Faults of nodes and of servers, side by side. Answers how many of nodes there were.
    async fn faults(&mut self, end: Instant, recorder: &Recorder, witness: &Witness) -> usize {
        let Self { cluster, servers, node_dice, server_dice, deaf, .. } = self;
        let away = (end - Instant::now()) / 5;
        let nodes = async {
            let mut bitten = Vec::new();
            while Instant::now() < end {
                loaded(recorder, recorder.acked() + BETWEEN).await;
                let first = node_dice.dice.index(3);
                let mut order: Vec<_> = (0..).zip(&mut cluster.nodes).collect();
                order.rotate_left(first);
                let (one, two) = order.split_at_mut(1);
                let ((one, first), (two, second)) = (&mut one[0], &mut two[0]);
                let bite = draw(node_dice);
                let is_double = node_dice.dice.coin();
                let second_bite = is_double.then(|| draw(node_dice));
                let other = async {
                    match second_bite {
                        Some(bite) => Some((*two, bite, node_faults::bite(second, bite).await)),
                        None => None,
                    }
                };
                let (span, other) = tokio::join!(node_faults::bite(first, bite), other);
                bitten.push((*one, bite, span));
                bitten.extend(other);
            }
            bitten
        };
        let of_servers = async {
            let mut bitten = Vec::new();
            while Instant::now() < end {
                sleep(Duration::from_millis(500 + server_dice.dice.below(4000))).await;
                let (fault, is_other) = (server_dice.draw(), server_dice.dice.coin());
                let is_first = !bitten.contains(&fault);
                let away = if is_first { away.min(AWAY) } else { away.min(AWAY / 6) };
                servers.bite(fault, is_other, away, witness).await;
                bitten.push(fault);
            }
            bitten
        };
        let (nodes, of_servers) = tokio::join!(nodes, of_servers);
        let lossy = nodes.iter().filter(|(_, bite, _)| bite.fault.loses_lines());
        deaf.extend(lossy.map(|(node, _, span)| (*node, *span)));
        nodes.iter().for_each(|(_, bite, _)| self.count(format!("{:?}", bite.fault)));
        of_servers.iter().for_each(|fault| self.count(format!("{fault:?}")));
        nodes.len()
    }

    fn count(&mut self, what: String) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// Waits until every event is handled, dead letters by themselves too, and every node is well again.
    async fn all_is_done(&self) {
        self.cluster.all_handled().await;
        let http = Client::new();
        for url in &self.urls {
            let json = async |path: &str| {
                let answer = http.get(format!("{url}{path}")).send().await;
                let answer = answer.map_err(|error| error.to_string())?;
                answer.json::<Value>().await.map_err(|error| error.to_string())
            };
            eventually_within(WELL, async || {
                let (letters, health) = (json("/dead-letters").await?, json("/health").await?);
                let is_well = letters == json!([]) && health["status"] == "healthy";
                if is_well { Ok(()) } else { Err(format!("{letters} {health}")) }
            })
            .await;
        }
    }

    /// Compares the log with what clients and the effect's server saw.
    async fn judge(
        &self,
        recorder: &Recorder,
        replaced: Option<Replaced>,
        mail_before: usize,
        faults: usize,
    ) -> Judged {
        let (client, seed) = (Client::new(), self.seed);
        let log = http::final_log(&client, &self.urls[0]).await;
        let orders = http::orders(&client, &self.urls[0]).await;
        for url in &self.urls[1..] {
            assert_eq!(http::orders(&client, url).await, orders, "I13: nodes differ; seed {seed}");
        }
        let whole = recorder.history();
        let lost = replaced.map(|replaced| lost(&whole, &log, replaced)).unwrap_or_default();
        let history = match replaced {
            Some(Replaced { at, noticed }) => whole.of_new_log(at, noticed),
            None => whole,
        };
        let verdict = history.check(&log);
        let letters = self.servers.mail.letters().split_off(mail_before);
        let of_log = letters.into_iter().filter(|letter| !lost.contains(&letter.order));
        let effects = of_log.map(|Letter { order, version, .. }| (order, version)).collect();
        let effects = Effects::of(effects);
        println!(
            "seed {seed}: {faults} faults of nodes: {verdict}; {} effects, {} of them again",
            effects.count(),
            effects.repeats()
        );
        verdict.expect_clean(BETWEEN * faults / 2);
        assert_eq!(effects.violations(&log), [""; 0], "P7; seed {seed}");
        Judged { history, log, effects }
    }
}

/// The orders that went with the log before `log`.
fn lost(history: &History, log: &[Stored], replaced: Replaced) -> HashSet<String> {
    let kept: HashSet<_> = log.iter().map(|stored| &stored.sent.stream).collect();
    let before = history.attempts.iter().filter(|attempt| attempt.called < replaced.at);
    let sent = before.filter(|attempt| attempt.outcome != Outcome::Failed);
    let streams = sent.map(|attempt| &attempt.sent.stream).filter(|stream| !kept.contains(stream));
    streams.cloned().collect()
}

/// Waits until so many commands are acknowledged.
async fn loaded(recorder: &Recorder, wanted: usize) {
    let deadline = Instant::now() + Duration::from_secs(90);
    while recorder.acked() < wanted {
        assert!(Instant::now() < deadline, "void: no load");
        sleep(Duration::from_millis(20)).await;
    }
}

fn draw(bag: &mut Bag<Fault>) -> Bite {
    let fault = bag.draw();
    let dice = &mut bag.dice;
    // Now and then so long that it must be said.
    let long = if dice.below(10) == 0 { 12_000 } else { 0 };
    let time = Duration::from_millis(200 + dice.below(1500) + long);
    let minutes = i64::try_from(1 + dice.below(5)).expect("a small number");
    let seconds = if dice.coin() { 60 * minutes } else { -60 * minutes };
    Bite { fault, time, seconds }
}

/// Draws each of its things once before any of them again, in an order of chance.
#[derive(Debug)]
struct Bag<T> {
    dice: Dice,
    all: Vec<T>,
    left: Vec<T>,
}

impl<T: Clone> Bag<T> {
    fn new(dice: Dice, all: Vec<T>) -> Self {
        Self { dice, all, left: Vec::new() }
    }

    fn draw(&mut self) -> T {
        if self.left.is_empty() {
            self.left.clone_from(&self.all);
        }
        let index = self.dice.index(self.left.len());
        self.left.swap_remove(index)
    }
}
