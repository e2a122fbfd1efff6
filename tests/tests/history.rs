//! Who tests the tests: the checker on one bad history for each anomaly, and on good ones that were
//! spoilt at random. It must flag every one.

use std::collections::HashSet;

use catga::log::{Position, Version};
use catga_tests::{
    dice::Dice,
    history::{
        Attempt, Count, History, Look, Outcome, Sent, Stored, Tail, Violation, chain, digest,
    },
};
use proptest::prelude::*;

fn sent(stream: &str, id: &str, events: u64) -> Sent {
    Sent { stream: stream.to_owned(), id: id.to_owned(), events, digest: digest(id.as_bytes()) }
}

/// Three acknowledged commits of two streams, one after the other: `a` and `c` in stream `s` with
/// one and two events, `b` in `t`; and a read of `s` at the end.
fn good() -> (History, Vec<Stored>) {
    let plan = [("s", "a", 1, 0, 1), ("t", "b", 1, 0, 2), ("s", "c", 2, 1, 3)];
    let (mut history, mut log) = (History::default(), Vec::new());
    for (n, (stream, id, events, expected, position)) in plan.into_iter().enumerate() {
        let (sent, called) = (sent(stream, id, events), 10 * n as u64);
        let outcome =
            Outcome::Ok { first_version: (expected + 1).into(), position: position.into() };
        let (client, returned, expected) = (n, called + 5, Some(Version::new(expected)));
        let first_version = expected.unwrap().next();
        log.push(Stored { sent: sent.clone(), first_version, position: position.into() });
        history.attempts.push(Attempt { client, called, returned, sent, expected, outcome });
    }
    history.looks.push(look(100, &["a", "c"]));
    (history, log)
}

fn look(called: u64, ids: &[&str]) -> Look {
    let chain = Some(ids.iter().fold(0, |so_far, id| chain(so_far, id)));
    let stream = "s".to_owned();
    Look { client: 9, called, returned: called + 1, stream, commits: ids.len(), chain }
}

/// A read of `s` that shows only how many commits there are.
fn glance(called: u64, commits: usize) -> Look {
    Look { commits, chain: None, ..look(called, &[]) }
}

/// Asserts that exactly the violations of this kind are found in a good history after `spoil`.
#[track_caller]
fn found(
    spoil: impl FnOnce(&mut History, &mut Vec<Stored>),
    is_wanted: fn(&Violation) -> bool,
) -> Vec<Violation> {
    let (mut history, mut log) = good();
    assert!(history.check(&log).is_clean(), "{}", history.check(&log));
    spoil(&mut history, &mut log);
    let violations = history.check(&log).violations;
    assert!(violations.iter().any(is_wanted), "{violations:?}");
    violations
}

#[test]
fn i1_a_lost_acknowledged_commit_is_found() {
    let violations = found(|_, log| drop(log.remove(1)), |v| matches!(v, Violation::Lost { .. }));
    assert_eq!(violations, [Violation::Lost { id: "b".to_owned() }]);
}

/// The log lost what was sent before another took its place, and must have what was acknowledged after.
#[test]
fn what_was_acknowledged_before_another_log_is_in_doubt_and_after_it_is_not() {
    let (mut history, mut log) = good();
    log.remove(1);
    history.looks[0].called = 40;
    assert!(history.clone().of_new_log(15, 50).check(&log).is_clean());
    let violations = history.of_new_log(10, 50).check(&log).violations;
    assert_eq!(violations, [Violation::Lost { id: "b".to_owned() }]);
}

#[test]
fn i1_a_commit_at_another_place_than_answered_is_found() {
    found(|_, log| log[2].position = 9.into(), |v| matches!(v, Violation::Moved { .. }));
}

#[test]
fn i1_changed_bytes_are_found() {
    found(|_, log| log[0].sent.digest += 1, |v| matches!(v, Violation::Altered { .. }));
    found(|_, log| log[2].sent.events = 1, |v| matches!(v, Violation::Altered { .. }));
}

#[test]
fn i2_what_nobody_sent_is_found() {
    let phantom = Stored { sent: sent("u", "x", 1), first_version: 1.into(), position: 9.into() };
    let violations = found(|_, log| log.push(phantom), |v| matches!(v, Violation::Phantom { .. }));
    assert_eq!(violations.len(), 1);
}

