//! `cargo run --release -p catga --example bench_nats -- nats://localhost:4222`: what the NATS store costs over
//! bare publishing, on a server that is there. It makes streams that begin with `catga-bench` and deletes them.
//!
//! Each line has appends a second through the store, awaited publishes a second with the same expectation to a
//! stream of the same kind in the same run, and their ratio. The rounds of both alternate, and the median is shown,
//! since the machines it runs on are shared.

use std::{sync::Arc, time::Instant};

use async_nats::{
    HeaderMap,
    header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE,
    jetstream::{self, stream::Config},
};
use bytes::Bytes;
use catga::{Append, EventStore, NatsOptions, NatsStore, StreamId};
use tokio::task::JoinSet;

const ROUNDS: usize = 5;
const FRAME: usize = 200;

fn stream(round: &str, task: usize, i: usize) -> StreamId {
    StreamId::new("bench", &format!("{round}-{task}-{i}")).expect("a plain key")
}

/// How often a second `call` is done, by `tasks` tasks at once.
async fn rate<F: Future<Output = ()> + Send + 'static>(
    tasks: usize,
    call: impl Fn(usize, usize) -> F + Clone + Send + 'static,
) -> f64 {
    let each = 4_000 / tasks.min(16);
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let call = call.clone();
        running.spawn(async move {
            for i in 0..each {
                call(task, i).await;
            }
        });
    }
    running.join_all().await;
    f64::from(u32::try_from(tasks * each).expect("few")) / begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let server = std::env::args().nth(1).unwrap_or_else(|| "nats://localhost:4222".to_owned());
    let jetstream = jetstream::new(async_nats::connect(&server).await?);
    let name = format!("catga-bench-{}", std::process::id());
    let bare = format!("{name}-bare");
    let options = NatsOptions { prefix: name.clone(), ..NatsOptions::new(server) };
    let store = Arc::new(NatsStore::connect(options.clone()).await?);
    let config = Config {
        name: bare.clone(),
        subjects: vec![format!("{bare}.*.*")],
        allow_direct: true,
        ..Config::default()
    };
    jetstream.create_stream(config).await?;
    let frame = Bytes::from(vec![7; FRAME]);
    println!("in flight   store/s     bare/s  ratio");
    for tasks in [1, 16, 64] {
        let (mut through, mut limit) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            let (store, ours) = (store.clone(), frame.clone());
            let name = format!("{tasks}-{round}");
            let call = move |task, i| {
                let (store, frame, stream) = (store.clone(), ours.clone(), stream(&name, task, i));
                async move {
                    let append = Append { stream: &stream, version: 0, token: 0, events: 1, frame };
                    store.append(append).await.expect("the stream is new");
                }
            };
            through.push(rate(tasks, call).await);

            let (jetstream, theirs) = (jetstream.clone(), frame.clone());
            let name = format!("{bare}.{tasks}-{round}");
            let call = move |task: usize, i: usize| {
                let (jetstream, frame) = (jetstream.clone(), theirs.clone());
                let subject = format!("{name}.{task}-{i}");
                async move {
                    let mut headers = HeaderMap::new();
                    headers.insert(NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, "0");
                    let ack = jetstream.publish_with_headers(subject, headers, frame).await;
                    ack.expect("it is sent").await.expect("the subject is new");
                }
            };
            limit.push(rate(tasks, call).await);
        }
        let (through, limit) = (median(through), median(limit));
        println!("{tasks:>9} {through:>9.0} {limit:>10.0}  {:>5.2}", through / limit);
    }
    // Somebody who has nothing of it in memory.
    let reader = NatsStore::connect(options).await?;
    let (begin, mut after, mut commits) = (Instant::now(), 0, 0_u32);
    loop {
        let page = reader.read_log(after, 1000).await?;
        let Some(last) = page.last() else { break };
        after = last.position;
        commits += u32::try_from(page.len())?;
    }
    let rate = f64::from(commits) / begin.elapsed().as_secs_f64();
    println!("read from the first to the last of {commits}: {rate:.0} commits/s");
    for stream in [name.clone(), format!("KV_{name}"), bare] {
        jetstream.delete_stream(stream).await?;
    }
    Ok(())
}
