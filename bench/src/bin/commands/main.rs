//! What the runtime costs over doing the same by hand, with the log in memory.
//!
//! Everything goes through `Catga::send` and `Catga::query` with the default pipeline, tracing off, and every answer is
//! checked. The hand-written limit keeps encoded events in a `HashMap` of `Vec`s, and for each command decodes
//! them into the state, decides, encodes the new event and pushes it.

mod order;

use std::{
    collections::HashMap, hint::black_box, process::Command as Process, sync::Arc, time::Instant,
};

use catga::{
    prelude::*,
    store::{Backend, EventStore, MemoryKvStore, MemoryStore},
};
use catga_bench::{Reach, Rounds, Table, Unit, float, median, rounds};
use serde::Serialize;
use tokio::runtime::{self, Runtime};

use self::order::{
    Create, Created, Noted, Nothing, Order, OrderEvent, Paid, Pay, Ship, Shipped, Status, commands,
    cycle, nothing,
};

const ROUNDS: usize = 7;
const ORDERS: usize = 20_000;

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "bench.note")]
struct Note {
    #[key]
    order: String,
    number: u64,
}

#[derive(Debug, Query)]
#[query(name = "bench.get")]
struct Get {
    #[key]
    order: String,
}

#[command_handler]
fn note(note: Note, order: &mut Root<Order>) -> Result<u64, catga::Error> {
    order.record(Noted { number: note.number });
    Ok(order.notes)
}

#[query_handler]
fn get(_: Get, order: &Root<Order>) -> Result<u64, catga::Error> {
    Ok(order.notes)
}

/// The same by hand.
#[derive(Default)]
struct ByHand {
    streams: HashMap<String, Vec<(u8, Vec<u8>)>>,
}

impl ByHand {
    fn run(&mut self, key: &str, decide: impl FnOnce(&Order) -> OrderEvent) -> u64 {
        let stream = match self.streams.get_mut(key) {
            Some(stream) => stream,
            None => self.streams.entry(key.to_owned()).or_default(),
        };
        let mut order = Order::default();
        for (ty, payload) in &*stream {
            order.apply(match ty {
                0 => OrderEvent::Created(postcard::from_bytes(payload).expect("ours")),
                1 => OrderEvent::Paid(postcard::from_bytes(payload).expect("ours")),
                2 => OrderEvent::Shipped(postcard::from_bytes(payload).expect("ours")),
                _ => OrderEvent::Noted(postcard::from_bytes(payload).expect("ours")),
            });
        }
        let event = decide(&order);
        stream.push(match &event {
            OrderEvent::Created(event) => (0, postcard::to_stdvec(event).expect("plain")),
            OrderEvent::Paid(event) => (1, postcard::to_stdvec(event).expect("plain")),
            OrderEvent::Shipped(event) => (2, postcard::to_stdvec(event).expect("plain")),
            OrderEvent::Noted(event) => (3, postcard::to_stdvec(event).expect("plain")),
        });
        order.apply(event);
        order.cents
    }

    fn create(&mut self, create: Create) -> u64 {
        self.run(&create.order, |order| {
            assert_eq!(order.status, Status::Nothing);
            OrderEvent::Created(Created { customer: create.customer, cents: create.cents })
        })
    }

    fn pay(&mut self, pay: Pay) -> u64 {
        self.run(&pay.order, |order| {
            assert_eq!(order.status, Status::Pending);
            OrderEvent::Paid(Paid { method: pay.method })
        })
    }

    fn ship(&mut self, ship: Ship) -> u64 {
        self.run(&ship.order, |order| {
            assert_eq!(order.status, Status::Paid);
            OrderEvent::Shipped(Shipped { tracking: ship.tracking })
        })
    }
}

fn per(start: Instant, n: usize) -> f64 {
    start.elapsed().as_secs_f64() * 1e9 / float(n)
}

fn per_second(start: Instant, n: usize) -> f64 {
    float(n) / start.elapsed().as_secs_f64()
}

