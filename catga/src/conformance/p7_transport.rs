//! P7, the topic: every commit of the log gets there once and in order, and each position can be resumed from.

use std::{sync::Arc, time::Duration};

use tokio::time::timeout;

use super::{
    rule::{Broken, Ground, Rule, Verdict, ensure, ensure_eq, rule},
    writer::{Writer, ensure_same, whole_log},
};
use crate::{
    cluster::Work,
    log::{Position, Record},
    react::{Relay, WorkState},
    store::{EventStore, InMemoryTransport, Transport},
};

pub(super) const RULES: &[Rule] = &[
    rule!(AtLeastOnce, an_empty_log_makes_an_empty_topic),
    rule!(AtLeastOnce, the_topic_is_the_log),
    rule!(AtLeastOnce, the_topic_ends_where_the_log_does),
    rule!(AtLeastOnce, a_topic_is_read_on_from_any_commit),
    rule!(AtLeastOnce, a_page_of_a_topic_is_no_longer_than_its_limit),
    rule!(AtLeastOnce, what_is_in_the_topic_is_not_added_again),
    rule!(AtLeastOnce, nothing_is_added_behind_a_gap),
    rule!(AtLeastOnce, of_two_relays_at_once_each_commit_comes_once),
    rule!(AtLeastOnce, a_reader_of_a_topic_is_woken),
    rule!(AtLeastOnce, a_reader_of_a_topic_who_need_not_wait_is_not_held_up),
];

/// How long a reader who waits may sleep on.
const WAKE: Duration = Duration::from_secs(10);

/// A log and its topic.
struct Topic {
    store: Arc<dyn EventStore>,
    transport: Arc<dyn Transport>,
}

impl Topic {
    async fn open(ground: &Ground<'_>) -> Self {
        let stores = ground.open().await;
        let store = stores.store;
        let log_itself = || Arc::new(InMemoryTransport::new(store.clone()));
        let transport = stores.transport.unwrap_or_else(|| log_itself());
        Self { store, transport }
    }

    /// Appends commits of one to three events to ten streams in turn, which nobody has written to before.
    async fn fill(&self, key: &str, commits: usize) -> Verdict {
        let writer = |i| Writer::new(&self.store, &format!("{key}{i}"));
        let mut writers: Vec<_> = (0..10).map(writer).collect();
        for i in 0..commits {
            writers[i * 7 % 10].append(i % 3 + 1).await?;
        }
        Ok(())
    }

    /// Brings what the log has by now to the topic.
    async fn catch_up(&self) -> Result<Position, Broken> {
        let relay = Relay {
            store: self.store.clone(),
            transport: self.transport.clone(),
            state: Arc::new(WorkState::new(Work::Relay)),
        };
        Ok(relay.catch_up().await?)
    }

    /// A topic of 50 commits, and all of them.
    async fn filled(ground: &Ground<'_>, key: &str) -> Result<(Self, Vec<Record>), Broken> {
        let topic = Self::open(ground).await;
        topic.fill(key, 50).await?;
        topic.catch_up().await?;
        let log = topic.log().await?;
        Ok((topic, log))
    }

    async fn log(&self) -> Result<Vec<Record>, Broken> {
        whole_log(&*self.store, 0.into(), 1000).await
    }

    /// All there is after `after`, in pages of seven.
    async fn read(&self, mut after: Position) -> Result<Vec<Record>, Broken> {
        let mut all = Vec::new();
        loop {
            let page = self.transport.read(after, 7).await?;
            let Some(last) = page.last() else { return Ok(all) };
            let end = last.end()?;
            ensure!(end > after, "a page of the topic after {after} ends at {end}");
            after = end;
            all.extend(page);
        }
    }

    /// Checks that the topic holds what the log does, once.
    async fn is_log(&self, when: &str) -> Verdict {
        let (topic, log) = (self.read(0.into()).await?, self.log().await?);
        ensure_same(&topic, &log, &format!("the topic {when}"))
    }
}

async fn an_empty_log_makes_an_empty_topic(ground: &Ground<'_>) -> Verdict {
    let topic = Topic::open(ground).await;
    if topic.store.head().await? == 0 {
        ensure_eq!(topic.catch_up().await?, 0, "where the relay of an empty log is");
        ensure_eq!(topic.transport.end().await?, 0, "where an empty topic ends");
        ensure!(topic.transport.read(0.into(), 7).await?.is_empty(), "an empty topic has a commit");
    }
    Ok(())
}

