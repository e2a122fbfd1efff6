//! What a runner has in hand: the window of commits it has read, and a lane for each stream in it.

use std::{
    collections::{HashMap, VecDeque, hash_map::Entry},
    sync::Arc,
};

use foldhash::fast::RandomState;

use crate::{
    cluster::Checkpoint,
    follow::DecodedCommit,
    log::{Position, StreamId},
    model::{DecodeError, EventType},
};

/// One event on its way to the handler.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) stream: StreamId,
    pub(crate) commit: Arc<DecodedCommit>,
    /// The event's place in the commit.
    pub(crate) index: usize,
    /// The commit's number, counted from the runner's start.
    number: u64,
}

impl Delivery {
    pub(crate) fn position(&self) -> Position {
        self.commit.record.position + self.index as u64
    }
}

/// Commits that were read and are not all handled, and the deliveries they hold, by stream.
///
/// A stream has one delivery ready or out at a time, so its events are handled in order; streams are
/// independent of one another.
#[derive(Debug)]
pub(crate) struct Lanes {
    types: &'static [EventType],
    window: VecDeque<OpenCommit>,
    /// The number of the first commit in `window`.
    first: u64,
    /// One delivery of each stream that has none out.
    ready: VecDeque<Delivery>,
    /// The streams that have a delivery ready or out, with what waits behind it.
    waiting: HashMap<StreamId, VecDeque<Delivery>, RandomState>,
    /// The number of the last commit of which something was given out.
    begun: Option<u64>,
    /// The end of the stretch in which everything is done.
    done: Option<Checkpoint>,
}

#[derive(Debug)]
struct OpenCommit {
    last: Checkpoint,
    open: usize,
}

impl Lanes {
    pub(crate) fn new(types: &'static [EventType]) -> Self {
        Self {
            types,
            window: VecDeque::new(),
            first: 0,
            ready: VecDeque::new(),
            waiting: HashMap::default(),
            begun: None,
            done: None,
        }
    }

    /// How many commits are not done yet.
    pub(crate) fn len(&self) -> usize {
        self.window.len()
    }

    /// Takes in that there is nothing for the handler up to `last`.
    pub(crate) fn pass(&mut self, last: Checkpoint) {
        self.window.push_back(OpenCommit { last, open: 0 });
        self.settle();
    }

    /// Takes in the next commit; its events from position `from` on that the handler gets are put in their lane,
    /// unless the stream is parked. Answers the stream if events of it were left to the parked.
    pub(crate) fn push(
        &mut self,
        commit: &Arc<DecodedCommit>,
        from: Position,
        is_parked: impl Fn(&StreamId) -> bool,
    ) -> Result<Option<StreamId>, DecodeError> {
        let types = self.types;
        let wanted = commit.event_names().enumerate();
        let wanted = wanted.filter(|(index, name)| {
            commit.record.position + *index as u64 >= from
                && types.iter().any(|ty| ty.name.as_bytes() == *name)
        });
        let mut wanted = wanted.map(|(index, _)| index).peekable();
        if wanted.peek().is_none() {
            self.pass(commit.last);
            return Ok(None);
        }
        let stream = commit.stream()?;
        if is_parked(&stream) {
            self.pass(commit.last);
            return Ok(Some(stream));
        }
        let number = self.first + self.window.len() as u64;
        let mut open = 0;
        for index in wanted {
            open += 1;
            let delivery =
                Delivery { stream: stream.clone(), commit: commit.clone(), index, number };
            match self.waiting.entry(stream.clone()) {
                Entry::Occupied(mut waiting) => waiting.get_mut().push_back(delivery),
                Entry::Vacant(none) => {
                    none.insert(VecDeque::new());
                    self.ready.push_back(delivery);
                }
            }
        }
        self.window.push_back(OpenCommit { last: commit.last, open });
        Ok(None)
    }

    /// The next delivery to give out.
    pub(crate) fn next(&mut self) -> Option<Delivery> {
        let delivery = self.ready.pop_front()?;
        self.begun = self.begun.max(Some(delivery.number));
        Some(delivery)
    }

    /// Forgets what lies above the last commit of which something was given out. Once what is left is
    /// finished, everything that ever was given out is done.
    pub(crate) fn keep_begun(&mut self) {
        let begun = self.begun;
        let is_begun = |delivery: &Delivery| Some(delivery.number) <= begun;
        let Self { ready, waiting, .. } = self;
        waiting.values_mut().for_each(|lane| lane.retain(is_begun));
        ready.retain(|delivery| {
            let is_kept = is_begun(delivery);
            if !is_kept {
                waiting.remove(&delivery.stream);
            }
            is_kept
        });
    }

