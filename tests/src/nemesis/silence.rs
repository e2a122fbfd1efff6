//! Whether anything was ever wrong without a word: what clients and effects show, against what the nodes said of themselves.
//!
//! Each [`Deviation`] is found in what clients met, in what the effect's server got and in what read models count, and not in the
//! list of the faults: so what goes wrong for a reason that nobody thought of is found too. For as long as it lasts the node
//! must say at least once in [`PATIENCE`] that not all is well, or not answer. What cures itself faster needs no word.

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    time::Duration,
};

use tokio::time::Instant;

use super::{
    mail::Letter,
    node_faults::Span,
    watch::{Number, Seen, Word},
    witness::{Ack, Asked, Try},
};
use crate::cluster::LEASE;

/// How long something may be wrong without a word.
pub const PATIENCE: Duration = Duration::from_secs(10);

/// How long after its acknowledgement an event is handled, and counted in read models, at most when all is well.
const HANDLED: Duration = LEASE.saturating_add(Duration::from_secs(3));

/// A node does not do what it is asked when it fails at one request of so many.
const FAILING: u32 = 4;

/// Requests are counted by this much time.
const SLOT: Duration = Duration::from_secs(1);

/// Something that was not right for a while.
#[derive(Debug, Clone)]
pub struct Deviation {
    /// What.
    pub what: &'static str,
    /// On which node, as an index; `None` when nobody can tell.
    pub node: Option<usize>,
    /// Since when, and until when.
    pub span: Span,
}

/// The life of one log.
#[derive(Debug, Clone)]
pub struct Epoch {
    /// From when to when it was there, with all nodes on it.
    pub span: Span,
    /// What was acknowledged, and is in it.
    pub acks: Vec<Ack>,
}

/// All that was seen of a run.
#[derive(Debug, Clone)]
pub struct Evidence {
    /// What clients met.
    pub tries: Vec<Try>,
    /// The logs that there were.
    pub epochs: Vec<Epoch>,
    /// What the effect's server got.
    pub letters: Vec<Letter>,
    /// When which node had nowhere to put its log lines.
    pub deaf: Vec<(usize, Span)>,
    /// The nodes' names.
    pub nodes: Vec<String>,
    /// What the nodes said and showed.
    pub seen: Seen,
}

const COMMANDS: &str = "commands are refused or not answered";
const READS: &str = "reads are refused or not answered";
const EVENTS: &str = "events are acknowledged and not handled";
const READ_MODEL: &str = "a read model stands still";
const LETTERS: &str = "there are dead letters";
const LINES: &str = "log lines are lost";

impl Evidence {
    /// All that was not right.
    pub fn deviations(&self) -> Vec<Deviation> {
        let mut all = Vec::new();
        for node in 0..self.nodes.len() {
            for (asked, what) in [(Asked::Command, COMMANDS), (Asked::Read, READS)] {
                let spans =
                    failing(self.tries.iter().filter(|t| t.node == node && t.asked == asked));
                all.extend(spans.into_iter().map(|span| Deviation {
                    what,
                    node: Some(node),
                    span,
                }));
            }
            let letters = self.seen.dead_letters.iter().filter(|number| number.node == node);
            let spans = joined(letters.map(|number| (number.at, number.is > 0)));
            let letters = spans.into_iter().map(|span| (LETTERS, span));
            let behind = self.epochs.iter().flat_map(|epoch| self.behind(epoch, node));
            let behind = behind.map(|span| (READ_MODEL, span));
            let found = letters.chain(behind).chain(self.lost_lines(node));
            all.extend(found.map(|(what, span)| Deviation { what, node: Some(node), span }));
        }
        let late = self.late().into_iter();
        all.extend(late.map(|span| Deviation { what: EVENTS, node: None, span }));
        all
    }

    /// When events that were acknowledged long enough before were not handled.
    fn late(&self) -> Vec<Span> {
        let mut handled = HashMap::new();
        for letter in &self.letters {
            handled.entry((letter.order.as_str(), letter.version)).or_insert(letter.at);
        }
        let mut spans = Vec::new();
        for epoch in &self.epochs {
            for ack in &epoch.acks {
                let due = ack.at + HANDLED;
                let done = handled.get(&(ack.order.as_str(), ack.version));
                let done = done.copied().unwrap_or(epoch.span.1);
                spans.extend((done > due).then_some((due, done)));
            }
        }
        union(spans)
    }

    /// When the node counted fewer orders than were acknowledged long enough before.
    fn behind(&self, epoch: &Epoch, node: usize) -> Vec<Span> {
        let made = epoch.acks.iter().filter(|ack| ack.version == 1).map(|ack| ack.at + HANDLED);
        let mut due: Vec<_> = made.collect();
        due.sort();
        let (from, to) = epoch.span;
        let counted =
            |number: &&Number| number.node == node && from <= number.at && number.at <= to;
        let counted = self.seen.orders.iter().filter(counted);
        joined(counted.map(|number| {
            let expected = due.partition_point(|at| *at < number.at) as u64;
            (number.at, number.is < expected)
        }))
    }

