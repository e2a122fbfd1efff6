//! P4 one effect per key: a command id has one effect and one answer, for as long as the stream lives.

use std::sync::Arc;

use futures_util::future::join_all;

use super::{
    Stores,
    program::{Enter, Program, SNAPSHOT_EVERY},
    rule::{Ground, Rule, Verdict, ensure, ensure_eq, rule},
    writer::whole_log,
};
use crate::testing::{Fault, ScriptedStore};

pub(super) const RULES: &[Rule] = &[
    rule!(OneEffectPerKey, a_command_that_is_sent_twice_has_one_effect),
    rule!(OneEffectPerKey, a_command_that_is_sent_at_once_from_two_programs_has_one_effect),
    rule!(OneEffectPerKey, a_command_has_one_effect_across_a_restart),
    rule!(OneEffectPerKey, a_command_has_one_effect_across_snapshots),
    rule!(OneEffectPerKey, a_command_whose_answer_was_lost_has_one_effect),
];

/// Sends the command again, and checks that it is the answer of the first time and nothing else.
async fn is_replayed(program: &Program, command: &Enter, id: &str, wanted: (u64, u64)) -> Verdict {
    let again = program.send_as(id, command).await?;
    ensure!(again.is_replay, "command {id} had another effect: {again:?}");
    ensure_eq!(
        (again.output, again.version.get()),
        wanted,
        "the answer and version of command {id}"
    );
    Ok(())
}

async fn a_command_that_is_sent_twice_has_one_effect(ground: &Ground<'_>) -> Verdict {
    let program = Program::start(ground.open().await).await?;
    let command = Enter::new("twice", 3);
    let first = program.send_as("k", &command).await?;
    ensure!(!first.is_replay, "a new command is taken for an old one");
    program.send(Enter::new("twice", 4)).await?;
    is_replayed(&program, &command, "k", (3, 1)).await?;
    // On a program that has nothing of it in memory.
    let other = Program::start(ground.open().await).await?;
    is_replayed(&other, &command, "k", (3, 1)).await?;
    let reused = other.send_as("k", &Enter::new("twice", 9)).await;
    ensure!(reused.is_err(), "an id was taken for another command: {reused:?}");
    let elsewhere = other.send_as("k", &Enter::new("twice-b", 3)).await?;
    ensure!(!elsewhere.is_replay, "an id counts for its aggregate");
    ensure_eq!(other.balance("twice").await?, (7, 2), "the sum and the version");
    program.stop().await;
    other.stop().await;
    Ok(())
}

async fn a_command_that_is_sent_at_once_from_two_programs_has_one_effect(
    ground: &Ground<'_>,
) -> Verdict {
    let programs =
        [Program::start(ground.open().await).await?, Program::start(ground.open().await).await?];
    for round in 0..10 {
        let (account, id) = (format!("once{round}"), format!("k{round}"));
        let command = Enter::new(&account, 1 + round);
        let sends = (0..16).map(|i| programs[i % 2].send_as(&id, &command));
        let mut effects = 0;
        for done in join_all(sends).await {
            let done = done?;
            effects += usize::from(!done.is_replay);
            ensure_eq!((done.output, done.version.get()), (1 + round, 1), "one of 16 answers");
        }
        ensure_eq!(effects, 1, "the effects of one command sent 16 times at once");
        ensure_eq!(programs[1].balance(&account).await?, (1 + round, 1), "the sum and the version");
    }
    for program in programs {
        program.stop().await;
    }
    Ok(())
}

async fn a_command_has_one_effect_across_a_restart(ground: &Ground<'_>) -> Verdict {
    let command = Enter::new("restart", 5);
    for start in 0..3 {
        let program = Program::start(ground.open().await).await?;
        let done = program.send_as("k", &command).await?;
        ensure_eq!(done.is_replay, start > 0, "whether start {start} answers an old command");
        ensure_eq!((done.output, done.version.get()), (5, 1), "the answer and the version");
        program.send(Enter::new("restart", 1)).await?;
        program.stop().await;
    }
    let program = Program::start(ground.open().await).await?;
    ensure_eq!(program.balance("restart").await?, (8, 4), "the sum and the version");
    program.stop().await;
    Ok(())
}

async fn a_command_has_one_effect_across_snapshots(ground: &Ground<'_>) -> Verdict {
    let program = Program::start(ground.open().await).await?;
    let sent = SNAPSHOT_EVERY * 4;
    for i in 1..=sent {
        program.send_as(&format!("k{i}"), &Enter::new("snapshots", i)).await?;
    }
    program.stop().await;
    // A snapshot was written: it is what this start reads, and the ids are in it.
    let stores = ground.open().await;
    let snapshot = stores.kv.get("snapshot/conformance/snapshots").await?;
    ensure!(snapshot.is_some(), "there is no snapshot of a stream of {sent} events");
    let program = Program::start(stores).await?;
    let mut sum = 0;
    for i in 1..=sent {
        sum += i;
        is_replayed(&program, &Enter::new("snapshots", i), &format!("k{i}"), (sum, i)).await?;
    }
    ensure_eq!(program.balance("snapshots").await?, (sum, sent), "the sum and the version");
    program.stop().await;
    Ok(())
}

/// The sender hears nothing, or a store does: both send again.
async fn a_command_whose_answer_was_lost_has_one_effect(ground: &Ground<'_>) -> Verdict {
    let stores = ground.open().await;
    let scripted = Arc::new(ScriptedStore::new(stores.store.clone()));
    let program = Program::start(Stores { store: scripted.clone(), ..stores.clone() }).await?;
    let start = stores.store.head().await?;
    let mut sum = 0;
    for i in 0..30 {
        let fault = [Fault::LoseAnswer, Fault::LoseRequest, Fault::Late][i % 3];
        let (id, command) = (format!("k{i}"), Enter::new("answers", 1));
        scripted.script([Some(fault)]);
        let (one, two) =
            tokio::join!(program.send_as(&id, &command), program.send_as(&id, &command));
        let (one, two) = (one?, two?);
        sum += 1;
        ensure_eq!((one.output, two.output), (sum, sum), "both answers to command {id}");
        ensure!(one.is_replay != two.is_replay, "command {id} had two effects");
    }
    let log = whole_log(&*stores.store, start, 100).await?;
    ensure_eq!(log.len(), 30, "the commits of 30 commands");
    program.stop().await;
    Ok(())
}
