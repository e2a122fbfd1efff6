//! Handlers and projections that block.

mod mail_box;

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use catga::prelude::*;
use mail_box::{MailBox, Post, Posted};
use metrics_exporter_prometheus::PrometheusBuilder;
use serde::{Deserialize, Serialize};

/// Changes nothing, so that no event handler hears of it.
#[catga::command]
struct LookInto {
    #[key]
    mail_box: String,
}

#[command_handler]
fn look_into(_: LookInto, _: &mut Root<MailBox>) {}

/// What handlers wait at until the test opens it.
#[derive(Debug, Default, Clone)]
struct Gate(Arc<(Mutex<Waiting>, Condvar)>);

#[derive(Debug, Default)]
struct Waiting {
    is_open: bool,
    now: u32,
    passed: u32,
}

impl Gate {
    fn state(&self) -> std::sync::MutexGuard<'_, Waiting> {
        self.0.0.lock().unwrap()
    }

    fn pass(&self) {
        let mut state = self.state();
        state.now += 1;
        let mut state = self.0.1.wait_while(state, |state| !state.is_open).unwrap();
        state.passed += 1;
    }

    fn open(&self) {
        self.state().is_open = true;
        self.0.1.notify_all();
    }
}

#[event_handler(name = "mail", blocking)]
fn mail(_: Posted, gate: &State<Gate>) {
    gate.pass();
}

const BOXES: u32 = 16;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_blocks_leaves_the_threads_to_others() {
    let gate = Gate::default();
    let catga = Catga::builder().state(gate.clone()).start().await.unwrap();
    // If nothing else ran, nothing would ever open it.
    let late = gate.clone();
    let watchdog = thread::spawn(move || {
        let end = Instant::now() + Duration::from_secs(20);
        while Instant::now() < end && !late.state().is_open {
            thread::sleep(Duration::from_millis(20));
        }
        let is_open = late.state().is_open;
        late.open();
        is_open
    });
    for i in 0..BOXES {
        catga.send(Post { mail_box: format!("b{i}"), n: 1 }).await.unwrap();
    }
    while gate.state().now < BOXES && !gate.state().is_open {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    assert_eq!(gate.state().passed, 0, "all of them block at once");
    let other = LookInto { mail_box: "other".to_owned() };
    let asked = tokio::spawn({
        let catga = catga.clone();
        async move { catga.send(other).await }
    });
    asked.await.unwrap().unwrap();
    gate.open();
    assert!(watchdog.join().unwrap(), "a command waited for what blocks");
    catga.idle().await.unwrap();
    assert_eq!(gate.state().passed, BOXES);
    catga.shutdown().await;
}

#[tokio::test]
async fn with_one_thread_it_runs_there() {
    let gate = Gate::default();
    gate.open();
    let catga = Catga::builder().state(gate.clone()).start().await.unwrap();
    catga.send(Post { mail_box: "b".to_owned(), n: 1 }).await.unwrap();
    catga.idle().await.unwrap();
    assert_eq!(gate.state().passed, 1);
    catga.shutdown().await;
}

/// How it holds its thread.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
enum How {
    AtOnce,
    LaterOn,
    NotAtAll,
}

/// For longer than anybody may hold a thread.
const LONG: Duration = Duration::from_millis(120);

async fn hold(how: How) {
    match how {
        How::AtOnce => thread::sleep(LONG),
        How::LaterOn => {
            tokio::task::yield_now().await;
            thread::sleep(LONG);
        }
        How::NotAtAll => tokio::time::sleep(LONG).await,
    }
}

#[catga::command]
struct Hold {
    #[key]
    mail_box: String,
    how: How,
}

#[command_handler]
async fn hold_up(hold_up: Hold, _: &Root<MailBox>) {
    hold(hold_up.how).await;
}

#[catga::command]
struct HoldPlainly {
    #[key]
    mail_box: String,
}

#[command_handler]
fn hold_plainly(_: HoldPlainly, _: &Root<MailBox>) {
    thread::sleep(LONG);
}

#[catga::query]
struct AskSlowly {
    how: How,
}

#[query_handler]
async fn ask_slowly(ask: AskSlowly) -> bool {
    hold(ask.how).await;
    true
}

#[derive(Debug, Default)]
struct SlowCount(u64);

#[projection]
impl Projection for SlowCount {
    type Event = Posted;
    const NAME: &str = "slow-count";

    fn apply(&mut self, posted: &Recorded<Posted>) {
        if posted.n == SLOW {
            thread::sleep(LONG);
        }
        self.0 += 1;
    }
}

#[catga::query]
struct CountSlowly;

#[query_handler]
fn count_slowly(_: CountSlowly, count: &ReadModel<SlowCount>) -> u64 {
    count.read().0
}

const SLOW: u64 = 77;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_holds_a_thread_is_counted_by_name() {
    let metrics = PrometheusBuilder::new().install_recorder().unwrap();
    let count = |kind: &str, name: &str| {
        let text = metrics.render();
        let line = format!(r#"catga_handler_blocked_total{{handler="{name}",kind="{kind}"}} "#);
        let found = text.lines().find_map(|found| found.strip_prefix(&line)?.parse().ok());
        found.unwrap_or(0_u32)
    };
    let gate = Gate::default();
    gate.open();
    let catga = Catga::builder().state(gate).start().await.unwrap();
    let mail_box = || "b".to_owned();
    for (how, times) in [(How::AtOnce, 1), (How::LaterOn, 2), (How::NotAtAll, 2)] {
        catga.send(Hold { mail_box: mail_box(), how }).await.unwrap();
        assert_eq!(count("command", Hold::NAME), times, "{how:?}");
        catga.query(AskSlowly { how }).await.unwrap();
        assert_eq!(count("query", AskSlowly::NAME), times, "{how:?}");
    }
    catga.send(HoldPlainly { mail_box: mail_box() }).await.unwrap();
    assert_eq!(count("command", HoldPlainly::NAME), 1);
    for n in [1, SLOW] {
        assert_eq!(count("projection", "slow-count"), 0);
        catga.send(Post { mail_box: mail_box(), n }).await.unwrap();
        catga.query(CountSlowly).await.unwrap();
    }
    assert_eq!(count("projection", "slow-count"), 1);
    assert_eq!(count("event handler", "mail"), 0, "it has room");
    assert_eq!(count("query", CountSlowly::NAME), 0, "it waited for the projection");
    catga.shutdown().await;
}