    /// When the node wrote lines that nobody got: with each effect it writes one.
    fn lost_lines(&self, node: usize) -> Vec<(&'static str, Span)> {
        let deaf = self.deaf.iter().filter(|(deaf, _)| *deaf == node);
        let lost = deaf.filter_map(|(_, (from, to))| {
            let name = &self.nodes[node];
            let mut written = self.letters.iter().filter(|letter| letter.node == *name);
            let first = written.find(|letter| *from <= letter.at && letter.at + SLOT <= *to)?;
            // Once is enough, and it must be.
            Some((LINES, (first.at, first.at + PATIENCE + SLOT)))
        });
        lost.collect()
    }

    /// What was wrong, and what of it without a word.
    pub fn judge(&self) -> Judgement {
        let mut judgement = Judgement::default();
        let begin = self.epochs.first().map(|epoch| epoch.span.0);
        for deviation in self.deviations() {
            let (from, to) = deviation.span;
            let is_long = to - from > PATIENCE;
            let count = judgement.counts.entry(deviation.what).or_default();
            count.0 += 1;
            count.1 += usize::from(is_long);
            if is_long && !is_told(deviation.span, &self.words(&deviation)) {
                let node = deviation.node.map_or("all nodes", |node| &self.nodes[node]);
                let since =
                    begin.map_or(Duration::ZERO, |begin| from.saturating_duration_since(begin));
                let lasted = to - from;
                judgement.silent.push(format!(
                    "{} at {node}, from {since:.1?} on for {lasted:.1?}",
                    deviation.what
                ));
            }
        }
        judgement
    }

    /// When something was said that tells of `deviation`, in the order of time.
    fn words(&self, deviation: &Deviation) -> Vec<Span> {
        let is_there = |node: usize| deviation.node.is_none_or(|there| there == node);
        if deviation.what == LINES {
            let lines: Vec<_> = self.seen.lost_lines.iter().filter(|n| is_there(n.node)).collect();
            let rises = lines.windows(2).filter(|two| two[1].is > 0 && two[1].is != two[0].is);
            return rises.map(|two| (two[1].at, two[1].at)).collect();
        }
        let told = self.seen.samples.iter();
        let told =
            told.filter(|sample| is_there(sample.node) && tells(&sample.word, deviation.what));
        let mut words: Vec<_> = told.map(|sample| (sample.asked, sample.at)).collect();
        words.sort();
        words
    }
}

/// Whether `word` is about such a thing: a projection that stopped is no word about events that nobody handles.
fn tells(word: &Word, what: &str) -> bool {
    let names = match word {
        Word::Healthy => return false,
        Word::Silence(_) => return true,
        Word::Sick(names) => names,
    };
    names.iter().any(|name| match name.as_str() {
        // Then nothing goes well.
        "store" | "tasks" | "transport" | "cluster" | "progress" => what != LETTERS,
        "readModels" => what == READ_MODEL || what == READS,
        "deadLetters" => what == LETTERS || what == EVENTS,
        // What is left are the handlers.
        _ => what == EVENTS,
    })
}

/// Whether no [`PATIENCE`] in a row of `span` is without one of `words`.
fn is_told((from, to): Span, words: &[Span]) -> bool {
    let mut told = from;
    for (asked, answered) in words {
        if told >= to || *asked > told + PATIENCE {
            break;
        }
        told = told.max(*answered);
    }
    to <= told + PATIENCE
}

/// When many of the requests failed.
fn failing<'a>(tries: impl Iterator<Item = &'a Try> + Clone) -> Vec<Span> {
    let Some(begin) = tries.clone().map(|seen| seen.begun).min() else { return Vec::new() };
    let slot = |at: Instant| (at - begin).as_secs();
    let mut slots: BTreeMap<u64, (u32, u32)> = BTreeMap::new();
    for seen in tries {
        let last = slot(seen.ended);
        let first = if seen.problem.is_some() { slot(seen.begun) } else { last };
        for slot in first..=last {
            let (all, failed) = slots.entry(slot).or_default();
            *all += 1;
            *failed += u32::from(seen.problem.is_some());
        }
    }
    let at = |slot: u64| begin + SLOT * u32::try_from(slot).expect("runs are short");
    joined(slots.into_iter().map(|(slot, (all, failed))| (at(slot), failed * FAILING >= all)))
}

/// The spans from each first to the last moment in a row at which something was so.
fn joined(moments: impl Iterator<Item = (Instant, bool)>) -> Vec<Span> {
    let (mut spans, mut open) = (Vec::<Span>::new(), false);
    for (at, is_so) in moments {
        match (is_so, open) {
            (true, true) => spans.last_mut().expect("one is open").1 = at,
            (true, false) => spans.push((at, at)),
            (false, _) => {}
        }
        open = is_so;
    }
    spans
}

/// The same time in spans that don't touch.
fn union(mut spans: Vec<Span>) -> Vec<Span> {
    spans.sort();
    let mut whole: Vec<Span> = Vec::new();
    for (from, to) in spans {
        match whole.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ => whole.push((from, to)),
        }
    }
    whole
}

/// What was wrong, and what of it without a word.
#[derive(Debug, Default)]
pub struct Judgement {
    /// How often each thing was wrong, and how often for longer than [`PATIENCE`].
    counts: BTreeMap<&'static str, (usize, usize)>,
    /// What was wrong without a word.
    pub silent: Vec<String>,
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (all, long) = self.counts.values().fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
        write!(f, "{all} deviations, {long} of them longer than {PATIENCE:?}")?;
        for (what, (all, long)) in &self.counts {
            write!(f, "; {what}: {all}, {long}")?;
        }
        write!(f, "; silent: {}", self.silent.len())
    }
}
