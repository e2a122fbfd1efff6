//! Event handlers that block.

mod mail_box;

use std::{
    sync::{Arc, Condvar, Mutex},
    thread,
    time::{Duration, Instant},
};

use catga::prelude::*;
use mail_box::{MailBox, Post, Posted};

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
