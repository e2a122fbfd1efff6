//! P1 atomic: a commit is stored whole at the expected version, or refused as a conflict.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    rule::{Broken, Ground, Rule, Verdict, ensure, ensure_eq, rule},
    writer::{Writer, commit, positions, stream, whole_log},
};
use crate::{
    log::{EventFrame, EventId, MAX_EVENTS, MAX_KEY, StreamId},
    store::{AppendError, EventStore},
    testing,
};

pub(super) const RULES: &[Rule] = &[
    rule!(Atomic, a_new_log_is_empty),
    rule!(Atomic, an_append_takes_a_position_for_each_event),
    rule!(Atomic, an_append_at_another_version_conflicts),
    rule!(Atomic, a_conflict_tells_the_version),
    rule!(Atomic, a_conflict_writes_nothing),
    rule!(Atomic, a_conflict_is_about_one_stream),
    rule!(Atomic, streams_of_similar_names_are_apart),
    rule!(Atomic, the_largest_commit_is_whole),
    rule!(Atomic, a_commit_that_is_refused_is_not_written),
    rule!(Atomic, one_of_many_writers_wins),
    rule!(Atomic, one_of_the_writers_on_two_handles_wins),
];

async fn a_new_log_is_empty(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    ensure_eq!(store.head().await?, 0, "the head");
    ensure!(store.read_log(0.into(), 10).await?.is_empty(), "there is a commit in the log");
    let none = stream("none");
    ensure!(store.read_stream(&none, 1.into(), 10).await?.is_empty(), "a stream has a commit");
    ensure_eq!(store.read_short(&none, 10).await?, Some(Vec::new()), "read_short of no stream");
    Ok(())
}

async fn an_append_takes_a_position_for_each_event(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let (mut a, mut b) = (Writer::new(&store, "place-a"), Writer::new(&store, "place-b"));
    let first = a.append(1).await?;
    let second = a.append(3).await?;
    let third = b.append(1).await?;
    ensure!(first.position >= 1, "the first position is {}", first.position);
    ensure!(first.position < second.position, "{second:?} follows {first:?}");
    ensure!(second.position + 2 < third.position, "{third:?} follows 3 events at {second:?}");
    ensure_eq!(store.head().await?, third.position, "the head is the last event");
    let records = a.whole_stream().await?;
    ensure_eq!(positions(&records), [first.position, second.position], "where the commits are");
    let tokens: Vec<_> = records.iter().map(|record| record.token).collect();
    ensure_eq!(tokens, [first.token, second.token], "a commit has the token of its append");
    Ok(())
}

/// A stream at version 2, and appends to it that must be refused.
async fn conflicts(
    store: &Arc<dyn EventStore>,
    key: &str,
) -> Result<(Writer, Vec<(u64, AppendError)>), Broken> {
    let mut writer = Writer::new(store, key);
    let start = writer.clone();
    writer.append(2).await?;
    let mut conflicts = Vec::new();
    // Before its begin, inside a commit, and behind its end.
    for (writer, version) in [(&start, 0), (&writer, 1), (&writer, 3), (&writer, 1_000)] {
        match writer.try_append(version.into(), 1).await {
            Err(error) => conflicts.push((version, error)),
            Ok(_) => {
                let what = format!("an append at version {version} of a stream at 2 went well");
                return Err(Broken::new(what));
            }
        }
    }
    Ok((writer, conflicts))
}

async fn an_append_at_another_version_conflicts(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let (_, conflicts) = conflicts(&store, "conflict").await?;
    for (version, error) in conflicts {
        let is_conflict = matches!(error, AppendError::Conflict { .. });
        ensure!(is_conflict, "an append at version {version} of a stream at 2: {error:?}");
    }
    match Writer::new(&store, "conflict-none").try_append(5.into(), 1).await {
        Err(AppendError::Conflict { .. }) => Ok(()),
        other => Err(Broken::new(format!("an append at version 5 of no stream: {other:?}"))),
    }
}

async fn a_conflict_tells_the_version(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let (_, conflicts) = conflicts(&store, "actual").await?;
    for (version, error) in conflicts {
        let AppendError::Conflict { actual } = error else { continue };
        ensure_eq!(actual, 2, "the actual version, at a conflict at version {version}");
    }
    if let Err(AppendError::Conflict { actual }) =
        Writer::new(&store, "actual-none").try_append(5.into(), 1).await
    {
        ensure_eq!(actual, 0, "the actual version of a stream that does not exist");
    }
    Ok(())
}

async fn a_conflict_writes_nothing(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let before = store.head().await?;
    let (mut writer, _) = conflicts(&store, "nothing").await?;
    let log = whole_log(&*store, before, 100).await?;
    ensure_eq!(log.len(), 1, "the commits in the log after four conflicts");
    ensure_eq!(store.head().await?, log[0].end()?, "the head after four conflicts");
    ensure_eq!(writer.whole_stream().await?.len(), 1, "the commits in the stream");
    writer.append(1).await?;
    let none = Writer::new(&store, "nothing-none");
    let _ = none.try_append(5.into(), 1).await;
    ensure!(none.whole_stream().await?.is_empty(), "a conflict made a stream");
    ensure_eq!(whole_log(&*store, before, 100).await?.len(), 2, "the commits in the log");
    Ok(())
}

