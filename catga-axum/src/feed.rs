//! `GET /events`: the log as it grows, as server-sent events
//! ([WHATWG HTML, 9.2](https://html.spec.whatwg.org/multipage/server-sent-events.html)).

use std::{collections::VecDeque, convert::Infallible, sync::Arc, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use catga::{
    Aggregate, Catga, Error, ErrorKind, Recorded,
    log::{LogId, Position, Record},
};
use futures_util::{Stream, stream};
use serde::Serialize;
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;

use crate::{
    event_json::{EventJson, key_member},
    problem::Problem,
    refusals::FEEDS,
    request::{LogPlace, Params},
    service::Shared,
};

/// How many commits are read at once at most. A slow client is read for only when it has taken what it has.
const PAGE: usize = 64;

/// Up to how many bytes a page has the next one has more commits; else it has fewer.
const PAGE_BYTES: usize = 64 << 10;

/// The query parameter of clients that can't set the header, as polyfills of `EventSource` in old browsers.
const LAST_EVENT_ID: &str = "lastEventId";

pub(crate) async fn events(
    State(shared): State<Arc<Shared>>,
    params: Params,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    params.only(&["from", LAST_EVENT_ID])?;
    let from = params.parse("from", LogPlace::ALLOWED, LogPlace::parse)?;
    let in_query = match params.text(LAST_EVENT_ID) {
        Some("") => None,
        _ => params.parse(LAST_EVENT_ID, LogPlace::ALLOWED, LogPlace::parse)?,
    };
    // A browser that reconnects repeats the URL and adds the header: the header knows better. One that has seen no event
    // yet may send it empty.
    let in_header = match headers.get("last-event-id").filter(|id| !id.is_empty()) {
        None => None,
        Some(id) => Some(id.to_str().ok().and_then(LogPlace::parse).ok_or_else(|| {
            let allowed = LogPlace::ALLOWED;
            Problem::bad_request(format!("the header Last-Event-ID takes {allowed}"))
        })?),
    };
    let place = in_header.or(in_query).or(from);
    let room = shared.feeds.clone().try_acquire_owned().map_err(|_| {
        FEEDS.count();
        Problem::too_many_feeds()
    })?;
    let mut ready = VecDeque::from([Event::default().retry(Duration::from_secs(2))]);
    let after = match place {
        None => Position::ZERO,
        Some(place) => begin(&shared.catga, place).await?.unwrap_or_else(|| {
            ready.push_back(reset(shared.catga.store().log_id()));
            Position::ZERO
        }),
    };
    let (count, records) = (1, VecDeque::new());
    let feed = Feed { _room: room, shared, after, count, records, ready };
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(stream::unfold(feed, Feed::next)).keep_alive(keep_alive))
}

/// Where a feed begins that resumes at `place`; `None` when the log does not have that.
async fn begin(catga: &Catga, place: LogPlace) -> Result<Option<Position>, Problem> {
    let Ok(position) = place.on(catga) else { return Ok(None) };
    match catga.check_position(position).await {
        Ok(()) => Ok(Some(position)),
        Err(error) if matches!(error.kind(), ErrorKind::PositionUnknown) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Tells a client that what it has is of another log, or of an end that was lost: this one follows from its beginning.
fn reset(log: LogId) -> Event {
    let data = json!({ "log": log.to_string() }).to_string();
    Event::default().id(LogPlace::of(Position::ZERO, log).to_string()).event("reset").data(data)
}

struct Feed {
    /// One of the places that there are for feeds.
    _room: OwnedSemaphorePermit,
    shared: Arc<Shared>,
    /// Everything up to here was sent, or is ready.
    after: Position,
    /// How many commits are read next: the page before tells how large they are.
    count: usize,
    /// The commits that come next.
    records: VecDeque<Record>,
    /// The events of one commit.
    ready: VecDeque<Event>,
}

impl Feed {
    /// The next event; the stream ends at shutdown, and when the log can't be read. The client then resumes.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((Ok(event), self));
            }
            let outcome = match self.records.pop_front() {
                Some(record) => self.show(&record),
                None => {
                    let draining = self.shared.draining.clone();
                    tokio::select! {
                        () = draining.cancelled() => return None,
                        outcome = self.read_page() => outcome,
                    }
                }
            };
            if let Err(error) = outcome {
                tracing::warn!(%error, "a feed ended");
                return None;
            }
        }
    }

    async fn read_page(&mut self) -> Result<(), Error> {
        let page = self.shared.catga.store().read_log(self.after, self.count).await?;
        if page.is_empty() {
            return Ok(self.shared.catga.store().wait(self.after).await?);
        }
        let bytes: usize = page.iter().map(|record| record.frame.len()).sum();
        self.count = if bytes < PAGE_BYTES { self.count * 2 } else { self.count / 2 };
        self.count = self.count.clamp(1, PAGE);
        let mut kept = 0;
        // What a slow client does not take for long is read again.
        let fits = |record: &Record| {
            kept += record.frame.len();
            kept == record.frame.len() || kept <= PAGE_BYTES
        };
        self.records = page.into_iter().take_while(fits).collect();
        Ok(())
    }

    fn show(&mut self, record: &Record) -> Result<(), Error> {
        let commit = record.commit().map_err(catga::handler::DecodeError::from)?;
        let last = commit.last_position(record.position);
        let stream = commit.stream_id().map_err(catga::handler::DecodeError::from)?;
        let mut sources = self.shared.domain.feeds.iter();
        if let Some(source) = sources.find(|source| source.aggregate == stream.aggregate()) {
            (source.read)(source, &self.shared.catga, record, self.after, &mut self.ready)?;
        }
        self.after = last;
        Ok(())
    }
}

/// An aggregate whose events are in the feed.
#[derive(Debug)]
pub(crate) struct Source {
    aggregate: &'static str,
    /// The name of the member that holds its key.
    member: String,
    read: Read,
}

/// Adds the events in a record that come after a position.
type Read = fn(&Source, &Catga, &Record, Position, &mut VecDeque<Event>) -> Result<(), Error>;

impl Source {
    pub(crate) fn of<A: Aggregate<Event: Serialize>>() -> Self {
        Self { aggregate: A::NAME, member: key_member(A::NAME), read: read::<A> }
    }
}

fn read<A: Aggregate<Event: Serialize>>(
    source: &Source,
    catga: &Catga,
    record: &Record,
    after: Position,
    ready: &mut VecDeque<Event>,
) -> Result<(), Error> {
    let (events, log) = (catga.read::<A::Event>(record)?, catga.store().log_id());
    let new = events.iter().filter(|event| event.position > after);
    ready.extend(new.map(|event| sse(event, &source.member, log)));
    Ok(())
}

fn sse<E: catga::Event + Serialize>(recorded: &Recorded<E>, member: &str, log: LogId) -> Event {
    let json = EventJson::new(recorded, member);
    let event = Event::default()
        .id(LogPlace::of(recorded.position, log).to_string())
        .event(json.type_name());
    event.data(serde_json::to_string(&json).expect("an event is a struct with named fields"))
}