#[test]
fn i2_what_was_refused_and_is_there_is_found() {
    let spoil = |history: &mut History, _: &mut Vec<Stored>| {
        history.attempts[1].outcome = Outcome::Failed;
    };
    found(spoil, |v| matches!(v, Violation::RefusedButStored { .. }));
}

#[test]
fn i2_what_is_in_doubt_may_be_there_or_not() {
    let (mut history, mut log) = good();
    history.attempts[1].outcome = Outcome::Unknown;
    assert!(history.check(&log).is_clean());
    log.remove(1);
    assert!(history.check(&log).is_clean());
}

#[test]
fn i3_a_gap_in_the_versions_is_found() {
    found(|_, log| log[2].first_version = 3.into(), |v| matches!(v, Violation::Gap { .. }));
}

#[test]
fn i4_two_winners_of_a_version_are_found() {
    let spoil = |history: &mut History, _: &mut Vec<Stored>| {
        let mut other = history.attempts[2].clone();
        other.sent.id = "d".to_owned();
        history.attempts.push(other);
    };
    found(spoil, |v| matches!(v, Violation::TwoWinners { .. }));
}

#[test]
fn i4_a_commit_that_expected_another_version_is_found() {
    let spoil = |history: &mut History, _: &mut Vec<Stored>| {
        history.attempts[2].expected = Some(0.into());
        history.attempts[2].outcome = Outcome::Unknown;
    };
    found(spoil, |v| matches!(v, Violation::Unexpected { .. }));
}

#[test]
fn i5_reads_that_can_not_be_are_found() {
    let stale = |history: &mut History, _: &mut Vec<Stored>| history.looks.push(look(200, &["a"]));
    found(stale, |v| matches!(v, Violation::StaleRead { commits: 1, at_least: 2, .. }));
    let other = |history: &mut History, _: &mut Vec<Stored>| {
        history.looks.push(look(200, &["a", "x"]));
    };
    found(other, |v| matches!(v, Violation::NotAPrefix { .. }));
    // Without `c` in the log, the read of it was one of something that was never promised: that, and
    // not that later reads miss it.
    for outcome in [Outcome::Unknown, Outcome::Failed] {
        let dirty = |history: &mut History, log: &mut Vec<Stored>| {
            history.attempts[2].outcome = outcome;
            log.pop();
            history.looks.push(look(200, &["a"]));
        };
        let violations = found(dirty, |v| matches!(v, Violation::DirtyRead { .. }));
        assert_eq!(violations, [Violation::DirtyRead { id: "c".to_owned() }]);
    }
    let early = |history: &mut History, _: &mut Vec<Stored>| {
        history.looks.push(look(7, &["a", "c"]));
    };
    found(early, |v| matches!(v, Violation::EarlyRead { .. }));
}

#[test]
fn i5_a_glance_shows_what_was_acknowledged_before() {
    let (mut history, log) = good();
    history.looks.extend([(7, 1), (200, 2)].map(|(called, n)| glance(called, n)));
    assert!(history.check(&log).is_clean());
    let stale = |history: &mut History, _: &mut Vec<Stored>| history.looks.push(glance(200, 1));
    found(stale, |v| matches!(v, Violation::StaleRead { commits: 1, at_least: 2, .. }));
    let ahead = |history: &mut History, _: &mut Vec<Stored>| history.looks.push(glance(200, 3));
    found(ahead, |v| matches!(v, Violation::NotAPrefix { .. }));
}

#[test]
fn i6_counts_that_can_not_be_are_found() {
    let count = |called, streams| Count { called, returned: called + 1, streams };
    let (mut history, log) = good();
    // While `b` is under way, its stream may be counted or not.
    history.counts = vec![count(6, 1), count(11, 1), count(200, 2)];
    assert!(history.check(&log).is_clean());
    for wrong in [vec![count(6, 0)], vec![count(6, 2)], vec![count(11, 2), count(13, 1)]] {
        let spoil = |history: &mut History, _: &mut Vec<Stored>| history.counts = wrong;
        let violations = found(spoil, |v| matches!(v, Violation::WrongCount { .. }));
        assert_eq!(violations.len(), 1);
    }
}

