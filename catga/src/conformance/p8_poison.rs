//! P8 poison is contained: an event that keeps failing parks its own stream alone, across restarts, and a retry drains it
//! in order.

use super::{
    program::{ATTEMPTS, Enter, HANDLER, Ledger, Program, until},
    rule::{Broken, Ground, Rule, Verdict, ensure, ensure_eq, rule},
};
use crate::{model::Consistency, react::DeadLetter};

pub(super) const RULES: &[Rule] = &[
    rule!(PoisonContained, a_poisoned_stream_is_parked_alone),
    rule!(PoisonContained, a_retry_drains_a_parked_stream_in_order),
];

const POISON: u64 = 13;

/// A program with a stream that is parked at its second event, and the letter.
async fn parked(ground: &Ground<'_>, ledger: Ledger) -> Result<(Program, DeadLetter), Broken> {
    let program = Program::start_with(ground.open().await, ledger).await?;
    program.ledger.poison(Some(POISON));
    for amount in [1, POISON, 2, 3] {
        program.send(Enter::new("bad", amount)).await?;
    }
    let mut letters = Vec::new();
    until("the event is parked", async || {
        letters = program.dead_letters(Consistency::Latest).await?;
        Ok(if letters.is_empty() { Err("there is no dead letter".to_owned()) } else { Ok(()) })
    })
    .await?;
    ensure_eq!(letters.len(), 1, "the dead letters");
    let letter = letters.remove(0);
    let found =
        (letter.handler.as_str(), letter.stream.key(), letter.version.get(), letter.attempts);
    ensure_eq!(found, (HANDLER, "bad", 2, ATTEMPTS), "the dead letter");
    Ok((program, letter))
}

async fn handled(ledger: &Ledger, account: &str, wanted: &[u64]) -> Verdict {
    until(&format!("the events of {account} are handled"), async || {
        let seen = ledger.of(account);
        Ok(if seen == wanted { Ok(()) } else { Err(format!("it was handled at {seen:?}")) })
    })
    .await
}

async fn a_poisoned_stream_is_parked_alone(ground: &Ground<'_>) -> Verdict {
    let (program, _) = parked(ground, Ledger::default()).await?;
    let goods: Vec<_> = (0..20).map(|i| format!("good{i}")).collect();
    for account in &goods {
        program.send(Enter::new(account, 1)).await?;
        program.send(Enter::new(account, 1)).await?;
    }
    for account in &goods {
        handled(&program.ledger, account, &[1, 2]).await?;
    }
    ensure_eq!(program.ledger.of("bad"), [1], "what was handled of the parked stream");
    let letters = program.dead_letters(Consistency::Latest).await?;
    ensure_eq!(letters.len(), 1, "the dead letters");
    program.stop().await;
    Ok(())
}

async fn a_retry_drains_a_parked_stream_in_order(ground: &Ground<'_>) -> Verdict {
    let ledger = Ledger::default();
    let (program, letter) = parked(ground, ledger.clone()).await?;
    program.stop().await;
    // It is still parked after a start, and what comes later waits behind it.
    let program = Program::start_with(ground.open().await, ledger.clone()).await?;
    program.send(Enter::new("bad", 4)).await?;
    program.send(Enter::new("good", 1)).await?;
    handled(&ledger, "good", &[1]).await?;
    ensure_eq!(ledger.of("bad"), [1], "what was handled of the parked stream");
    ledger.poison(None);
    let found = program.retry_dead_letter(&letter.id).await?;
    ensure!(found.is_some(), "the dead letter is gone after a start");
    handled(&ledger, "bad", &[1, 2, 3, 4, 5]).await?;
    until("no stream is parked", async || {
        let letters = program.dead_letters(Consistency::Latest).await?;
        Ok(if letters.is_empty() { Ok(()) } else { Err(format!("there are {letters:?}")) })
    })
    .await?;
    program.stop().await;
    Ok(())
}
