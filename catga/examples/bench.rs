//! `cargo run --release -p catga --example bench`: what the runtime costs over doing the same by hand.
//!
//! Each line is a value, a limit taken in the same run, and their ratio. The rounds of both alternate,
//! and the median is shown, since the machines it runs on are shared.

use std::{collections::HashMap, hint::black_box, sync::Arc, time::Instant};

use catga::{EventStore, FileStore, Keyed, MemoryKeyed, MemoryStore, prelude::*};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Moved", version = 1)]
struct Moved {
    by: u64,
    note: String,
}

#[derive(Debug, Clone, Event)]
enum CartEvent {
    Moved(Moved),
}

#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Cart {
    sum: u64,
}

impl Aggregate for Cart {
    type Event = CartEvent;
    const NAME: &'static str = "cart";
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(100));

    fn apply(&mut self, CartEvent::Moved(moved): &CartEvent) {
        self.sum += moved.by;
    }
}

/// A command that does nothing: what is left is the pipeline.
#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "bench.nothing", output = u64)]
struct Nothing {
    number: u64,
}

#[command_handler]
async fn nothing(nothing: Nothing) -> Result<u64, catga::Error> {
    Ok(black_box(nothing.number))
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "bench.move", output = u64)]
struct Move {
    #[key]
    cart: String,
    by: u64,
}

#[command_handler]
fn move_cart(step: Move, cart: &mut Root<Cart>) -> Result<u64, catga::Error> {
    cart.record(Moved { by: step.by, note: "a note of some length".to_owned() });
    Ok(cart.sum)
}

#[derive(Debug, Query)]
#[query(name = "bench.get", output = u64)]
struct Get {
    #[key]
    cart: String,
}

#[query_handler]
fn get(_: Get, cart: &Root<Cart>) -> Result<u64, catga::Error> {
    Ok(cart.sum)
}

const ROUNDS: usize = 11;

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn show(what: &str, value: f64, limit: f64) {
    println!("{what:<52} {value:>9.0} ns  limit {limit:>9.0} ns  {:>6.2} ×", value / limit);
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let catga = Catga::builder().start().await?;
    dispatch(&catga).await?;
    commands(&catga).await?;
    replay().await?;
    let directory = std::env::temp_dir().join(format!("catga-bench-{}", std::process::id()));
    snapshot("memory", Arc::new(MemoryStore::new()), Arc::new(MemoryKeyed::new())).await?;
    let file = Arc::new(FileStore::open(&directory)?);
    snapshot("file", file.clone(), file).await?;
    std::fs::remove_dir_all(directory)?;
    catga.shutdown().await;
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn per(start: Instant, n: u64) -> f64 {
    start.elapsed().as_nanos() as f64 / n as f64
}

async fn dispatch(catga: &Catga) -> Result<(), catga::Error> {
    let n = 100_000;
    let (mut sent, mut called) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for number in 0..n {
            assert_eq!(catga.send(Nothing { number }).await?, number);
        }
        sent.push(per(start, n));
        let start = Instant::now();
        for number in 0..n {
            assert_eq!(nothing(black_box(Nothing { number })).await?, number);
        }
        called.push(per(start, n));
    }
    show("send of a trivial command, over calling it", median(sent), median(called));
    Ok(())
}

async fn commands(catga: &Catga) -> Result<(), catga::Error> {
    let n = 20_000;
    let (mut sent, mut by_hand) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let start = Instant::now();
        for i in 0..n {
            let cart = format!("{round}-{i}");
            for sum in 1..=3 {
                assert_eq!(catga.send(Move { cart: cart.clone(), by: 1 }).await?, sum);
            }
        }
        sent.push(per(start, 3 * n));
        let mut streams: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
        let start = Instant::now();
        for i in 0..n {
            let cart = format!("{round}-{i}");
            for _ in 0..3 {
                let moved = Moved { by: 1, note: "a note of some length".to_owned() };
                let payload = postcard::to_stdvec(&moved).expect("plain fields");
                streams.entry(cart.clone()).or_default().push(black_box(payload));
            }
        }
        by_hand.push(per(start, 3 * n));
    }
    show("load, decide and append, over a HashMap of Vec", median(sent), median(by_hand));
    Ok(())
}

async fn replay() -> Result<(), Box<dyn std::error::Error>> {
    let store = Arc::new(MemoryStore::new());
    let writer = Catga::builder().store(store.clone()).start().await?;
    let n = 5_000;
    for i in 0..n {
        for _ in 0..4 {
            writer.send(Move { cart: i.to_string(), by: 1 }).await?;
        }
    }
    writer.shutdown().await;
    let payload = postcard::to_stdvec(&Moved { by: 1, note: "a note of some length".to_owned() })?;
    let (mut cold, mut decoded) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        // A new node has nothing cached.
        let reader = Catga::builder().store(store.clone()).start().await?;
        let head = store.head().await?;
        while reader.health().await.read_model_position < head {
            tokio::task::yield_now().await;
        }
        let start = Instant::now();
        for i in 0..n {
            assert_eq!(reader.query(Get { cart: i.to_string() }).await?, 4);
        }
        cold.push(per(start, 4 * n));
        reader.shutdown().await;
        let start = Instant::now();
        for _ in 0..4 * n {
            black_box(postcard::from_bytes::<Moved>(black_box(&payload))?);
        }
        decoded.push(per(start, 4 * n));
    }
    show("cold load of 4 events, an event, over decoding it", median(cold), median(decoded));
    Ok(())
}

/// A cold load of one aggregate with 10,000 events, with its snapshot and without.
async fn snapshot(
    name: &str,
    store: Arc<dyn EventStore>,
    keyed: Arc<dyn Keyed>,
) -> Result<(), Box<dyn std::error::Error>> {
    let writer = Catga::builder().store(store.clone()).keyed(keyed.clone()).start().await?;
    let n = 10_000;
    for _ in 0..n {
        writer.send(Move { cart: "long".to_owned(), by: 1 }).await?;
    }
    writer.shutdown().await;
    let (mut with, mut without) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let no_snapshots: Arc<dyn Keyed> = Arc::new(MemoryKeyed::new());
        for (keyed, times) in [(keyed.clone(), &mut with), (no_snapshots, &mut without)] {
            let reader = Catga::builder().store(store.clone()).keyed(keyed).start().await?;
            let start = Instant::now();
            assert_eq!(reader.query(Get { cart: "long".to_owned() }).await?, n);
            times.push(per(start, 1));
            reader.shutdown().await;
        }
    }
    let what = format!("{name}: cold load of 10,000 events, over no snapshot");
    show(&what, median(with), median(without));
    Ok(())
}
