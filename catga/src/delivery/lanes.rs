//! What a runner has in hand: the window of commits it has read, and a lane for each stream in it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use super::{Checkpoint, feed::Fed};
use crate::{DecodeError, EventType, Position, StreamId};

/// One event on its way to the handler.
#[derive(Debug, Clone)]
pub(super) struct Delivery {
    pub(super) stream: StreamId,
    pub(super) fed: Arc<Fed>,
    /// The event's place in the commit.
    pub(super) index: usize,
    /// The number of the commit in the window, counted from the runner's start.
    commit: u64,
}

impl Delivery {
    pub(super) fn position(&self) -> Position {
        self.fed.record.position + self.index as u64
    }
}

/// Commits that were read and are not all handled, and the deliveries they hold, by stream.
///
/// A stream's lane has one delivery out at a time, so its events are handled in order; lanes are
/// independent of one another.
#[derive(Debug)]
pub(super) struct Lanes {
    types: &'static [EventType],
    window: VecDeque<Pending>,
    /// The number of the first commit in `window`.
    first: u64,
    lanes: HashMap<StreamId, VecDeque<Delivery>>,
    /// Streams with a delivery out.
    busy: HashSet<StreamId>,
    /// Streams with a delivery to give out and none out.
    ready: VecDeque<StreamId>,
    /// The number of the last commit of which something was given out.
    begun: Option<u64>,
    /// The end of the stretch in which everything is done.
    done: Option<Checkpoint>,
}

#[derive(Debug)]
struct Pending {
    last: Checkpoint,
    open: usize,
}

impl Lanes {
    pub(super) fn new(types: &'static [EventType]) -> Self {
        Self {
            types,
            window: VecDeque::new(),
            first: 0,
            lanes: HashMap::new(),
            busy: HashSet::new(),
            ready: VecDeque::new(),
            begun: None,
            done: None,
        }
    }

    /// How many commits are not done yet.
    pub(super) fn len(&self) -> usize {
        self.window.len()
    }

    /// Takes in that there is nothing for the handler up to `last`.
    pub(super) fn pass(&mut self, last: Checkpoint) {
        self.window.push_back(Pending { last, open: 0 });
        self.settle();
    }

    /// Takes in the next commit; its events from position `from` on that the handler gets are put in their lane,
    /// unless the stream is parked. Answers the stream if events of it were left to the parked.
    pub(super) fn push(
        &mut self,
        fed: &Arc<Fed>,
        from: Position,
        is_parked: impl Fn(&StreamId) -> bool,
    ) -> Result<Option<StreamId>, DecodeError> {
        let record = &fed.record;
        let commit = record.commit()?;
        let wanted: Vec<usize> = (0..commit.events.len())
            .filter(|&i| record.position + i as u64 >= from)
            .filter(|&i| self.types.iter().any(|ty| ty.name == commit.events[i].name))
            .collect();
        if wanted.is_empty() {
            self.pass(fed.last);
            return Ok(None);
        }
        let stream = commit.stream_id()?;
        if is_parked(&stream) {
            self.pass(fed.last);
            return Ok(Some(stream));
        }
        let number = self.first + self.window.len() as u64;
        self.window.push_back(Pending { last: fed.last, open: wanted.len() });
        let lane = self.lanes.entry(stream.clone()).or_default();
        let is_idle = lane.is_empty() && !self.busy.contains(&stream);
        lane.extend(wanted.into_iter().map(|index| Delivery {
            stream: stream.clone(),
            fed: fed.clone(),
            index,
            commit: number,
        }));
        if is_idle {
            self.ready.push_back(stream);
        }
        Ok(None)
    }

    /// The next delivery to give out.
    pub(super) fn next(&mut self) -> Option<Delivery> {
        let stream = self.ready.pop_front()?;
        let delivery = self.lanes.get_mut(&stream)?.pop_front()?;
        self.busy.insert(stream);
        self.begun = self.begun.max(Some(delivery.commit));
        Some(delivery)
    }

    /// Forgets what lies above the last commit of which something was given out. Once what is left is
    /// finished, everything that ever was given out is done.
    pub(super) fn keep_begun(&mut self) {
        let begun = self.begun;
        self.lanes.retain(|_, lane| {
            lane.retain(|delivery| Some(delivery.commit) <= begun);
            !lane.is_empty()
        });
        self.ready.retain(|stream| self.lanes.contains_key(stream));
    }

    /// `delivery` is handled: the next of its stream can go out.
    pub(super) fn finish(&mut self, delivery: &Delivery) {
        self.close(delivery.commit);
        self.busy.remove(&delivery.stream);
        match self.lanes.get(&delivery.stream) {
            Some(lane) if !lane.is_empty() => self.ready.push_back(delivery.stream.clone()),
            _ => {
                self.lanes.remove(&delivery.stream);
            }
        }
        self.settle();
    }

    /// `delivery` is parked, and with it what waits in its lane. Answers the position of the last event that
    /// was left to the parked.
    pub(super) fn park(&mut self, delivery: &Delivery) -> Position {
        self.close(delivery.commit);
        self.busy.remove(&delivery.stream);
        let mut last = delivery.position();
        for waiting in self.lanes.remove(&delivery.stream).unwrap_or_default() {
            self.close(waiting.commit);
            last = waiting.position();
        }
        self.settle();
        last
    }

    /// The end of the stretch in which everything is done, if it has moved.
    pub(super) fn done(&self) -> Option<Checkpoint> {
        self.done
    }

    fn close(&mut self, commit: u64) {
        let index = usize::try_from(commit - self.first).expect("the window fits in memory");
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
