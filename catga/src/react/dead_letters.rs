//! Dead letters: the events that a handler gave up on, as a read model of the log.
//!
//! An event that fails to the last attempt is parked, and with it every later event of its stream for that
//! handler; other streams go on. The parked events are not copied: the log holds them, and the dead letter says
//! where to go on.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use crate::{
    log::{EventId, Position, StreamId, Timestamp, Version},
    model::{Recorded, Snapshots},
    react::parking_event::{EventParked, ParkingEvent},
    read::Projection,
    store::partition,
};

/// An event that a handler gave up on. The later events of its stream wait behind it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// `{handler}.{event id}`.
    pub id: String,
    /// The handler.
    pub handler: String,
    /// The stream that waits.
    pub stream: StreamId,
    /// The event's version.
    pub version: Version,
    /// The event's position.
    pub position: Position,
    /// The event's id.
    pub event_id: EventId,
    /// The event's type.
    pub event_type: String,
    /// How often it was tried, over all retries.
    pub attempts: u32,
    /// What the handler answered last.
    pub error: String,
    /// When it was parked first.
    pub since: Timestamp,
    /// What is being done about it.
    pub status: DeadLetterStatus,
}

/// What is being done about a dead letter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeadLetterStatus {
    /// Nothing: it waits for somebody.
    Parked,
    /// It is being tried again, and then the events behind it.
    Retrying,
    /// It is being left out, and the events behind it are delivered.
    Dropping,
}

impl DeadLetter {
    /// Whether somebody acted on it and its handler has not finished yet.
    pub fn is_in_progress(&self) -> bool {
        self.status != DeadLetterStatus::Parked
    }

    /// Where it is among all dead letters.
    pub fn place(&self) -> DeadLetterPlace {
        DeadLetterPlace { position: self.position, handler: self.handler.clone() }
    }
}

/// Which dead letters are meant: those that have all that is said here; by default all of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// Those of this handler.
    pub handler: Option<String>,
    /// Those with an event of this type.
    pub event_type: Option<String>,
    /// Those whose last error has this text in it.
    pub error: Option<String>,
}

impl DeadLetterFilter {
    fn takes(&self, letter: &DeadLetter) -> bool {
        let is = |wanted: &Option<String>, found: &String| {
            wanted.as_ref().is_none_or(|wanted| wanted == found)
        };
        is(&self.handler, &letter.handler)
            && is(&self.event_type, &letter.event_type)
            && self.error.as_ref().is_none_or(|text| letter.error.contains(text))
    }
}

/// A page of dead letters, oldest event first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DeadLetterPage {
    /// What is on the page.
    pub dead_letters: Vec<DeadLetter>,
    /// How many match in all.
    pub total: usize,
    /// What the next page comes after; `None` at the end.
    pub next: Option<DeadLetterPlace>,
}

/// Where a dead letter is among all of them. It is there also when the dead letter is gone.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DeadLetterPlace {
    /// The position of the event.
    pub position: Position,
    /// The handler: several may give up on one event.
    pub handler: String,
}

/// All dead letters. A handler has at most one for a stream.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct DeadLetters {
    all: BTreeMap<DeadLetterPlace, DeadLetter>,
    /// Where the letter of a stream is, by handler. A handler stays here when it has none any more.
    by_stream: BTreeMap<String, HashMap<StreamId, Position>>,
    /// Where a letter is, by its id.
    by_id: HashMap<String, DeadLetterPlace>,
    /// Those that somebody acted on, by handler and partition.
    requested: BTreeMap<(String, u16), BTreeSet<Position>>,
}

/// The dead letters of every handler.
#[catga_macros::projection]
impl Projection for DeadLetters {
    type Event = ParkingEvent;
    const NAME: &'static str = "catga-dead-letters";
    /// As often as the program's own projections.
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(10_000));

    fn apply(&mut self, recorded: &Recorded<ParkingEvent>) {
        match &recorded.event {
            ParkingEvent::Taken(_) => {}
            ParkingEvent::Parked(parked) => self.park(parked, recorded.time),
            ParkingEvent::Retry(retry) => {
                self.set_status(&retry.letter, DeadLetterStatus::Retrying);
            }
            ParkingEvent::Drop(drop) => self.set_status(&drop.letter, DeadLetterStatus::Dropping),
            ParkingEvent::Released(released) => {
                if let Ok(stream) = released.stream.parse() {
                    self.remove(&released.handler, &stream);
                }
            }
        }
    }
}

