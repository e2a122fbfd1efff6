//! P7 at least once, in order: every event reaches every handler, per stream in order, across restarts.

use super::{
    program::{Enter, Ledger, Program, until},
    rule::{Broken, Ground, Rule, Verdict, ensure, rule},
};

pub(super) const RULES: &[Rule] = &[
    rule!(AtLeastOnce, every_event_reaches_the_handler_in_order),
    rule!(AtLeastOnce, events_are_handled_across_restarts),
    rule!(AtLeastOnce, a_stop_in_good_order_repeats_nothing),
];

/// How many streams there are.
const ACCOUNTS: usize = 10;

/// Sends `commands` commands, to one account after the other.
async fn send(program: &Program, commands: usize) -> Verdict {
    for i in 0..commands {
        program.send(Enter::new(&format!("handled{}", i % ACCOUNTS), 1)).await?;
    }
    Ok(())
}

/// Waits until the handler has seen every account up to `version`.
async fn handled(ledger: &Ledger, version: u64) -> Verdict {
    for account in (0..ACCOUNTS).map(|i| format!("handled{i}")) {
        until(&format!("{version} events of an account are handled"), async || {
            let seen = ledger.of(&account);
            let is_there = seen.last().is_some_and(|last| *last >= version);
            Ok(if is_there { Ok(()) } else { Err(format!("{account} was handled at {seen:?}")) })
        })
        .await?;
    }
    Ok(())
}

/// Checks that no event was skipped; one that comes again comes with all those behind it.
fn in_order(ledger: &Ledger) -> Result<usize, Broken> {
    let mut all = 0;
    for account in (0..ACCOUNTS).map(|i| format!("handled{i}")) {
        let (seen, mut last) = (ledger.of(&account), 0);
        for &version in &seen {
            ensure!(version <= last + 1, "{account}: version {version} came after {last}");
            last = version.get();
        }
        all += seen.len();
    }
    Ok(all)
}

async fn every_event_reaches_the_handler_in_order(ground: &Ground<'_>) -> Verdict {
    let program = Program::start(ground.open().await).await?;
    send(&program, 300).await?;
    handled(&program.ledger, 30).await?;
    in_order(&program.ledger)?;
    program.stop().await;
    Ok(())
}

async fn events_are_handled_across_restarts(ground: &Ground<'_>) -> Verdict {
    let ledger = Ledger::default();
    for _ in 0..3 {
        let program = Program::start_with(ground.open().await, ledger.clone()).await?;
        send(&program, 100).await?;
        program.stop().await;
    }
    let program = Program::start_with(ground.open().await, ledger.clone()).await?;
    handled(&ledger, 30).await?;
    in_order(&ledger)?;
    program.stop().await;
    Ok(())
}

async fn a_stop_in_good_order_repeats_nothing(ground: &Ground<'_>) -> Verdict {
    let ledger = Ledger::default();
    for start in 1..=3 {
        let program = Program::start_with(ground.open().await, ledger.clone()).await?;
        send(&program, 50).await?;
        handled(&ledger, start * 5).await?;
        program.stop().await;
    }
    let all = in_order(&ledger)?;
    ensure!(all == 150, "150 events were handled {all} times, with a stop in good order between");
    Ok(())
}
