//! P6 read your writes: a read that starts after an answer sees it, on any node.

use futures_util::future::join_all;

use super::{
    program::{Enter, Program},
    rule::{Ground, Rule, Verdict, ensure, ensure_eq, rule},
    writer::Writer,
};
use crate::model::Consistency;

pub(super) const LOG_RULES: &[Rule] = &[
    rule!(ReadYourWrites, the_head_is_no_less_than_what_was_answered),
    rule!(ReadYourWrites, what_was_answered_is_read_on_every_handle),
];

pub(super) const RULES: &[Rule] =
    &[rule!(ReadYourWrites, a_query_sees_what_another_program_answered)];

async fn the_head_is_no_less_than_what_was_answered(ground: &Ground<'_>) -> Verdict {
    let (store, other) = (ground.open().await.store, ground.open().await.store);
    let write = async |writer: usize| {
        let mut writer = Writer::new(&store, &format!("head{writer}"));
        for events in (1..=3).cycle().take(30) {
            let end = writer.append(events).await?.position + events as u64 - 1;
            for store in [&store, &other] {
                let head = store.head().await?;
                ensure!(head >= end, "the head is {head} after an append was answered at {end}");
            }
        }
        Ok(())
    };
    join_all((0..4).map(write)).await.into_iter().collect()
}

async fn what_was_answered_is_read_on_every_handle(ground: &Ground<'_>) -> Verdict {
    let (store, other) = (ground.open().await.store, ground.open().await.store);
    let mut writer = Writer::new(&store, "handles");
    for _ in 0..50 {
        let appended = writer.append(2).await?;
        for store in [&store, &other] {
            let version = writer.version;
            let found = store.read_stream(&writer.stream, version, 1).await?;
            let found = found.first().map(|record| record.position);
            ensure_eq!(found, Some(appended.position), "the commit of version {version}");
            let found = store.read_log(appended.position - 1, 1).await?;
            let found = found.first().map(|record| record.position);
            ensure_eq!(found, Some(appended.position), "the commit in the log");
        }
    }
    Ok(())
}

async fn a_query_sees_what_another_program_answered(ground: &Ground<'_>) -> Verdict {
    let programs =
        [Program::start(ground.open().await).await?, Program::start(ground.open().await).await?];
    for i in 0..100 {
        let account = format!("seen{}", i % 3);
        let (writer, reader) = (&programs[i % 2], &programs[(i + 1) % 2]);
        let done = writer.send(Enter::new(&account, 1)).outcome().await?;
        let sum = i as u64 + 1;
        ensure_eq!(reader.total().await?, sum, "the read model's sum after {sum} commands");
        let (_, version) = reader.balance(&account).await?;
        ensure_eq!(version, done.version.get(), "the version of an aggregate");
        let letters = reader.dead_letters(Consistency::AtLeast(done.position)).await?;
        ensure!(letters.is_empty(), "there are dead letters");
    }
    for program in programs {
        program.stop().await;
    }
    Ok(())
}
