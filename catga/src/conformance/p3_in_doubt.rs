//! P3 never lost in doubt: an append whose answer was lost is found, or done, once.
//!
//! The answers are lost between the store and the runtime, whose own logic then finds out what became of the append.

use std::{future::poll_fn, sync::Arc, task::Poll};

use futures_util::future::join_all;

use super::{
    program::{Enter, Program},
    rule::{Broken, Ground, Rule, Verdict, ensure, ensure_eq, rule},
    writer::{Writer, commit, whole_log},
};
use crate::{
    store::{Append, Appended, EventStore, NotAppended, append_once},
    testing::{self, Fault, ScriptedStore},
};

pub(super) const RULES: &[Rule] = &[
    rule!(NeverLostInDoubt, an_append_whose_answer_was_lost_is_found),
    rule!(NeverLostInDoubt, an_append_that_was_lost_is_done),
    rule!(NeverLostInDoubt, an_append_that_comes_late_is_there_once),
    rule!(NeverLostInDoubt, an_append_that_was_lost_to_another_writer_is_told_apart),
    rule!(NeverLostInDoubt, an_append_that_is_given_up_holds_up_nobody),
];

pub(super) const PROGRAM_RULES: &[Rule] =
    &[rule!(NeverLostInDoubt, commands_whose_answers_are_lost_happen_once)];

/// Appends behind a store that fails as `faults` say, until it is known what became of it.
async fn append_through(
    store: &Arc<dyn EventStore>,
    writer: &Writer,
    faults: &[Option<Fault>],
) -> Result<Result<Appended, NotAppended>, Broken> {
    let scripted = ScriptedStore::new(store.clone());
    scripted.script(faults.iter().copied());
    let Writer { stream, version, token, .. } = writer;
    let commit = commit(stream, *version, 2);
    let append =
        Append { stream, version: *version, token: *token, events: 2, frame: commit.encode() };
    Ok(append_once(&scripted, append, commit.id()).await)
}

/// Twenty commits to one stream, each with the next of `faults`; each of them must be there once.
async fn each_is_there_once(
    ground: &Ground<'_>,
    key: &str,
    faults: &[&[Option<Fault>]],
) -> Verdict {
    let store = ground.open().await.store;
    let start = store.head().await?;
    let mut writer = Writer::new(&store, key);
    for faults in faults.iter().cycle().take(20) {
        let appended = append_through(&store, &writer, faults).await??;
        let records = store.read_stream(&writer.stream, writer.version + 1, 10).await?;
        ensure_eq!(records.len(), 1, "the commits behind version {}", writer.version);
        let found = Appended { position: records[0].position, token: records[0].token };
        ensure_eq!(appended, found, "what the append answered, and what is stored");
        (writer.version, writer.token) = (writer.version + 2, appended.token);
    }
    // Whatever was still under way is there by now: it comes before an append that is answered.
    writer.append(1).await?;
    let log = whole_log(&*store, start, 1000).await?;
    ensure_eq!(log.len(), 21, "the commits in the log");
    ensure_eq!(writer.whole_stream().await?.len(), 21, "the commits of the stream");
    Ok(())
}

async fn an_append_whose_answer_was_lost_is_found(ground: &Ground<'_>) -> Verdict {
    let lost = Some(Fault::LoseAnswer);
    each_is_there_once(ground, "found", &[&[lost], &[lost, lost], &[lost, lost, lost]]).await
}

async fn an_append_that_was_lost_is_done(ground: &Ground<'_>) -> Verdict {
    let (lost, unheard) = (Some(Fault::LoseRequest), Some(Fault::LoseAnswer));
    each_is_there_once(ground, "done", &[&[lost], &[lost, lost], &[lost, unheard]]).await
}

async fn an_append_that_comes_late_is_there_once(ground: &Ground<'_>) -> Verdict {
    let late = Some(Fault::Late);
    each_is_there_once(ground, "late", &[&[late], &[late, late], &[late, None]]).await
}

async fn an_append_that_was_lost_to_another_writer_is_told_apart(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let mut writer = Writer::new(&store, "apart");
    writer.append(1).await?;
    let mut other = writer.clone();
    other.append(3).await?;
    // It is lost, and when it is sent again the other one is there.
    let outcome = append_through(&store, &writer, &[Some(Fault::LoseRequest)]).await?;
    ensure!(outcome.is_err(), "another's commit was taken for the one in doubt: {outcome:?}");
    ensure_eq!(other.whole_stream().await?.len(), 2, "the commits of the stream");
    other.append(1).await?;
    Ok(())
}

/// A command's timeout drops its append at any point. The commit is then whole or absent, and the next append goes on.
async fn an_append_that_is_given_up_holds_up_nobody(ground: &Ground<'_>) -> Verdict {
    let store = ground.open().await.store;
    let mut writer = Writer::new(&store, "given-up");
    for polls in 0..20 {
        let dropped = commit(&writer.stream, writer.version, 2);
        let mut append = Box::pin(testing::append(&*store, &dropped, writer.token));
        for _ in 0..polls % 4 {
            // What it answers tells no more than what is found below.
            if poll_fn(|cx| Poll::Ready(append.as_mut().poll(cx).is_ready())).await {
                break;
            }
            tokio::task::yield_now().await;
        }
        drop(append);
        let frame = dropped.encode();
        let Writer { stream, version, token, .. } = &writer;
        let append = Append { stream, version: *version, token: *token, events: 2, frame };
        let doubtful = ScriptedStore::new(store.clone());
        doubtful.script([Some(Fault::LoseRequest)]);
        let appended = append_once(&doubtful, append, dropped.id()).await?;
        (writer.version, writer.token) = (writer.version + 2, appended.token);
    }
    ensure_eq!(writer.whole_stream().await?.len(), 20, "the commits of the stream");
    Ok(())
}

async fn commands_whose_answers_are_lost_happen_once(ground: &Ground<'_>) -> Verdict {
    let stores = ground.open().await;
    let scripted = Arc::new(ScriptedStore::new(stores.store.clone()));
    let program = Program::start(super::Stores { store: scripted.clone(), ..stores }).await?;
    let faults = [Fault::LoseAnswer, Fault::LoseRequest, Fault::Late].map(Some);
    scripted.script(faults.into_iter().chain([None]).cycle().take(200));
    let sends =
        (0..100).map(|i| program.send(Enter::new(&format!("lost{}", i % 5), 1)).into_future());
    for sent in join_all(sends).await {
        sent?;
    }
    for account in 0..5 {
        let balance = program.balance(&format!("lost{account}")).await?;
        ensure_eq!(balance, (20, 20), "the sum and the version after 20 commands");
    }
    ensure_eq!(program.total().await?, 100, "the sum of the read model");
    program.stop().await;
    Ok(())
}