    /// `delivery` is handled: the next of its stream can go out.
    pub(crate) fn finish(&mut self, delivery: &Delivery) {
        self.close(delivery.number);
        if let Entry::Occupied(mut waiting) = self.waiting.entry(delivery.stream.clone()) {
            match waiting.get_mut().pop_front() {
                Some(next) => self.ready.push_back(next),
                None => drop(waiting.remove()),
            }
        }
        self.settle();
    }

    /// `delivery` is parked, and with it what waits in its lane. Answers the position of the last event that
    /// was left to the parked.
    pub(crate) fn park(&mut self, delivery: &Delivery) -> Position {
        self.close(delivery.number);
        let mut last = delivery.position();
        for waiting in self.waiting.remove(&delivery.stream).unwrap_or_default() {
            self.close(waiting.number);
            last = waiting.position();
        }
        self.settle();
        last
    }

    /// The end of the stretch in which everything is done, if it has moved.
    pub(crate) fn done(&self) -> Option<Checkpoint> {
        self.done
    }

    fn close(&mut self, number: u64) {
        let index = usize::try_from(number - self.first).expect("the window fits in memory");
        self.window[index].open -= 1;
    }

    fn settle(&mut self) {
        while let Some(front) = self.window.front().filter(|front| front.open == 0) {
            self.done = Some(front.last);
            self.window.pop_front();
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use crate::{
        log::{EventFrame, Record, Version},
        testing,
    };

    const TYPES: &[EventType] = &[EventType { name: "Wanted", version: 1 }];

    /// A commit of `stream` that begins at `position`, with an event for each of `names`.
    fn commit(stream: &str, position: u64, names: &[&str]) -> Arc<DecodedCommit> {
        let event = |name| EventFrame { id: Uuid::nil(), name, schema: 1, payload: &[] };
        let stream = stream.parse().unwrap();
        let frame =
            testing::commit(&stream, Version::ZERO, names.iter().copied().map(event)).encode();
        let record = Record { position: position.into(), token: 0, frame };
        Arc::new(DecodedCommit::new(&record).unwrap())
    }

    fn push(lanes: &mut Lanes, commit: &Arc<DecodedCommit>) {
        assert!(lanes.push(commit, Position::FIRST, |_| false).unwrap().is_none());
    }

    fn done(lanes: &Lanes) -> Option<Position> {
        lanes.done().map(|done| done.position)
    }

    #[test]
    fn a_stream_goes_in_order_and_others_do_not_wait_for_it() {
        let mut lanes = Lanes::new(TYPES);
        push(&mut lanes, &commit("test/a", 1, &["Wanted", "Other", "Wanted"]));
        push(&mut lanes, &commit("test/b", 4, &["Wanted"]));
        push(&mut lanes, &commit("test/a", 5, &["Wanted"]));
        push(&mut lanes, &commit("test/c", 6, &["Other"]));
        let (a, b) = (lanes.next().unwrap(), lanes.next().unwrap());
        assert_eq!((a.position(), b.position()), (1.into(), 4.into()));
        assert!(lanes.next().is_none());
        lanes.finish(&b);
        assert_eq!(done(&lanes), None);
        let mut out = a;
        for position in [3, 5] {
            lanes.finish(&out);
            out = lanes.next().unwrap();
            assert_eq!(out.position(), position);
        }
        lanes.finish(&out);
        assert_eq!((done(&lanes), lanes.len()), (Some(6.into()), 0));
    }

    #[test]
    fn a_parked_event_takes_along_what_waits_behind_it() {
        let mut lanes = Lanes::new(TYPES);
        push(&mut lanes, &commit("test/a", 1, &["Wanted"]));
        push(&mut lanes, &commit("test/a", 2, &["Wanted"]));
        let first = lanes.next().unwrap();
        assert_eq!(lanes.park(&first), 2);
        let left =
            lanes.push(&commit("test/a", 3, &["Wanted"]), Position::FIRST, |_| true).unwrap();
        assert!(left.is_some() && lanes.next().is_none());
        assert_eq!(done(&lanes), Some(3.into()));
    }

    #[test]
    fn what_was_not_begun_is_forgotten_up_to_the_last_commit_that_was() {
        let mut lanes = Lanes::new(TYPES);
        for (stream, position) in [("test/a", 1), ("test/b", 2), ("test/a", 3), ("test/c", 4)] {
            push(&mut lanes, &commit(stream, position, &["Wanted"]));
        }
        let (a, b) = (lanes.next().unwrap(), lanes.next().unwrap());
        lanes.keep_begun();
        lanes.finish(&a);
        lanes.finish(&b);
        assert!(lanes.next().is_none());
        assert_eq!((done(&lanes), lanes.waiting.len()), (Some(2.into()), 0));
    }
}
