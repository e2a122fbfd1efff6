//! The checker. Every check is near-linear in the history's size.

use std::collections::{HashMap, HashSet};

use catga::log::{Position, Version};

use super::{
    Attempt, Count, History, Look, Outcome, Stored, chain,
    verdict::{Verdict, Violation},
};

impl History {
    /// Compares the history with the final log, in the log's order:
    ///
    /// - I1 every acknowledged commit is there, once, as it was sent and where the answer said;
    /// - I2 nothing else is there, but what is in doubt may be; nothing that was refused;
    /// - I3 the versions of each stream have no gap and no overlap;
    /// - I4 one append wins a version, and it is the one that expected it;
    /// - I5 each read saw a beginning of the stream, with all that was acknowledged or read before
    ///   it and nothing that came after it;
    /// - I6 so did each count of the streams;
    /// - I7 positions rise strictly, and those of one commit are its own; every reader of the log was
    ///   given a beginning of it;
    /// - I8 what was acknowledged before another commit was sent lies before it;
    /// - I12 nothing is there twice.
    pub fn check(&self, log: &[Stored]) -> Verdict {
        let mut check = Check::new(self, log);
        check.log_alone();
        check.log_against_attempts();
        check.attempts_against_log();
        check.real_time();
        check.reads();
        check.tails();
        check.counts();
        let count = |is: fn(&Outcome) -> bool| {
            self.attempts.iter().filter(|attempt| is(&attempt.outcome)).count()
        };
        Verdict {
            acked: count(|o| matches!(o, Outcome::Ok { .. })),
            refused: count(|o| *o == Outcome::Failed),
            in_doubt: count(|o| *o == Outcome::Unknown),
            stored: log.len(),
            looks: self.looks.len() + self.counts.len(),
            violations: check.violations,
        }
    }
}

struct Check<'a> {
    history: &'a History,
    log: &'a [Stored],
    /// The first commit of each id in the log.
    by_id: HashMap<&'a str, &'a Stored>,
    violations: Vec<Violation>,
}

impl<'a> Check<'a> {
    fn new(history: &'a History, log: &'a [Stored]) -> Self {
        let mut by_id = HashMap::new();
        for stored in log {
            by_id.entry(stored.sent.id.as_str()).or_insert(stored);
        }
        Self { history, log, by_id, violations: Vec::new() }
    }

    /// I3, I7, I12.
    fn log_alone(&mut self) {
        let (mut end, mut versions, mut seen) = (Position::ZERO, HashMap::new(), HashSet::new());
        for Stored { sent, first_version, position } in self.log {
            let id = || sent.id.clone();
            if !seen.insert(&sent.id) {
                self.violations.push(Violation::Twice { id: id() });
            }
            if *position <= end {
                self.violations.push(Violation::Disorder { id: id(), position: *position });
            }
            end = end.max(*position + sent.events - 1);
            let next = versions.entry(&sent.stream).or_insert(Version::FIRST);
            if first_version != next {
                let stream = sent.stream.clone();
                let (expected, found) = (*next, *first_version);
                self.violations.push(Violation::Gap { stream, expected, found });
            }
            *next = *first_version + sent.events;
        }
    }

    /// I2, and what I1 and I4 say about each commit.
    fn log_against_attempts(&mut self) {
        let attempts: HashMap<&str, &Attempt> =
            self.history.attempts.iter().map(|a| (a.sent.id.as_str(), a)).collect();
        for stored in self.log {
            let id = stored.sent.id.clone();
            let Some(attempt) = attempts.get(id.as_str()) else {
                self.violations.push(Violation::Phantom { id });
                continue;
            };
            if attempt.sent != stored.sent {
                self.violations.push(Violation::Altered { id: id.clone() });
            }
            if attempt.expected.is_some_and(|version| stored.first_version != version + 1) {
                self.violations.push(Violation::Unexpected { id: id.clone() });
            }
            match attempt.outcome {
                Outcome::Failed => self.violations.push(Violation::RefusedButStored { id }),
                Outcome::Ok { first_version, position }
                    if (first_version, position) != (stored.first_version, stored.position) =>
                {
                    self.violations.push(Violation::Moved { id });
                }
                Outcome::Ok { .. } | Outcome::Unknown => {}
            }
        }
    }