async fn a_conflict_is_about_one_stream(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let mut writers = ["one-a", "one-b", "one-c"].map(|key| Writer::new(&store, key));
    for events in 1..5 {
        for writer in &mut writers {
            writer.append(events).await?;
        }
    }
    for writer in &writers {
        ensure_eq!(writer.whole_stream().await?.len(), 4, "the commits of a stream");
    }
    Ok(())
}

async fn streams_of_similar_names_are_apart(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let long = "x".repeat(MAX_KEY);
    let names = [
        ("similar", "a"),
        ("similar", "A"),
        ("Similar", "a"),
        ("similar", "a-"),
        ("similar", "a_"),
        ("similar-a", "a"),
        ("a", "similar"),
        ("similar", &long),
        ("similar", &long[1..]),
        (&long, &long),
    ];
    let streams = names.map(|(aggregate, key)| StreamId::new(aggregate, key).expect("a name"));
    for stream in &streams {
        testing::append(&*store, &commit(stream, 0.into(), 1), 0).await?;
    }
    for stream in &streams {
        let records = store.read_stream(stream, 1.into(), 10).await?;
        ensure_eq!(records.len(), 1, "the commits of {stream}");
        ensure_eq!(records[0].commit()?.stream, stream.as_str(), "what {stream} holds");
    }
    Ok(())
}

async fn the_largest_commit_is_whole(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let mut writer = Writer::new(&store, "largest");
    let appended = writer.append(MAX_EVENTS).await?;
    for version in [1, 500, MAX_EVENTS as u64] {
        let records = store.read_stream(&writer.stream, version.into(), 10).await?;
        ensure_eq!(records.len(), 1, "the commits from version {version} on");
        ensure_eq!(records[0].commit()?.events.len(), MAX_EVENTS, "the events of the commit");
    }
    let last = appended.position + MAX_EVENTS as u64 - 1;
    ensure_eq!(store.head().await?, last, "the head is its last event");
    writer.append(1).await?;
    Ok(())
}

/// A store may take a commit of 2 MiB or not, and must know which.
async fn a_commit_that_is_refused_is_not_written(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let mut writer = Writer::new(&store, "refused");
    writer.append(1).await?;
    let head = store.head().await?;
    let payload = vec![7; 2 << 20];
    let event = EventFrame { id: EventId::new_v4(), name: "Tested", schema: 1, payload: &payload };
    let stream = writer.stream.clone();
    let large = testing::commit(&stream, 1.into(), [event]);
    match testing::append(&*store, &large, writer.token).await {
        Ok(appended) => {
            let records = store.read_stream(&writer.stream, 2.into(), 10).await?;
            ensure_eq!(records.len(), 1, "the commits that hold the large event");
            ensure!(records[0].frame == large.encode(), "the large commit is another one");
            (writer.version, writer.token) = (2.into(), appended.token);
        }
        Err(AppendError::Refused(_)) => {
            ensure_eq!(store.head().await?, head, "the head after a refusal");
            ensure_eq!(writer.whole_stream().await?.len(), 1, "the stream after a refusal");
        }
        Err(error) => return Err(Broken::new(format!("a commit of 2 MiB: {error:?}"))),
    }
    writer.append(1).await?;
    Ok(())
}

async fn one_of_many_writers_wins(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    race(&[store], "race").await
}

async fn one_of_the_writers_on_two_handles_wins(ground: &Ground<'_>) -> Verdict {
    let stores = [ground.open().await.store, ground.open().await.store];
    race(&stores, "race-two").await
}

/// Sixteen appends at each of twenty versions, in turn through each of `stores`.
async fn race(stores: &[Arc<dyn EventStore>], key: &str) -> Verdict {
    let mut writer = Writer::new(&stores[0], key);
    for version in 0..20 {
        let tasks = (0..16).map(|i| {
            let writer = Writer { store: stores[i % stores.len()].clone(), ..writer.clone() };
            tokio::spawn(async move { writer.try_append(version.into(), 1).await })
        });
        let outcomes = join_all(tasks).await.into_iter().map(|o| o.expect("no append panics"));
        let outcomes: Vec<_> = outcomes.collect();
        let won: Vec<_> = outcomes.iter().filter_map(|o| o.as_ref().ok()).collect();
        ensure_eq!(won.len(), 1, "how many of 16 appends at version {version} win");
        for error in outcomes.iter().filter_map(|outcome| outcome.as_ref().err()) {
            let is_conflict = matches!(error, AppendError::Conflict { .. });
            ensure!(is_conflict, "an append that lost a race: {error:?}");
        }
        writer.token = won[0].token;
    }
    ensure_eq!(writer.whole_stream().await?.len(), 20, "the commits of the stream");
    Ok(())
}
