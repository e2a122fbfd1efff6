//! Histories as routes: the events of one aggregate.

use std::{fmt, marker::PhantomData, panic::Location, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{StatusCode, header},
    response::Response,
    routing::{MethodRouter, on},
};
use catga::{
    Aggregate, History, HistoryPage, Query,
    handler::{Context, FromContext, Handled, Interrupt, KeyField, Targeted},
    log::{InvalidStreamId, StreamId},
};
use serde::Serialize;

use crate::{
    app::{Domain, Listed},
    describe,
    endpoint::{At, Endpoint},
    event_json::{EventJson, key_member},
    feed,
    message::number,
    page::{Limit, link},
    path::{Names, Values, parameters},
    problem::Failure,
    request::{CONSISTENCY, Params},
    respond::json_response,
    service::Shared,
};

/// How many bytes of commits a page is made of at most, beyond its first one.
const PAGE_BYTES: usize = 1 << 20;

/// A route that shows what happened to one aggregate, oldest first: `/orders/{id}/history`.
///
/// `?from=` and `?limit=` make pages, with `Link` to the next one. The events of all aggregates that have a history are
/// in the service's feed, too, `/events`.
#[track_caller]
pub fn history<A: Aggregate>() -> HistoryRoute<A> {
    HistoryRoute { at: Location::caller(), of: PhantomData }
}

/// See [`history`].
pub struct HistoryRoute<A> {
    at: &'static Location<'static>,
    of: PhantomData<fn() -> A>,
}

impl<A: Aggregate> fmt::Debug for HistoryRoute<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HistoryRoute").field("of", &A::NAME).finish_non_exhaustive()
    }
}

impl<A: Aggregate<Event: Serialize>> Endpoint for HistoryRoute<A> {
    fn mount(self, at: At, domain: &mut Domain) -> MethodRouter<Arc<Shared>> {
        let mut names = Names::default();
        parameters(at.path).for_each(|name| names.push(name));
        assert!(names.as_slice().len() == 1, "{}: a history is of one aggregate", at.path);
        let doc = format!("What happened to one {}", A::NAME);
        let operation =
            at.operation(format!("get{}History", title(A::NAME)), (doc.clone(), String::new()));
        domain.operations.push(describe::history::<A>(operation));
        domain.feeds.push(feed::Source::of::<A>());
        domain.listed.push(Listed { name: GetHistory::<A>::NAME, doc: doc + ".", at: self.at });
        let member: &'static str = key_member(A::NAME).leak();
        on(at.method, move |State(shared): State<Arc<Shared>>, request: Request| async move {
            let outcome = respond::<A>(&shared, &names, member, request).await;
            outcome.map_err(|failure| failure.into_problem(&shared))
        })
    }
}

fn title(name: &str) -> String {
    let member = key_member(name);
    let (first, rest) = member.trim_end_matches("Id").split_at(1);
    first.to_ascii_uppercase() + rest
}

async fn respond<A: Aggregate<Event: Serialize>>(
    shared: &Shared,
    names: &Names,
    member: &str,
    request: Request,
) -> Result<Response, Failure> {
    let (mut parts, _) = request.into_parts();
    let key = Values::of(&mut parts, names).ok_or(Failure::NoSuchKey)?.take(0);
    let params = Params::of(&parts.uri)?;
    params.only(&["from", "limit", CONSISTENCY])?;
    let positive = |text: &str| number(text).filter(|from| *from > 0);
    let from = params.parse("from", "a version, 1 or more", positive)?.unwrap_or(1);
    let Limit(limit) = params.parse("limit", "1 to 1000", Limit::parse)?.unwrap_or_default();
    let consistency = params.consistency(&parts.headers, &shared.catga).await?;
    let query = GetHistory::<A> { key, from, limit, of: PhantomData };
    let page = shared.catga.query(query).consistency(consistency).await?;
    let HistoryPage { events, next } = page.ok_or(Failure::NoSuchKey)?;
    let shown: Vec<_> = events.iter().map(|event| EventJson::new(event, member)).collect();
    let mut response = json_response(StatusCode::OK, &shown);
    if let Some(next) = next {
        let link = link(parts.uri.path(), "from", next, params.pairs());
        response.headers_mut().insert(header::LINK, link);
    }
    Ok(response)
}

/// What happened to one aggregate; `None` when nothing did.
struct GetHistory<A> {
    key: String,
    from: u64,
    limit: usize,
    of: PhantomData<fn() -> A>,
}

/// How many bytes a name has at most.
const LONGEST: usize = 256;

/// `NAME.history`, and its length.
const fn named(aggregate: &str) -> ([u8; LONGEST], usize) {
    let (mut name, mut length) = ([0; LONGEST], 0);
    let parts = [aggregate.as_bytes(), b".history"];
    let mut part = 0;
    while part < parts.len() {
        let mut byte = 0;
        while byte < parts[part].len() {
            name[length] = parts[part][byte];
            (byte, length) = (byte + 1, length + 1);
        }
        part += 1;
    }
    (name, length)
}

impl<A: Aggregate> GetHistory<A> {
    const NAMED: &'static ([u8; LONGEST], usize) = &named(A::NAME);
}

impl<A: Aggregate> Query for GetHistory<A> {
    const NAME: &'static str = match std::str::from_utf8(Self::NAMED.0.split_at(Self::NAMED.1).0) {
        Ok(name) => name,
        Err(_) => "history",
    };
}

impl<A: Aggregate> Targeted for GetHistory<A> {
    const KEYS: &'static [KeyField] = &[KeyField { field: "key", aggregate: None }];

    fn stream(&self, aggregate: &str) -> Result<StreamId, InvalidStreamId> {
        StreamId::new(aggregate, &self.key)
    }
}

impl<A: Aggregate> Handled for GetHistory<A> {
    type Output = Option<HistoryPage<A::Event>>;

    async fn handle<'c>(self, cx: &'c Context<'c>) -> Result<Self::Output, Interrupt> {
        let history = <History<A> as FromContext<Self>>::extract(cx, &self).await?;
        let page = history.events_within(self.from.into(), self.limit, PAGE_BYTES).await?;
        let is_there = !page.events.is_empty() || !history.events(1.into(), 1).await?.is_empty();
        Ok(is_there.then_some(page))
    }
}