fn main() {
    let one_thread =
        runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut two_threads = runtime::Builder::new_multi_thread();
    let two_threads = two_threads.worker_threads(2).enable_all().build().expect("a runtime");
    let about = "level `memory`, tracing off, the default pipeline";
    let mut table = Table::new("commands", about);
    one_thread.block_on(dispatch(&mut table)).expect("no errors");
    one_thread.block_on(life_cycles(&mut table)).expect("no errors");
    both_threads(&mut table, &one_thread, &two_threads);
    one_thread.block_on(long_streams(&mut table)).expect("no errors");
    one_thread.block_on(replay(&mut table)).expect("no errors");
    races(&mut table, &two_threads);
}

/// Counted in another process: an allocator that counts takes time, and does not let two threads allocate at once.
fn allocations(what: &str) -> String {
    let own = std::env::current_exe().expect("it has a path");
    let counted = Process::new(own.with_file_name("allocations")).arg(what).output();
    String::from_utf8(counted.expect("`allocations` is built").stdout).expect("a number")
}

async fn dispatch(table: &mut Table) -> Result<(), Box<dyn std::error::Error>> {
    let catga = Catga::builder().start().await?;
    let n = 100_000;
    let (mut both, mut over) = (Rounds::new(), Vec::new());
    for _ in 0..rounds(ROUNDS) {
        let start = Instant::now();
        for number in 0..n {
            assert_eq!(catga.send(Nothing { number }).await?, number);
        }
        let sent = per(start, 100_000);
        let start = Instant::now();
        for number in 0..n {
            assert_eq!(nothing(black_box(Nothing { number })).await?, number);
        }
        let called = per(start, 100_000);
        both.push(sent, called);
        over.push(sent - called);
    }
    table.row("send of a trivial command, over calling it", Unit::Nanoseconds, &both, Reach::Shown);
    table.note(
        "send of a trivial command, ns over the call (≤ 120)",
        format!("{:.0}", median(&over)),
    );
    table.note("allocations a send (≤ 1)", allocations("send"));
    catga.shutdown().await;
    Ok(())
}

/// The same orders without catga. What is answered is to be dropped when the time is taken, as catga's log is.
fn by_hand(name: &str) -> ByHand {
    let mut by_hand = ByHand::default();
    for i in 0..ORDERS {
        let (create, pay, ship) = commands(&format!("{name}-{i}"));
        assert_eq!(by_hand.create(create), 4999);
        assert_eq!(by_hand.pay(pay), 4999);
        assert_eq!(by_hand.ship(ship), 4999);
    }
    by_hand
}

async fn life_cycles(table: &mut Table) -> Result<(), Box<dyn std::error::Error>> {
    let mut both = Rounds::new();
    for round in 0..rounds(ROUNDS) {
        let catga = Catga::builder().start().await?;
        let start = Instant::now();
        cycle(&catga, &round.to_string(), ORDERS).await?;
        let rate = per_second(start, 3 * ORDERS);
        catga.shutdown().await;
        let start = Instant::now();
        let _kept = by_hand(&round.to_string());
        both.push(rate, per_second(start, 3 * ORDERS));
    }
    let reach = Reach::AtLeast(0.7);
    table.row("create, pay, ship, 1 thread, over a HashMap of Vec", Unit::PerSecond, &both, reach);
    table.note("allocations a command, the tail's included", allocations("cycle"));
    Ok(())
}

fn both_threads(table: &mut Table, one: &Runtime, two: &Runtime) {
    let (mut rows, mut machine) = (Rounds::new(), Rounds::new());
    for round in 0..rounds(ROUNDS) {
        let single = one.block_on(async {
            let catga = Catga::builder().start().await.expect("it starts");
            let start = Instant::now();
            cycle(&catga, &round.to_string(), ORDERS).await.expect("no errors");
            let rate = per_second(start, 3 * ORDERS);
            catga.shutdown().await;
            rate
        });
        let double = two.block_on(async {
            let catga = Catga::builder().start().await.expect("it starts");
            let start = Instant::now();
            let halves = ["a", "b"].map(|half| {
                let (catga, name) = (catga.clone(), format!("{half}{round}"));
                tokio::spawn(async move { cycle(&catga, &name, ORDERS).await.expect("no errors") })
            });
            for half in halves {
                half.await.expect("no panics");
            }
            let rate = per_second(start, 6 * ORDERS);
            catga.shutdown().await;
            rate
        });
        rows.push(double, single);
        let start = Instant::now();
        let _kept = by_hand(&round.to_string());
        let single = per_second(start, 3 * ORDERS);
        let start = Instant::now();
        let threads = ["a", "b"].map(|half| std::thread::spawn(move || by_hand(half)));
        let _kept = threads.map(|thread| thread.join().expect("no panics"));
        machine.push(per_second(start, 6 * ORDERS), single);
    }
    let reach = Reach::AtLeast(1.6);
    table.row("create, pay, ship, 2 threads, over 1 thread", Unit::PerSecond, &rows, reach);
    let what = "by hand, 2 threads that share nothing, over 1 thread";
    table.row(what, Unit::PerSecond, &machine, Reach::Shown);
}