async fn the_topic_is_the_log(ground: &Ground<'_>) -> Verdict {
    let (topic, _) = Topic::filled(ground, "topic").await?;
    topic.is_log("after a relay").await?;
    topic.fill("topic-more", 50).await?;
    topic.catch_up().await?;
    topic.is_log("after a relay went on").await
}

async fn the_topic_ends_where_the_log_does(ground: &Ground<'_>) -> Verdict {
    let (topic, log) = Topic::filled(ground, "ends").await?;
    let end = log.last().expect("50 commits were made").end()?;
    ensure_eq!(topic.transport.end().await?, end, "where the topic ends");
    ensure_eq!(topic.catch_up().await?, end, "where a relay with nothing to do is");
    Ok(())
}

async fn a_topic_is_read_on_from_any_commit(ground: &Ground<'_>) -> Verdict {
    let (topic, log) = Topic::filled(ground, "from").await?;
    for (i, record) in log.iter().enumerate() {
        let end = record.end()?;
        let rest = topic.read(end).await?;
        ensure_same(&rest, &log[i + 1..], &format!("the topic after {end}"))?;
        for before in record.position.get() - 1..end.get() {
            let found = topic.transport.read(before.into(), 1).await?;
            ensure_same(&found, &log[i..=i], &format!("a page of one after {before}"))?;
        }
    }
    Ok(())
}

async fn a_page_of_a_topic_is_no_longer_than_its_limit(ground: &Ground<'_>) -> Verdict {
    let (topic, log) = Topic::filled(ground, "limit").await?;
    for limit in [1, 7, 50, 100] {
        let page = topic.transport.read(0.into(), limit).await?;
        ensure!((1..=limit).contains(&page.len()), "a page of {limit} has {}", page.len());
        ensure_same(&page, &log[..page.len()], &format!("a page of {limit}"))?;
    }
    Ok(())
}

async fn what_is_in_the_topic_is_not_added_again(ground: &Ground<'_>) -> Verdict {
    let (topic, log) = Topic::filled(ground, "twice").await?;
    let middle = log.len() / 2;
    for (after, records) in [(Position::ZERO, &log[..]), (log[middle].end()?, &log[middle + 1..])] {
        // A relay whose answer was lost, and one that was asleep.
        let is_added = topic.transport.publish(after, records).await?;
        ensure!(!is_added, "commits after {after} were added to a topic that has them");
        topic.is_log("after they were published again").await?;
    }
    Ok(())
}

async fn nothing_is_added_behind_a_gap(ground: &Ground<'_>) -> Verdict {
    let (topic, log) = Topic::filled(ground, "gap").await?;
    topic.fill("gap-more", 10).await?;
    let more = topic.log().await?.split_off(log.len());
    for (after, records) in
        [(more[0].end()?, &more[1..]), (0.into(), &more[..]), ((1 << 40).into(), &more[..])]
    {
        let is_added = topic.transport.publish(after, records).await?;
        ensure!(!is_added, "commits were added to a topic that does not end at {after}");
    }
    topic.catch_up().await?;
    topic.is_log("after commits came too early").await
}

async fn of_two_relays_at_once_each_commit_comes_once(ground: &Ground<'_>) -> Verdict {
    let topic = Topic::open(ground).await;
    let (one, two) = (Topic::open(ground).await, Topic::open(ground).await);
    for round in 0..5 {
        topic.fill(&format!("relays{round}-"), 100).await?;
        let (one, two) = tokio::join!(one.catch_up(), two.catch_up());
        let end = topic.store.head().await?;
        ensure_eq!((one?, two?), (end, end), "where both relays are");
        topic.is_log("after two relays at once").await?;
    }
    Ok(())
}

async fn a_reader_of_a_topic_is_woken(ground: &Ground<'_>) -> Verdict {
    let topic = Topic::open(ground).await;
    for round in 0..5 {
        let (transport, end) = (topic.transport.clone(), topic.transport.end().await?);
        let mut waiting = tokio::spawn(async move { transport.wait(end).await });
        // It may return too early, but it must have begun.
        let _ = timeout(Duration::from_millis(5), &mut waiting).await;
        topic.fill(&format!("woken{round}-"), 1).await?;
        topic.catch_up().await?;
        if !waiting.is_finished() {
            timeout(WAKE, waiting).await?.expect("no panic")?;
        }
    }
    Ok(())
}

async fn a_reader_of_a_topic_who_need_not_wait_is_not_held_up(ground: &Ground<'_>) -> Verdict {
    let (topic, log) = Topic::filled(ground, "held").await?;
    for after in [Position::ZERO, log[log.len() / 2].position] {
        timeout(WAKE, topic.transport.wait(after)).await??;
    }
    Ok(())
}