impl DeadLetters {
    fn park(&mut self, parked: &EventParked, time: Timestamp) {
        let Ok(stream) = parked.stream.parse::<StreamId>() else { return };
        let id = dead_letter_id(&parked.handler, parked.event_id);
        let earlier = self.remove(&parked.handler, &stream).filter(|letter| letter.id == id);
        // Somebody may have dropped it while it was tried again.
        let is_dropped = earlier.as_ref().is_some_and(|l| l.status == DeadLetterStatus::Dropping);
        let letter = DeadLetter {
            since: earlier.as_ref().map_or(time, |letter| letter.since),
            attempts: earlier.map_or(0, |letter| letter.attempts) + parked.attempts,
            id,
            handler: parked.handler.clone(),
            stream: stream.clone(),
            version: parked.version,
            position: parked.position,
            event_id: parked.event_id,
            event_type: parked.event_type.clone(),
            error: parked.error.clone(),
            status: DeadLetterStatus::Parked,
        };
        let place = DeadLetterPlace { position: parked.position, handler: parked.handler.clone() };
        let streams = self.by_stream.entry(parked.handler.clone()).or_default();
        streams.insert(stream, parked.position);
        self.by_id.insert(letter.id.clone(), place.clone());
        let id = letter.id.clone();
        self.all.insert(place, letter);
        if is_dropped {
            self.set_status(&id, DeadLetterStatus::Dropping);
        }
    }

    fn remove(&mut self, handler: &str, stream: &StreamId) -> Option<DeadLetter> {
        let position = self.by_stream.get_mut(handler)?.remove(stream)?;
        if let Some(requested) = self.requested.get_mut(&(handler.to_owned(), partition(stream))) {
            requested.remove(&position);
        }
        let letter = self.all.remove(&DeadLetterPlace { position, handler: handler.to_owned() })?;
        self.by_id.remove(&letter.id);
        Some(letter)
    }

    fn set_status(&mut self, id: &str, status: DeadLetterStatus) {
        let Some(letter) = self.by_id.get(id).and_then(|place| self.all.get_mut(place)) else {
            return;
        };
        letter.status = status;
        let work = (letter.handler.clone(), partition(&letter.stream));
        self.requested.entry(work).or_default().insert(letter.position);
    }

    /// All letters, oldest event first.
    pub(crate) fn all(&self) -> Vec<DeadLetter> {
        self.all.values().cloned().collect()
    }

    /// The letter with this id.
    pub(crate) fn get(&self, id: &str) -> Option<&DeadLetter> {
        self.all.get(self.by_id.get(id)?)
    }

    /// Those that match, from behind `after` on, `limit` at most.
    pub(crate) fn page(
        &self,
        filter: &DeadLetterFilter,
        after: Option<&DeadLetterPlace>,
        limit: usize,
    ) -> DeadLetterPage {
        let mut page = DeadLetterPage::default();
        for (place, letter) in self.all.iter().filter(|(_, letter)| filter.takes(letter)) {
            page.total += 1;
            if after.is_some_and(|after| place <= after) {
                continue;
            }
            if page.dead_letters.len() < limit {
                page.dead_letters.push(letter.clone());
            } else if page.next.is_none() {
                page.next = page.dead_letters.last().map(DeadLetter::place);
            }
        }
        page
    }

    /// The letters of `handler` in a partition that somebody acted on, oldest event first.
    pub(crate) fn requested(
        &self,
        handler: &str,
        partition: u16,
    ) -> impl Iterator<Item = &DeadLetter> {
        let positions = self.requested.get(&(handler.to_owned(), partition)).into_iter().flatten();
        positions.filter_map(move |&position| {
            self.all.get(&DeadLetterPlace { position, handler: handler.to_owned() })
        })
    }

    /// How many letters each handler has. One that has none any more is here with 0.
    pub(crate) fn counts(&self) -> BTreeMap<String, usize> {
        self.by_stream.iter().map(|(handler, streams)| (handler.clone(), streams.len())).collect()
    }
}

