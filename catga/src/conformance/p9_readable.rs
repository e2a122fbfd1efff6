//! P9 readable for ever: what comes back is what was stored, byte for byte, and what a program can't read is named.

use super::{
    program::{Entered, Program},
    rule::{Broken, Ground, Rule, Verdict, ensure, ensure_eq, rule},
    writer::{stream, whole_log},
};
use crate::{
    log::{CommandRecord, Commit, EventFrame, EventId, StreamId, Timestamp},
    store::EventStore,
    testing,
};

pub(super) const LOG_RULES: &[Rule] = &[rule!(ReadableForever, a_commit_comes_back_byte_for_byte)];

pub(super) const RULES: &[Rule] = &[
    rule!(ReadableForever, a_start_reads_every_byte),
    rule!(ReadableForever, an_event_of_an_unknown_type_is_named),
];

/// A commit that has all that a commit can have, with every byte in its payload.
fn full<'a>(stream: &'a StreamId, payload: &'a [u8]) -> Commit<'a> {
    let event = |i| EventFrame { id: EventId::from_u128(i), name: "Tested", schema: 7, payload };
    Commit {
        time: Timestamp::from_micros(-1_000_001),
        node: "a node, with \u{e9}\u{1f600}\0",
        command: Some(CommandRecord { id: "an id", fingerprint: u64::MAX, reply: payload }),
        correlation: Some("correlation"),
        causation: Some(EventId::from_u128(u128::MAX)),
        traceparent: Some("00-1-2-01"),
        ..testing::commit(stream, 0.into(), (1..=3).map(event))
    }
}

/// Payloads of every byte, of nothing, and of many lengths.
fn payloads() -> Vec<Vec<u8>> {
    let bytes = |length| (0..=u8::MAX).cycle().take(length).collect();
    [0, 1, 256, 1000, 1024, 4096, 10_000, 65_536, 200_000].into_iter().map(bytes).collect()
}

fn key(i: usize) -> StreamId {
    stream(&format!("bytes{i}"))
}

async fn store_all(store: &dyn EventStore) -> Verdict {
    for (i, payload) in payloads().iter().enumerate() {
        testing::append(store, &full(&key(i), payload), 0).await?;
    }
    Ok(())
}

/// Checks what is read of each commit, one way and the other.
async fn read_all(store: &dyn EventStore, start: u64) -> Verdict {
    let log = whole_log(store, start.into(), 4).await?;
    for (i, payload) in payloads().iter().enumerate() {
        let (stream, length) = (key(i), payload.len());
        let frame = full(&stream, payload).encode();
        let short = store.read_short(&stream, 10).await?.unwrap_or_default();
        let of_stream = store.read_stream(&stream, 1.into(), 10).await?;
        for (how, records) in [
            ("read_stream", &of_stream[..]),
            ("read_short", &short),
            ("read_log", log.get(i..=i).unwrap_or_default()),
        ] {
            ensure_eq!(records.len(), 1, "the commits of {stream} in {how}");
            let is_whole = records[0].frame == frame;
            ensure!(is_whole, "{how} gives other bytes, of payloads of {length} bytes");
        }
    }
    Ok(())
}

async fn a_commit_comes_back_byte_for_byte(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let start = store.head().await?;
    store_all(&*store).await?;
    read_all(&*store, start.get()).await?;
    // As another node reads it.
    read_all(&*ground.open().await.store, start.get()).await
}

async fn a_start_reads_every_byte(ground: &Ground<'_>) -> Verdict {
    store_all(&*ground.open().await.store).await?;
    read_all(&*ground.open().await.store, 0).await
}

async fn an_event_of_an_unknown_type_is_named(ground: &Ground<'_>) -> Verdict {
    let stores = ground.open().await;
    let program = Program::start(stores.clone()).await?;
    let strange = |name| EventFrame { id: EventId::new_v4(), name, schema: 4, payload: &[0xFF] };
    let (known, unknown) = (stream("known"), stream("unknown"));
    let later = testing::commit(
        &known,
        0.into(),
        [EventFrame {
            schema: Entered::TYPE.version,
            payload: &[1],
            ..strange(Entered::TYPE.name)
        }],
    );
    testing::append(&*stores.store, &later, 0).await?;
    ensure_eq!(program.total().await?, 1, "the sum before the event of an unknown type");
    testing::append(&*stores.store, &testing::commit(&unknown, 0.into(), [strange("Strange")]), 0)
        .await?;
    let error = match program.total().await {
        Ok(sum) => {
            return Err(Broken::new(format!("an event of an unknown type was skipped: {sum}")));
        }
        Err(error) => error.to_string(),
    };
    ensure!(error.contains("`Strange`") && error.contains("version 4"), "the error is: {error}");
    program.stop().await;
    Ok(())
}
