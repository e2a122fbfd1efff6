//! P5 never skipped: every reader of the log sees every commit, in one order, without a gap or a repeat.

use std::{collections::HashSet, time::Duration};

use futures_util::future::join_all;
use tokio::time::timeout;

use super::{
    rule::{Broken, Ground, Rule, Verdict, ensure, ensure_eq, rule},
    writer::{Writer, ensure_same, positions, whole_log},
};
use crate::{
    log::{Position, Version},
    store::EventStore,
};

pub(super) const RULES: &[Rule] = &[
    rule!(NeverSkipped, positions_rise_and_fit_in_a_json_number),
    rule!(NeverSkipped, pages_make_up_the_log),
    rule!(NeverSkipped, a_read_resumes_behind_any_position),
    rule!(NeverSkipped, pages_make_up_a_stream),
    rule!(NeverSkipped, a_version_inside_a_commit_finds_the_commit),
    rule!(NeverSkipped, a_short_read_is_the_begin_of_the_stream),
    rule!(NeverSkipped, readers_among_writers_see_one_order),
    rule!(NeverSkipped, readers_of_another_handle_see_the_same_order),
    rule!(NeverSkipped, a_reader_who_waits_is_woken),
    rule!(NeverSkipped, a_reader_who_need_not_wait_is_not_held_up),
];

/// How long a reader who waits may sleep on.
const WAKE: Duration = Duration::from_secs(10);

/// A stream of fifty commits of one to three events, among those of another one.
async fn fifty(ground: &Ground<'_>, key: &str) -> Result<Writer, Broken> {
    let store = ground.open().await.store;
    let mut other = Writer::new(&store, &format!("{key}-other"));
    let mut writer = Writer::new(&store, key);
    for i in 0..50 {
        writer.append(i % 3 + 1).await?;
        if i % 7 == 0 {
            other.append(2).await?;
        }
    }
    Ok(writer)
}

async fn positions_rise_and_fit_in_a_json_number(ground: &Ground<'_>) -> Verdict {
    let writer = fifty(ground, "rise").await?;
    let mut last = 0;
    for record in whole_log(&*writer.store, 0.into(), 1000).await? {
        ensure!(record.position > last, "{} follows {last}", record.position);
        last = (record.end()?).get();
    }
    ensure!(last < 1 << 53, "{last} is too large");
    Ok(())
}

async fn pages_make_up_the_log(ground: &Ground<'_>) -> Verdict {
    let Writer { store, .. } = fifty(ground, "pages").await?;
    let whole = whole_log(&*store, 0.into(), 1000).await?;
    for page in [1, 2, 7, 50] {
        let paged = whole_log(&*store, 0.into(), page).await?;
        ensure_same(&paged, &whole, &format!("the log in pages of {page}"))?;
    }
    Ok(())
}

async fn a_read_resumes_behind_any_position(ground: &Ground<'_>) -> Verdict {
    let Writer { store, .. } = fifty(ground, "resume").await?;
    let whole = whole_log(&*store, 0.into(), 1000).await?;
    for (i, record) in whole.iter().enumerate() {
        // A position inside a commit finds that commit, and its last one does not.
        for after in record.position.get() - 1..record.end()?.get() {
            let rest = store.read_log(after.into(), 1000).await?;
            ensure_same(&rest, &whole[i..], &format!("the log after {after}"))?;
        }
    }
    let head = store.head().await?;
    for after in [head, head + 1, head + 1000] {
        ensure!(store.read_log(after, 10).await?.is_empty(), "there is a commit after {after}");
    }
    Ok(())
}

async fn pages_make_up_a_stream(ground: &Ground<'_>) -> Verdict {
    let writer = fifty(ground, "stream").await?;
    for limit in [1, 4, 49] {
        let mut next = Version::FIRST;
        loop {
            let page = writer.store.read_stream(&writer.stream, next, limit).await?;
            ensure!(page.len() <= limit, "a page of {limit} holds {}", page.len());
            for record in &page {
                let commit = record.commit()?;
                let found = (commit.first_version, commit.stream);
                ensure_eq!(found, (next, writer.stream.as_str()), "the next commit of a stream");
                next = commit.last_version().next();
            }
            ensure!(page.len() == limit || next == writer.version + 1, "a page ends too early");
            if page.is_empty() {
                break;
            }
        }
        ensure_eq!(next, writer.version + 1, "where the stream ends in pages of {limit}");
    }
    Ok(())
}

