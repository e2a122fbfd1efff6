//! P2 durable: an acknowledged commit survives what the store says it survives.
//!
//! What a power cut or a kill takes can't be tried from within the process: here it is only tried that a start finds
//! what was acknowledged before a stop, and that the store says how much more it promises.

use super::{
    rule::{Ground, Rule, Verdict, ensure, ensure_eq, rule},
    writer::{Writer, ensure_same, whole_log},
};

pub(super) const LOG_RULES: &[Rule] =
    &[rule!(Durable, the_store_says_what_a_commit_survives), rule!(Durable, a_log_has_one_id)];

pub(super) const RULES: &[Rule] =
    &[rule!(Durable, a_start_finds_every_commit), rule!(Durable, a_start_finds_every_value)];

async fn the_store_says_what_a_commit_survives(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let before = store.durability().await?;
    Writer::new(&store, "durable").append(1).await?;
    ensure_eq!(store.durability().await?.level, before.level, "the level after an append");
    Ok(())
}

async fn a_log_has_one_id(ground: &Ground<'_>) -> Verdict {
    let (a, b) = (ground.open().await.store, ground.open().await.store);
    let id = a.log_id();
    ensure_eq!(b.log_id(), id, "the id that another handle has");
    Writer::new(&a, "one-id").append(1).await?;
    ensure_eq!(a.log_id(), id, "the id after an append");
    Ok(())
}

async fn a_start_finds_every_commit(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let (mut a, mut b) = (Writer::new(&store, "start-a"), Writer::new(&store, "start-b"));
    for events in 1..20 {
        a.append(events).await?;
        b.append(1).await?;
    }
    let (log, head) = (whole_log(&*store, 0.into(), 7).await?, store.head().await?);
    let id = store.log_id();
    // The last handles: what comes next is a start.
    let [a, b] = [a, b].map(|Writer { stream, version, token, .. }| (stream, version, token));
    drop(store);

    let store = ground.open().await.store;
    ensure_eq!(store.log_id(), id, "the log's id after a start");
    ensure_eq!(store.head().await?, head, "the head after a start");
    ensure_same(&whole_log(&*store, 0.into(), 7).await?, &log, "the log after a start")?;
    for (stream, version, token) in [a, b] {
        let mut writer = Writer { store: store.clone(), stream, version, token };
        ensure_eq!(writer.whole_stream().await?.len(), 19, "the commits of a stream");
        let appended = writer.append(1).await?;
        ensure!(appended.position > head, "a position was given out twice: {appended:?}");
    }
    Ok(())
}

async fn a_start_finds_every_value(ground: &Ground<'_>) -> Verdict {
    let kv = ground.open().await.kv;
    let mut revisions = Vec::new();
    for i in 0..20 {
        let put = kv.put(&format!("start/{i}"), i.to_string().into(), 0, None).await?;
        ensure!(put.is_some(), "a free key was taken");
        revisions.extend(put);
    }
    ensure!(kv.delete("start/0", revisions[0]).await?, "a value could not be deleted");
    drop(kv);

    let kv = ground.open().await.kv;
    ensure_eq!(kv.get("start/0").await?, None, "a value that was deleted");
    for (i, revision) in revisions.iter().copied().enumerate().skip(1) {
        let entry = kv.get(&format!("start/{i}")).await?;
        let found = entry.map(|entry| (entry.value, entry.revision));
        ensure_eq!(found, Some((i.to_string().into(), revision)), "value {i} after a start");
    }
    let again = kv.put("start/0", "again".into(), 0, None).await?;
    ensure!(again > Some(revisions[0]), "a revision came back after a start: {again:?}");
    Ok(())
}