    /// I1, I4.
    fn attempts_against_log(&mut self) {
        let mut won = HashSet::new();
        for Attempt { sent, expected, outcome, .. } in &self.history.attempts {
            if !matches!(outcome, Outcome::Ok { .. }) {
                continue;
            }
            if !self.by_id.contains_key(sent.id.as_str()) {
                self.violations.push(Violation::Lost { id: sent.id.clone() });
            }
            if let Some(expected) = *expected
                && !won.insert((&sent.stream, expected))
            {
                let stream = sent.stream.clone();
                self.violations.push(Violation::TwoWinners { stream, expected });
            }
        }
    }

    /// I8. What is in doubt took effect at any time after it was sent, so it can only be the later one.
    fn real_time(&mut self) {
        let stored = |attempt: &'a Attempt| {
            Some((attempt, self.by_id.get(attempt.sent.id.as_str())?.position))
        };
        let mut later: Vec<_> = self.history.attempts.iter().filter_map(stored).collect();
        let mut earlier: Vec<_> = later
            .iter()
            .copied()
            .filter(|(attempt, _)| matches!(attempt.outcome, Outcome::Ok { .. }))
            .collect();
        later.sort_by_key(|(attempt, _)| attempt.called);
        earlier.sort_by_key(|(attempt, _)| attempt.returned);
        let mut earlier = earlier.into_iter().peekable();
        let mut last: Option<(&Attempt, Position)> = None;
        for (attempt, position) in later {
            while let Some(before) = earlier.next_if(|(a, _)| a.returned < attempt.called) {
                if last.is_none_or(|(_, position)| position < before.1) {
                    last = Some(before);
                }
            }
            if let Some((before, there)) = last
                && there > position
            {
                let (earlier, later) = (before.sent.id.clone(), attempt.sent.id.clone());
                self.violations.push(Violation::Overtaken { earlier, later });
            }
        }
    }

    /// I7, of the readers.
    fn tails(&mut self) {
        for tail in &self.history.tails {
            let is_right = |((position, id), stored): (&(Position, String), &Stored)| {
                *position == stored.position && *id == stored.sent.id
            };
            let right =
                tail.commits.iter().zip(self.log).take_while(|both| is_right(*both)).count();
            if let Some((given, _)) = tail.commits.get(right) {
                self.violations.push(Violation::NotTheLog { right, given: *given });
            }
        }
    }

    /// I6. A stream is there from its first commit on.
    fn counts(&mut self) {
        let is_first =
            |a: &&Attempt| a.expected == Some(Version::ZERO) && a.outcome != Outcome::Failed;
        let firsts = self.history.attempts.iter().filter(is_first);
        let mut sent: Vec<_> = firsts.clone().map(|attempt| attempt.called).collect();
        let acked = firsts.filter(|attempt| matches!(attempt.outcome, Outcome::Ok { .. }));
        let mut acked: Vec<_> = acked.map(|attempt| attempt.returned).collect();
        let mut counts: Vec<_> = self.history.counts.iter().collect();
        let mut counted: Vec<_> = counts.iter().map(|c| (c.returned, c.streams)).collect();
        sent.sort_unstable();
        acked.sort_unstable();
        counted.sort_unstable();
        counts.sort_by_key(|count| count.called);
        let (mut counted, mut most) = (counted.into_iter().peekable(), 0);
        for Count { called, returned, streams } in counts {
            while let Some((_, before)) = counted.next_if(|(at, _)| at < called) {
                most = most.max(before);
            }
            let at_least = acked.partition_point(|at| at < called).max(most);
            let at_most = sent.partition_point(|at| at < returned);
            if !(at_least..=at_most).contains(streams) {
                let streams = *streams;
                self.violations.push(Violation::WrongCount { streams, at_least, at_most });
            }
        }
    }

    /// I5.
    fn reads(&mut self) {
        let mut looks: HashMap<&str, Vec<&Look>> = HashMap::new();
        for look in &self.history.looks {
            looks.entry(&look.stream).or_default().push(look);
        }
        let mut streams: HashMap<&str, Vec<&str>> = HashMap::new();
        for stored in self.log {
            streams.entry(&stored.sent.stream).or_default().push(&stored.sent.id);
        }
        let mut attempts: HashMap<&str, Vec<&Attempt>> = HashMap::new();
        for attempt in &self.history.attempts {
            attempts.entry(&attempt.sent.stream).or_default().push(attempt);
        }
        for (stream, looks) in looks {
            let ids = streams.get(stream).map_or(&[][..], Vec::as_slice);
            let attempts = attempts.get(stream).map_or(&[][..], Vec::as_slice);
            self.reads_of(ids, looks, attempts);
        }
    }

    /// I5, of one stream with these commits.
    fn reads_of(&mut self, ids: &[&str], mut looks: Vec<&Look>, attempts: &[&Attempt]) {
        let places: HashMap<&str, usize> = ids.iter().copied().zip(1..).collect();
        let mut chains = vec![0];
        chains.extend(ids.iter().scan(0, |so_far, id| {
            *so_far = chain(*so_far, id);
            Some(*so_far)
        }));
        let is_prefix = |look: &Look| {
            let there = chains.get(look.commits);
            there.is_some_and(|there| look.chain.is_none_or(|chain| chain == *there))
        };
        // The commit that is one too many in a read of a whole stream, if nobody was told of it.
        let dirty = |look: &Look| {
            let before = *chains.get(look.commits.checked_sub(1)?)?;
            let is_it = |a: &&&Attempt| {
                !matches!(a.outcome, Outcome::Ok { .. })
                    && look.chain == Some(chain(before, &a.sent.id))
            };
            attempts.iter().find(is_it).map(|attempt| attempt.sent.id.clone())
        };
        let called: HashMap<_, _> =
            attempts.iter().map(|a| (a.sent.id.as_str(), a.called)).collect();
        // When it was known for certain that the stream had so many commits.
        let mut known: Vec<_> = looks
            .iter()
            .filter(|look| is_prefix(look))
            .map(|look| (look.returned, look.commits))
            .collect();
        known.extend(attempts.iter().filter_map(|attempt| {
            let is_acked = matches!(attempt.outcome, Outcome::Ok { .. });
            let place = places.get(attempt.sent.id.as_str()).filter(|_| is_acked)?;
            Some((attempt.returned, *place))
        }));
        known.sort_unstable();
        looks.sort_by_key(|look| look.called);
        let (mut known, mut at_least) = (known.into_iter().peekable(), 0);
        for look in looks {
            let Look { called: begin, returned: end, stream, commits, .. } = look;
            while let Some((_, place)) = known.next_if(|(at, _)| at < begin) {
                at_least = at_least.max(place);
            }
            let (stream, commits) = (stream.clone(), *commits);
            if commits < at_least {
                let stream = stream.clone();
                self.violations.push(Violation::StaleRead { stream, commits, at_least });
            }
            if !is_prefix(look) {
                self.violations.push(match dirty(look) {
                    Some(id) => Violation::DirtyRead { id },
                    None => Violation::NotAPrefix { stream, commits },
                });
            } else if let Some(id) = commits.checked_sub(1).map(|last| ids[last])
                && called.get(id).is_some_and(|called| called > end)
            {
                self.violations.push(Violation::EarlyRead { id: id.to_owned() });
            }
        }
    }
}