/// Commands on orders that have a hundred events, over commands on orders that have three.
async fn long_streams(table: &mut Table) -> Result<(), Box<dyn std::error::Error>> {
    let mut both = Rounds::new();
    for _ in 0..rounds(ROUNDS) {
        let mut rates = Vec::new();
        for events in [100, 3] {
            let catga = Catga::builder().start().await?;
            let orders = 600;
            for number in 0..events {
                for order in 0..orders {
                    catga.send(Note { order: order.to_string(), number }).await?;
                }
            }
            let start = Instant::now();
            for number in 0..30 {
                for order in 0..orders {
                    let notes = catga.send(Note { order: order.to_string(), number }).await?;
                    assert_eq!(notes, events + number + 1);
                }
            }
            rates.push(per_second(start, 30 * orders));
            catga.shutdown().await;
        }
        both.push(rates[0], rates[1]);
    }
    let reach = Reach::AtLeast(1.0);
    table.row("a command on an order of 100 events, over one of 3", Unit::PerSecond, &both, reach);
    Ok(())
}

async fn replay(table: &mut Table) -> Result<(), Box<dyn std::error::Error>> {
    let store = Arc::new(MemoryStore::new());
    let backend = || Backend::new(store.clone(), Arc::new(MemoryKvStore::new()));
    let writer = Catga::builder().backend(backend()).start().await?;
    let (orders, events) = (2_000, 100);
    for number in 0..events {
        for order in 0..orders {
            writer.send(Note { order: order.to_string(), number }).await?;
        }
    }
    writer.shutdown().await;
    let payload = postcard::to_stdvec(&Noted { number: 50 })?;
    let all = orders * usize::try_from(events)?;
    let mut both = Rounds::new();
    for _ in 0..rounds(ROUNDS) {
        // A new node has nothing cached.
        let reader = Catga::builder().backend(backend()).start().await?;
        let head = store.head().await?;
        while reader.health().await.read_model_position < head {
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        for order in 0..orders {
            assert_eq!(reader.query(Get { order: order.to_string() }).await?, events);
        }
        let rate = per_second(start, all);
        reader.shutdown().await;
        let (start, mut order) = (Instant::now(), Order::default());
        for _ in 0..all {
            let noted = postcard::from_bytes(black_box(&payload))?;
            black_box(&mut order).apply(OrderEvent::Noted(noted));
        }
        both.push(rate, per_second(start, all));
    }
    table.row(
        "cold replay of 100 events in 100 commits, over decoding (≥ 5 M/s)",
        Unit::PerSecond,
        &both,
        Reach::Shown,
    );
    Ok(())
}

/// Two threads pay the same orders.
fn races(table: &mut Table, two: &Runtime) {
    let doubles = two.block_on(async {
        let catga = Catga::builder().start().await.expect("it starts");
        for i in 0..ORDERS {
            catga.send(commands(&i.to_string()).0).await.expect("it is new");
        }
        let racers = [(); 2].map(|()| {
            let catga = catga.clone();
            tokio::spawn(async move {
                let mut won = 0;
                for i in 0..ORDERS {
                    won += usize::from(catga.send(commands(&i.to_string()).1).await.is_ok());
                }
                won
            })
        });
        let mut won = 0;
        for racer in racers {
            won += racer.await.expect("no panics");
        }
        catga.shutdown().await;
        won.abs_diff(ORDERS)
    });
    table.note("two threads pay the same 20,000 orders: double payments", doubles);
    assert_eq!(doubles, 0);
}