async fn a_version_inside_a_commit_finds_the_commit(ground: &Ground<'_>) -> Verdict {
    let writer = fifty(ground, "inside").await?;
    let whole = writer.whole_stream().await?;
    for (i, record) in whole.iter().enumerate() {
        let commit = record.commit()?;
        for from in commit.first_version.get()..=commit.last_version().get() {
            let found = writer.store.read_stream(&writer.stream, from.into(), 100).await?;
            ensure_eq!(positions(&found), positions(&whole[i..]), "from version {from}");
        }
    }
    for from in [writer.version + 1, writer.version + 100] {
        let found = writer.store.read_stream(&writer.stream, from, 10).await?;
        ensure!(found.is_empty(), "there is a commit behind the end of the stream");
    }
    Ok(())
}

async fn a_short_read_is_the_begin_of_the_stream(ground: &Ground<'_>) -> Verdict {
    let writer = fifty(ground, "short").await?;
    let whole = writer.whole_stream().await?;
    for limit in [1, 20, 50, 99, 100, 1000] {
        match writer.store.read_short(&writer.stream, limit).await? {
            Some(begin) => {
                let wanted = &whole[..limit.min(50)];
                ensure_same(&begin, wanted, &format!("the first {limit} commits"))?;
            }
            None => {
                let events = writer.version;
                ensure!(events > limit as u64, "{events} events are not more than {limit}");
            }
        }
    }
    Ok(())
}

async fn readers_among_writers_see_one_order(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    order([&store, &store].map(Clone::clone), "order").await
}

async fn readers_of_another_handle_see_the_same_order(ground: &Ground<'_>) -> Verdict {
    order([ground.open().await.store, ground.open().await.store], "order-two").await
}

/// Writers and readers at once, the readers through the second of `stores`: each of them sees every commit, in the order
/// in which the log ends up.
async fn order(stores: [std::sync::Arc<dyn EventStore>; 2], key: &str) -> Verdict {
    let [store, other] = stores;
    let start = store.head().await?;
    let (writers, commits) = (8, 50);
    let write = |writer: usize| {
        let mut writer = Writer::new(&store, &format!("{key}{writer}"));
        tokio::spawn(async move {
            for i in 0..commits {
                let appended = writer.append(i % 2 + 1).await?;
                let found = writer.store.read_log(appended.position - 1, 1).await?;
                let found = found.first().map(|record| record.position);
                ensure_eq!(found, Some(appended.position), "an answered commit is in the log");
            }
            Ok(())
        })
    };
    let read = |_| {
        let store = other.clone();
        tokio::spawn(async move {
            let (mut seen, mut after) = (Vec::new(), start);
            while seen.len() < writers * commits {
                timeout(WAKE, store.wait(after)).await??;
                for record in store.read_log(after, 13).await? {
                    after = record.end()?;
                    seen.push(record);
                }
            }
            Ok::<_, Broken>(seen)
        })
    };
    let (writes, reads) =
        tokio::join!(join_all((0..writers).map(write)), join_all((0..3).map(read)));
    for write in writes {
        let written: Verdict = write.expect("no writer panics");
        written?;
    }
    let whole = whole_log(&*store, start, 1000).await?;
    for seen in reads {
        let seen = seen.expect("no reader panics")?;
        ensure_same(&seen, &whole, "what a reader saw")?;
    }
    let unique: HashSet<_> = positions(&whole).into_iter().collect();
    ensure_eq!(unique.len(), writers * commits, "how many positions there are");
    Ok(())
}

async fn a_reader_who_waits_is_woken(ground: &Ground<'_>) -> Verdict {
    let (store, other) = (ground.open().await.store, ground.open().await.store);
    let mut writer = Writer::new(&store, "wake");
    for store in [&store, &other].into_iter().cycle().take(10) {
        let head = store.head().await?;
        let mut waiting = {
            let store = store.clone();
            tokio::spawn(async move { store.wait(head).await })
        };
        // It may return too early, but it must have begun.
        let _ = timeout(Duration::from_millis(5), &mut waiting).await;
        writer.append(1).await?;
        if !waiting.is_finished() {
            timeout(WAKE, waiting).await?.expect("no panic")?;
        }
    }
    Ok(())
}

async fn a_reader_who_need_not_wait_is_not_held_up(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let mut writer = Writer::new(&store, "held-up");
    let first = writer.append(3).await?;
    for after in [Position::ZERO, first.position - 1, first.position, first.position + 1] {
        timeout(WAKE, store.wait(after)).await??;
    }
    Ok(())
}
