//! The simulation behind docs/scale.md: what is left of P5, P6 and P7 when a log is split, and what a barrier has to wait for.
//!
//! Clients append to streams, each of which is in one of several logs; nodes take in the logs a little at a time, each in
//! its own interleaving. Nothing here is catga's code: it checks the argument, not an implementation.

use catga_tests::dice::Dice;

const LOGS: usize = 4;
const NODES: usize = 3;
const STREAMS: usize = 12;

/// A commit: its stream, and the version it gives it.
type Commit = (usize, u64);

/// Several logs in place of one. A stream is in one of them for ever.
#[derive(Default)]
struct Split {
    logs: [Vec<Commit>; LOGS],
    versions: [u64; STREAMS],
}

/// A node's read model, and how far it is in each log.
#[derive(Default, Clone)]
struct Node {
    at: [usize; LOGS],
    versions: [u64; STREAMS],
    /// In the order that it saw them.
    seen: Vec<Commit>,
}

fn log_of(stream: usize) -> usize {
    stream % LOGS
}

impl Split {
    fn append(&mut self, stream: usize) -> u64 {
        self.versions[stream] += 1;
        self.logs[log_of(stream)].push((stream, self.versions[stream]));
        self.versions[stream]
    }

    fn heads(&self) -> [usize; LOGS] {
        [0, 1, 2, 3].map(|log| self.logs[log].len())
    }
}

impl Node {
    /// Takes in up to `limit` commits of one log.
    fn take_in(&mut self, split: &Split, log: usize, limit: usize) {
        for &(stream, version) in split.logs[log].iter().skip(self.at[log]).take(limit) {
            assert_eq!(version, self.versions[stream] + 1, "P7: a stream out of order");
            self.versions[stream] = version;
            self.seen.push((stream, version));
            self.at[log] += 1;
        }
    }

    /// Waits until it is at `heads`.
    fn wait_for(&mut self, split: &Split, heads: [usize; LOGS]) {
        for (log, head) in heads.into_iter().enumerate() {
            self.take_in(split, log, head.saturating_sub(self.at[log]));
        }
    }
}

/// How a node makes sure that it shows what was answered before a read began.
#[derive(Clone, Copy)]
enum Barrier {
    /// The head of every log.
    AllHeads,
    /// The head of the log that the stream is in: enough for a read of that stream.
    OwnHead,
    /// As one log's barrier, moved over carelessly: the position of the command's commit, without its log.
    BareNumber,
}

fn pass(node: &mut Node, split: &Split, barrier: Barrier, stream: usize, dice: &mut Dice) {
    let heads = split.heads();
    match barrier {
        Barrier::AllHeads => node.wait_for(split, heads),
        Barrier::OwnHead => {
            let mut wanted = node.at;
            wanted[log_of(stream)] = heads[log_of(stream)];
            node.wait_for(split, wanted);
        }
        Barrier::BareNumber => {
            let position = heads[log_of(stream)];
            while node.at.iter().all(|&at| at < position) {
                node.take_in(split, dice.index(LOGS), 1);
            }
        }
    }
}

/// What a run found.
#[derive(Default)]
struct Found {
    reads: usize,
    stale_streams: usize,
    stale_totals: usize,
    orders_differ: bool,
}

fn run(seed: u64, barrier: Barrier) -> Found {
    let mut dice = Dice::new(seed);
    let (mut split, mut found) = (Split::default(), Found::default());
    let mut nodes = vec![Node::default(); NODES];
    for _ in 0..300 {
        match dice.below(3) {
            0 => {
                let (node, log) = (dice.index(NODES), dice.index(LOGS));
                let limit = 1 + dice.index(5);
                nodes[node].take_in(&split, log, limit);
            }
            _ => {
                // A command, and right after it a read at some node, of the stream and of all.
                let stream = dice.index(STREAMS);
                let version = split.append(stream);
                let total: u64 = split.versions.iter().sum();
                let node = &mut nodes[dice.index(NODES)];
                pass(node, &split, barrier, stream, &mut dice);
                found.reads += 1;
                found.stale_streams += usize::from(node.versions[stream] < version);
                found.stale_totals += usize::from(node.versions.iter().sum::<u64>() < total);
            }
        }
    }
    for node in &mut nodes {
        node.wait_for(&split, split.heads());
        for log in 0..LOGS {
            let of_log = node.seen.iter().filter(|(stream, _)| log_of(*stream) == log);
            assert!(of_log.eq(&split.logs[log]), "P5: a log that was not seen whole and in order");
        }
        assert_eq!(node.versions, split.versions, "nodes agree in the end");
    }
    found.orders_differ = nodes.windows(2).any(|pair| pair[0].seen != pair[1].seen);
    found
}

/// Adds up a thousand runs.
fn runs(barrier: Barrier) -> (Found, usize) {
    let mut all = Found::default();
    let mut differ = 0;
    for found in (0..1000).map(|seed| run(seed, barrier)) {
        all.reads += found.reads;
        all.stale_streams += found.stale_streams;
        all.stale_totals += found.stale_totals;
        differ += usize::from(found.orders_differ);
    }
    (all, differ)
}

#[test]
fn p6_holds_over_split_logs_when_the_barrier_waits_for_every_head() {
    let (found, _) = runs(Barrier::AllHeads);
    assert_eq!((found.stale_streams, found.stale_totals), (0, 0), "{} reads", found.reads);
    assert!(found.reads > 100_000, "void");
}

#[test]
fn p6_of_one_stream_needs_only_the_head_of_its_log() {
    let (found, _) = runs(Barrier::OwnHead);
    assert_eq!(found.stale_streams, 0);
    assert!(found.stale_totals > 0, "void: a total over all streams would need every head");
}

#[test]
fn a_position_that_does_not_name_its_log_is_found_out() {
    let (found, _) = runs(Barrier::BareNumber);
    assert!(found.stale_streams > 0 && found.stale_totals > 0, "void: nothing is ever stale");
}

#[test]
fn p5_holds_for_each_log_and_there_is_no_order_over_all() {
    let (_, differ) = runs(Barrier::AllHeads);
    assert!(differ > 900, "void: nodes saw different orders in {differ} of 1,000 runs only");
}