#[test]
fn i7_positions_that_do_not_rise_are_found() {
    found(|_, log| log.swap(0, 1), |v| matches!(v, Violation::Disorder { .. }));
    // The two events of `c` need two positions.
    let spoil = |history: &mut History, log: &mut Vec<Stored>| {
        let next = Stored { sent: sent("t", "d", 1), first_version: 2.into(), position: 4.into() };
        let mut attempt = history.attempts[0].clone();
        attempt.sent = next.sent.clone();
        (attempt.expected, attempt.outcome) = (Some(1.into()), Outcome::Unknown);
        history.attempts.push(attempt);
        log.push(next);
    };
    found(spoil, |v| matches!(v, Violation::Disorder { position, .. } if *position == 4));
}

#[test]
fn i7_a_reader_that_missed_a_late_insert_is_found() {
    let tail = |n: &[u64]| {
        let id = |n: &u64| {
            (Position::new(*n), ["a", "b", "c"][usize::try_from(n - 1).unwrap()].to_owned())
        };
        Tail { commits: n.iter().map(id).collect() }
    };
    let (mut history, log) = good();
    history.tails = vec![tail(&[]), tail(&[1, 2]), tail(&[1, 2, 3])];
    assert!(history.check(&log).is_clean());
    let spoil = |history: &mut History, _: &mut Vec<Stored>| history.tails.push(tail(&[1, 3]));
    let violations =
        found(spoil, |v| matches!(v, Violation::NotTheLog { right: 1, given } if *given == 3));
    assert_eq!(violations.len(), 1);
}

#[test]
fn i8_a_commit_that_overtook_an_earlier_one_is_found() {
    let spoil = |history: &mut History, log: &mut Vec<Stored>| {
        // `a` and `b` change places, and the answers agree.
        log.swap(0, 1);
        for (n, position) in [(0, 1), (1, 2)] {
            log[n].position = position.into();
            let attempt = history.attempts.iter_mut().find(|a| a.sent.id == log[n].sent.id);
            attempt.unwrap().outcome =
                Outcome::Ok { first_version: 1.into(), position: position.into() };
        }
    };
    let violations = found(spoil, |v| matches!(v, Violation::Overtaken { .. }));
    assert_eq!(violations.len(), 1);
}

#[test]
fn i12_a_commit_that_is_there_twice_is_found() {
    let spoil = |_: &mut History, log: &mut Vec<Stored>| {
        let again = Stored { first_version: 2.into(), position: 9.into(), ..log[1].clone() };
        log.push(again);
    };
    found(spoil, |v| matches!(v, Violation::Twice { .. }));
}

/// A history of concurrent clients that is right by construction: every call takes effect at one
/// moment between its begin and its end.
fn random_history(dice: &mut Dice) -> (History, Vec<Stored>) {
    let (mut history, mut log) = (History::default(), Vec::<Stored>::new());
    let mut position = Position::FIRST;
    for n in 0..20 + dice.below(60) {
        let moment = 100 + 10 * n;
        let (called, returned) = (moment - dice.below(40), moment + dice.below(40));
        let stream = format!("s{}", dice.below(3));
        let there: Vec<_> = log.iter().filter(|s| s.sent.stream == stream).collect();
        let client = dice.index(4);
        if dice.below(5) == 0 {
            let chain = there.iter().fold(0, |so_far, s| chain(so_far, &s.sent.id));
            let (commits, chain) = (there.len(), dice.coin().then_some(chain));
            history.looks.push(Look { client, called, returned, stream, commits, chain });
            let streams = log.iter().map(|s| &s.sent.stream).collect::<HashSet<_>>().len();
            history.counts.push(Count { called, returned, streams });
            continue;
        }
        let version = there.last().map_or(Version::ZERO, |s| s.first_version + s.sent.events - 1);
        let sent = sent(&stream, &format!("c{n}"), 1 + dice.below(3));
        let (first_version, expected) = (version.next(), Some(version));
        let outcome = match dice.below(10) {
            0 | 1 => Outcome::Failed,
            2 | 3 => Outcome::Unknown,
            _ => Outcome::Ok { first_version, position },
        };
        let is_stored = match outcome {
            Outcome::Ok { .. } => true,
            Outcome::Failed => false,
            Outcome::Unknown => dice.coin(),
        };
        if is_stored {
            log.push(Stored { sent: sent.clone(), first_version, position });
            // Positions may have gaps between commits.
            position += sent.events + dice.below(3);
        }
        history.attempts.push(Attempt { client, called, returned, sent, expected, outcome });
    }
    (history, log)
}

