//! `cargo run --release -p catga --example bench_file [DIRECTORY]`: what the file store costs over the disk.
//!
//! Each line has appends a second through the store, each answered after a sync, with so many under way at once;
//! then the limit, taken in the same run: the same bytes written to a preallocated file by one thread, as many
//! commits as are under way with each sync; and their ratio. The rounds of both alternate, and the median is
//! shown, since the machines it runs on are shared.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use catga::{Append, Commit, EventFrame, EventId, EventStore, FileStore, StreamId, Timestamp};
use tokio::task::JoinSet;

const ROUNDS: usize = 5;
const TIME: Duration = Duration::from_millis(600);

fn frame(stream: &StreamId) -> Bytes {
    let event = EventFrame { id: EventId::nil(), name: "Benched", schema: 1, payload: &[7; 120] };
    let commit = Commit {
        stream: stream.as_str(),
        first_version: 1,
        time: Timestamp::from_micros(1_700_000_000_000_000),
        node: "bench",
        command: None,
        correlation: None,
        causation: None,
        traceparent: None,
        events: vec![event],
    };
    commit.encode()
}

fn per_second(n: usize, begin: Instant) -> f64 {
    f64::from(u32::try_from(n).expect("few")) / begin.elapsed().as_secs_f64()
}

/// Appends a second by `tasks` tasks, each to new streams.
async fn through_store(store: &Arc<FileStore>, tasks: usize, round: usize) -> f64 {
    let begin = Instant::now();
    let mut running = JoinSet::new();
    for task in 0..tasks {
        let store = store.clone();
        running.spawn(async move {
            let mut n = 0;
            while begin.elapsed() < TIME {
                let stream = StreamId::new("bench", &format!("{tasks}-{round}-{task}-{n}"));
                let stream = stream.expect("a plain key");
                let frame = frame(&stream);
                let append = Append { stream: &stream, version: 0, token: 0, events: 1, frame };
                store.append(append).await.expect("the stream is new");
                n += 1;
            }
            n
        });
    }
    let n = running.join_all().await.iter().sum();
    per_second(n, begin)
}

/// The same bytes, as many commits with each sync, written as fast as the disk takes them.
fn bare(directory: &Path, commits: usize) -> f64 {
    const SIZE: u64 = 16 << 20;
    let stream = StreamId::new("bench", "64-0-63-1000").expect("a plain key");
    let bytes = vec![7; commits * (frame(&stream).len() + 20)];
    let path = directory.join("bare");
    let file = File::create(&path).expect("a file");
    file.write_all_at(&vec![0; 16 << 20], 0).and_then(|()| file.sync_all()).expect("a disk");
    let (begin, mut n, mut offset) = (Instant::now(), 0, 0);
    while begin.elapsed() < TIME {
        if offset + bytes.len() as u64 > SIZE {
            offset = 0;
        }
        file.write_all_at(&bytes, offset).and_then(|()| file.sync_data()).expect("a disk");
        offset += bytes.len() as u64;
        n += commits;
    }
    let rate = per_second(n, begin);
    std::fs::remove_file(path).expect("it is there");
    rate
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    let directory = parent.join(format!("catga-bench-{}", std::process::id()));
    let store = Arc::new(FileStore::open(&directory)?);
    for (name, value) in store.durability().await?.settings {
        println!("{name}: {value}");
    }
    println!("in flight   store/s     bare/s  ratio");
    for tasks in [1, 16, 64, 256] {
        let (mut through, mut limit) = (Vec::new(), Vec::new());
        for round in 0..ROUNDS {
            through.push(through_store(&store, tasks, round).await);
            limit.push(bare(&directory, tasks));
        }
        let (through, limit) = (median(through), median(limit));
        println!("{tasks:>9} {through:>9.0} {limit:>10.0}  {:>5.2}", through / limit);
    }
    let (head, begin) = (store.head().await?, Instant::now());
    drop(store);
    let store = FileStore::open(&directory)?;
    assert_eq!(store.head().await?, head);
    println!("closed and opened again with {head} commits: {:?}", begin.elapsed());
    let (begin, mut after) = (Instant::now(), 0);
    while let Some(last) = store.read_log(after, 1000).await?.last() {
        after = last.position;
    }
    println!(
        "read from the first to the last: {:.0} commits/s",
        per_second(usize::try_from(head)?, begin)
    );
    drop(store);
    std::fs::remove_dir_all(directory)?;
    Ok(())
}
