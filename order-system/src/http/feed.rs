//! `GET /events`: the log as it grows, as server-sent events
//! ([WHATWG HTML, 9.2](https://html.spec.whatwg.org/multipage/server-sent-events.html)).

use std::sync::Arc;

use std::{collections::VecDeque, convert::Infallible, time::Duration};

use axum::{
    extract::State,
    http::HeaderMap,
    response::{
        Sse,
        sse::{Event, KeepAlive},
    },
};
use catga::{Aggregate, Catga, Error, Recorded, log::Position};
use futures_util::{Stream, stream};
use tokio_util::sync::CancellationToken;

use super::{
    App,
    json::EventJson,
    problem::Problem,
    request::{Params, number},
};
use crate::domain::{events::OrderEvent, order::Order};

/// How many commits are read at once. A slow client is read for only when it has taken what it has.
const PAGE: usize = 256;

pub(super) async fn events(
    State(app): State<Arc<App>>,
    params: Params,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    params.only(&["from"])?;
    let from = params.parse("from", "a log position", number)?;
    // A browser that reconnects repeats the URL and adds the header: the header knows better.
    let last = match headers.get("last-event-id") {
        None => None,
        Some(id) => Some(id.to_str().ok().and_then(number).ok_or_else(|| {
            Problem::bad_request("the header Last-Event-ID takes a log position, a whole number")
        })?),
    };
    let feed = Feed {
        catga: app.catga.clone(),
        draining: app.draining.clone(),
        after: last.or(from).unwrap_or(0),
        ready: VecDeque::from([Event::default().retry(Duration::from_secs(2))]),
    };
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(15));
    Ok(Sse::new(stream::unfold(feed, Feed::next)).keep_alive(keep_alive))
}

struct Feed {
    catga: Catga,
    draining: CancellationToken,
    /// Everything up to here was sent, or is ready.
    after: Position,
    ready: VecDeque<Event>,
}

impl Feed {
    /// The next event; the stream ends at shutdown, and when the log can't be read. The client then resumes.
    async fn next(mut self) -> Option<(Result<Event, Infallible>, Self)> {
        loop {
            if let Some(event) = self.ready.pop_front() {
                return Some((Ok(event), self));
            }
            let draining = self.draining.clone();
            tokio::select! {
                () = draining.cancelled() => return None,
                outcome = self.read_on() => if let Err(error) = outcome {
                    tracing::warn!(%error, "a feed ended");
                    return None;
                }
            }
        }
    }

    async fn read_on(&mut self) -> Result<(), Error> {
        let page = self.catga.store().read_log(self.after, PAGE).await?;
        if page.is_empty() {
            return Ok(self.catga.store().wait(self.after).await?);
        }
        let mut last = self.after;
        for record in &page {
            let commit = record.commit().map_err(catga::handler::DecodeError::from)?;
            last = commit.last_position(record.position);
            if commit.stream_id().map_err(catga::handler::DecodeError::from)?.aggregate()
                != Order::NAME
            {
                continue;
            }
            for event in Recorded::<OrderEvent>::read(record)? {
                if event.position > self.after {
                    self.ready.push_back(sse(&event));
                }
            }
        }
        self.after = last;
        Ok(())
    }
}

fn sse(recorded: &Recorded<OrderEvent>) -> Event {
    let json = EventJson::from(recorded);
    Event::default()
        .id(recorded.position.to_string())
        .event(json.type_name())
        .data(serde_json::to_string(&json).expect("events are plain structs"))
}
