//! What time it is for a command, and in its stream.

use std::time::Duration;

use catga::{log::Version, prelude::*, store::Backend};

#[catga::event]
#[derive(Copy)]
struct Stamped {
    at: Timestamp,
}

#[derive(Clone, Default)]
struct Sheet {
    stamps: u32,
}

impl Aggregate for Sheet {
    type Event = Stamped;
    const NAME: &str = "clock-sheet";

    fn apply(&mut self, _: Stamped) {
        self.stamps += 1;
    }
}

#[catga::command]
struct Stamp {
    #[key]
    sheet: String,
}

#[command_handler]
async fn stamp(_: Stamp, clock: &Clock, sheet: &mut Root<Sheet>) -> Timestamp {
    let at = clock.now();
    // The machine's clock is another one now.
    let before = Clock::system().now();
    while Clock::system().now() <= before {
        tokio::task::yield_now().await;
    }
    assert_eq!(clock.now(), at, "the time of one run");
    sheet.record(Stamped { at });
    at
}

/// Of each event what its handler and its commit say, and how many stamps there were at that time.
#[catga::query]
struct Stamps {
    #[key]
    sheet: String,
}

#[query_handler]
async fn stamps(
    _: Stamps,
    sheet: &History<Sheet>,
) -> catga::Result<Vec<(Timestamp, Timestamp, u32)>> {
    let mut found = Vec::new();
    for event in sheet.events(Version::FIRST, 100).await? {
        let then = sheet.at_time(event.at).await?;
        found.push((event.at, event.time, then.map_or(0, |then| then.stamps)));
    }
    Ok(found)
}

fn command() -> Stamp {
    Stamp { sheet: "a".to_owned() }
}

#[tokio::test]
async fn a_handler_and_its_commit_have_one_time() {
    let catga = Catga::builder().start().await.unwrap();
    for _ in 0..20 {
        catga.send(command()).await.unwrap();
    }
    let found = catga.query(Stamps { sheet: "a".to_owned() }).await.unwrap();
    for (i, (at, time, stamps)) in (1..).zip(found) {
        assert_eq!((at, stamps), (time, i), "stamp {i}");
    }
    catga.shutdown().await;
}

#[tokio::test]
async fn time_never_goes_back_in_a_stream_whatever_the_clocks() {
    let backend = Backend::memory();
    let at = |second: i64| Clock::manual(Timestamp::from_micros(second * 1_000_000));
    let (right, ahead) = (at(1000), at(1010));
    let node =
        |clock: &Clock| Catga::builder().backend(backend.clone()).clock(clock.clone()).start();
    let (first, second) = (node(&right).await.unwrap(), node(&ahead).await.unwrap());
    for catga in [&first, &second, &first, &first] {
        catga.send(command()).await.unwrap();
        right.advance(Duration::from_secs(1));
    }
    right.advance(Duration::from_secs(20));
    first.send(command()).await.unwrap();
    // One that has nothing cached replays.
    let third = node(&at(5)).await.unwrap();
    third.send(command()).await.unwrap();
    let found = third.query(Stamps { sheet: "a".to_owned() }).await.unwrap();
    let seconds: Vec<_> = found.iter().map(|(at, ..)| at.as_micros() / 1_000_000).collect();
    assert_eq!(seconds, [1000, 1010, 1010, 1010, 1024, 1024]);
    assert!(found.iter().all(|(at, time, _)| at == time), "{found:?}");
    let counts: Vec<_> = found.iter().map(|(.., stamps)| *stamps).collect();
    assert_eq!(counts, [1, 4, 4, 4, 6, 6]);
    for catga in [first, second, third] {
        catga.shutdown().await;
    }
}