fn dead_letter_id(handler: &str, event: EventId) -> String {
    format!("{handler}.{event}")
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const THERE: Timestamp = Timestamp::from_micros(7);

    /// An event of `stream` at `position` that `handler` gave up on.
    fn parked(handler: &str, stream: &str, position: u64, error: &str) -> EventParked {
        EventParked {
            handler: handler.to_owned(),
            stream: stream.to_owned(),
            version: 1.into(),
            position: position.into(),
            event_id: Uuid::from_u128(position.into()),
            event_type: if position.is_multiple_of(2) { "Even" } else { "Odd" }.to_owned(),
            attempts: 5,
            error: error.to_owned(),
        }
    }

    fn letters() -> DeadLetters {
        let mut letters = DeadLetters::default();
        for (handler, stream, position, error) in [
            ("mail", "a/1", 9, "no such mailbox"),
            ("mail", "a/2", 2, "the server is away"),
            ("stock", "a/1", 9, "the server is away"),
            ("mail", "a/3", 5, "the server is away"),
            ("stock", "a/4", 3, "it is closed"),
        ] {
            letters.park(&parked(handler, stream, position, error), THERE);
        }
        letters
    }

    fn ids(page: &DeadLetterPage) -> Vec<(u64, &str)> {
        page.dead_letters.iter().map(|l| (l.position.get(), l.handler.as_str())).collect()
    }

    #[test]
    fn pages_go_on_where_the_last_one_ended_whatever_happened_meanwhile() {
        let (mut letters, all) = (letters(), DeadLetterFilter::default());
        let first = letters.page(&all, None, 2);
        assert_eq!((ids(&first), first.total), (vec![(2, "mail"), (3, "stock")], 5));
        letters.remove("stock", &"a/4".parse().unwrap());
        letters.park(&parked("mail", "a/9", 1, "old"), THERE);
        let second = letters.page(&all, first.next.as_ref(), 2);
        assert_eq!(ids(&second), [(5, "mail"), (9, "mail")]);
        let third = letters.page(&all, second.next.as_ref(), 2);
        assert_eq!((ids(&third), &third.next), (vec![(9, "stock")], &None));
        let whole = letters.page(&all, None, 5);
        assert_eq!(
            (whole.dead_letters.len(), whole.next),
            (5, None),
            "a full page may be the last"
        );
    }

    #[test]
    fn a_filter_takes_what_has_all_that_it_says() {
        let letters = letters();
        let found = |handler: &str, event_type: &str, error: &str| {
            let given = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
            let filter = DeadLetterFilter {
                handler: given(handler),
                event_type: given(event_type),
                error: given(error),
            };
            let page = letters.page(&filter, None, 9);
            assert_eq!(page.total, page.dead_letters.len());
            ids(&page).into_iter().map(|(position, _)| position).collect::<Vec<_>>()
        };
        assert_eq!(found("mail", "", ""), [2, 5, 9]);
        assert_eq!(found("", "Odd", ""), [3, 5, 9, 9]);
        assert_eq!(found("", "", "away"), [2, 5, 9]);
        assert_eq!(found("mail", "Odd", "away"), [5]);
        assert_eq!(found("mai", "", ""), [0; 0]);
    }

    #[test]
    fn what_somebody_acted_on_is_found_by_its_handler_until_it_is_done() {
        let mut letters = letters();
        let id = dead_letter_id("mail", Uuid::from_u128(5));
        let (stream, at) = ("a/3".parse().unwrap(), partition(&"a/3".parse().unwrap()));
        letters.set_status(&id, DeadLetterStatus::Dropping);
        let status = |letters: &DeadLetters| letters.requested("mail", at).next().map(|l| l.status);
        assert_eq!(status(&letters), Some(DeadLetterStatus::Dropping));
        assert!(letters.requested("mail", (at + 1) % 8).next().is_none());
        // Somebody dropped it while it was tried, and then it failed.
        letters.park(&parked("mail", "a/3", 5, "again"), THERE);
        assert_eq!(status(&letters), Some(DeadLetterStatus::Dropping), "that is not forgotten");
        assert_eq!(letters.get(&id).unwrap().attempts, 10);
        letters.remove("mail", &stream);
        assert!(status(&letters).is_none() && letters.get(&id).is_none());
        assert_eq!(letters.counts(), [("mail".to_owned(), 2), ("stock".to_owned(), 2)].into());
        letters
            .set_status(&dead_letter_id("stock", Uuid::from_u128(3)), DeadLetterStatus::Retrying);
        letters.park(&parked("stock", "a/4", 3, "again"), THERE);
        assert!(letters.all().iter().all(|letter| !letter.is_in_progress()));
    }
}