/// How many ways to spoil a history there are.
const SPOILS: u64 = 13;

/// Spoils a history in a way that no run could have produced. Answers whether there was something to
/// spoil.
fn spoil(history: &mut History, log: &mut Vec<Stored>, way: u64, dice: &mut Dice) -> bool {
    let is_acked = |id: &str| {
        let attempt = history.attempts.iter().find(|a| a.sent.id == id).unwrap();
        matches!(attempt.outcome, Outcome::Ok { .. })
    };
    let acked: Vec<usize> = (0..log.len()).filter(|n| is_acked(&log[*n].sent.id)).collect();
    if acked.len() < 3 {
        return false;
    }
    let one = acked[dice.index(acked.len())];
    match way {
        0 => drop(log.remove(one)),
        1 => {
            let again = log[one].clone();
            log.insert(dice.index(log.len() + 1), again);
        }
        2 => {
            let last = log.last().unwrap();
            let position = last.position + last.sent.events;
            log.push(Stored { position, ..log[one].clone() });
        }
        3 => log.swap(one, if one == 0 { 1 } else { one - 1 }),
        4 => log[one].position += 1,
        5 => log[one].first_version += 1,
        6 => log[one].sent.digest ^= 1 << dice.below(64),
        7 => log[one].sent.id.push('x'),
        8 => log[one].sent.stream = "elsewhere".to_owned(),
        9 => {
            let id = &log[one].sent.id;
            let attempt = history.attempts.iter_mut().find(|a| a.sent.id == *id).unwrap();
            attempt.outcome = Outcome::Failed;
        }
        10 => {
            // Two commits change places, and all that goes with the place stays.
            let other = acked[dice.index(acked.len())];
            if one == other {
                return false;
            }
            let (a, b) = (log[one].sent.clone(), log[other].sent.clone());
            (log[one].sent, log[other].sent) = (b, a);
        }
        _ => {
            if history.looks.is_empty() {
                return false;
            }
            let n = dice.index(history.looks.len());
            let look = &mut history.looks[n];
            match (&mut look.chain, way) {
                (_, 11) => history.counts[n].streams += log.len(),
                (Some(chain), _) => *chain ^= 1,
                (None, _) => look.commits += log.len(),
            }
        }
    }
    true
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_right_history_is_clean_and_a_spoilt_one_never(seed: u64, way in 0..SPOILS) {
        let mut dice = Dice::new(seed);
        let (mut history, mut log) = random_history(&mut dice);
        let verdict = history.check(&log);
        prop_assert!(verdict.is_clean(), "{verdict}");
        prop_assume!(spoil(&mut history, &mut log, way, &mut dice));
        prop_assert!(!history.check(&log).is_clean(), "way {way} was not found");
    }
}

#[test]
fn a_long_history_is_checked_in_time() {
    let (mut history, mut log) = (History::default(), Vec::new());
    for n in 0..100_000_u64 {
        let sent = sent(&format!("s{}", n % 100), &n.to_string(), 1);
        let (first_version, position) = (Version::new(n / 100 + 1), Position::new(n + 1));
        let outcome = Outcome::Ok { first_version, position };
        let expected = Some(Version::new(n / 100));
        log.push(Stored { sent: sent.clone(), first_version, position });
        let (called, returned) = (10 * n, 10 * n + 55);
        history.attempts.push(Attempt { client: 0, called, returned, sent, expected, outcome });
    }
    let begin = std::time::Instant::now();
    history.check(&log).expect_clean(100_000);
    assert!(begin.elapsed().as_secs() < 10, "{:?}", begin.elapsed());
}
