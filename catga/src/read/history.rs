//! The events of one aggregate, and the aggregate as it was.

use std::{fmt, marker::PhantomData, sync::Arc};

use crate::{
    log::{Record, StreamId, Timestamp, Version},
    model::{
        Aggregate, DecodeError, Error, Interrupt, ParsedRecord, Recorded, Root, SkippedEvents,
        Targeted,
    },
    program::{Context, FromContext, Setup},
    store::EventStore,
    write::{declare_key, stream_of},
};

/// How many commits are read at once.
const PAGE: usize = 512;

/// How many commits are read at once before it is known how large they are.
const FIRST_PAGE: usize = 16;

/// Some of the events of one aggregate: see [`History::events_within`].
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(clippy::exhaustive_structs)]
pub struct HistoryPage<E> {
    /// Oldest first.
    pub events: Vec<Recorded<E>>,
    /// The version of the event behind them; `None` at the end.
    pub next: Option<Version>,
}

/// The stream of the aggregate that a query is about: `history: &History<Order>`.
///
/// Every read goes to the store, in pages: memory stays bounded however long the stream is.
///
/// ```standalone_crate
/// # use catga::{log::Version, prelude::*};
/// # #[catga::event] #[derive(Copy)] struct Moved { to: u8 }
/// # #[derive(Clone, Default)] struct Piece { at: u8 }
/// # impl Aggregate for Piece { type Event = Moved; const NAME: &str = "history-piece"; fn apply(&mut self, moved: Moved) { self.at = moved.to; } }
/// # #[catga::command] struct Move { #[key] piece: u8, to: u8 }
/// # #[command_handler] fn advance(command: Move, piece: &mut Root<Piece>) { piece.record(Moved { to: command.to }); }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// #[catga::query]
/// struct Moves { #[key] piece: u8 }
///
/// #[query_handler]
/// async fn moves(_: Moves, history: &History<Piece>) -> Result<Vec<u8>, catga::Error> {
///     let events = history.events(Version::FIRST, 100).await?;
///     Ok(events.iter().map(|moved| moved.to).collect())
/// }
///
/// # let catga = Catga::builder().start().await?;
/// catga.send(Move { piece: 1, to: 4 }).await?;
/// catga.send(Move { piece: 1, to: 9 }).await?;
/// assert_eq!(catga.query(Moves { piece: 1 }).await?, [4, 9]);
/// # catga.shutdown().await; Ok(()) }
/// ```
pub struct History<A> {
    store: Arc<dyn EventStore>,
    skipped: Arc<SkippedEvents>,
    stream: StreamId,
    of: PhantomData<fn() -> A>,
}

impl<A: Aggregate> History<A> {
    /// The events from version `from` on, oldest first, at most `limit` of them.
    ///
    /// # Errors
    /// [`Error`] when the store can't be read or an event can't be decoded.
    pub async fn events(
        &self,
        from: Version,
        limit: usize,
    ) -> Result<Vec<Recorded<A::Event>>, Error> {
        let mut events = Vec::new();
        let mut next = from.max(Version::FIRST);
        while events.len() < limit {
            let page = self.page(next, (limit - events.len()).min(PAGE)).await?;
            let Some(last) = page.last() else { break };
            next = last.commit().map_err(DecodeError::from)?.last_version() + 1;
            for record in &page {
                let wanted = self.read(record)?.into_iter().filter(|e| e.version >= from);
                events.extend(wanted.take(limit - events.len()));
                // A commit can hold a thousand events: those of the others are not even decoded.
                if events.len() == limit {
                    return Ok(events);
                }
            }
        }
        Ok(events)
    }

    /// The events from version `from` on, oldest first, at most `limit` of them, and fewer when they are large: once the
    /// commits that were read have `bytes`, no more are. [`HistoryPage::next`] says whether there are more.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    pub async fn events_within(
        &self,
        from: Version,
        limit: usize,
        bytes: usize,
    ) -> Result<HistoryPage<A::Event>, Error> {
        let mut events = Vec::new();
        let (mut at, mut size, mut count) = (from.max(Version::FIRST), 0, FIRST_PAGE);
        loop {
            let page = self.page(at, count).await?;
            for record in &page {
                let is_new = |event: &Recorded<A::Event>| event.version >= at;
                let mut wanted = self.read(record)?.into_iter().filter(is_new);
                let room = if size < bytes { limit - events.len() } else { 0 };
                events.extend(wanted.by_ref().take(room));
                if let Some(next) = wanted.next() {
                    return Ok(HistoryPage { events, next: Some(next.version) });
                }
                size += record.frame.len();
            }
            let Some(last) = page.last().filter(|_| page.len() == count) else {
                return Ok(HistoryPage { events, next: None });
            };
            at = last.commit().map_err(DecodeError::from)?.last_version() + 1;
            // Commits are mostly as large as those before.
            count = if size < bytes / 8 { (4 * count).min(PAGE) } else { FIRST_PAGE };
        }
    }

    /// The aggregate right after version `version`; `None` when it never had that version.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    pub async fn at_version(&self, version: Version) -> Result<Option<Root<A>>, Error> {
        let root = self.fold_while(|at, _| at <= version).await?;
        Ok(Some(root).filter(|root| root.exists() && root.version() == version))
    }

    /// The aggregate as it was at `time`; `None` when it did not exist yet.
    ///
    /// # Errors
    /// As [`events`](Self::events).
    pub async fn at_time(&self, time: Timestamp) -> Result<Option<Root<A>>, Error> {
        let root = self.fold_while(|_, at| at <= time).await?;
        Ok(Some(root).filter(Root::exists))
    }

    /// The aggregate after the events whose version and time are wanted, up to the first one that is not.
    async fn fold_while(
        &self,
        is_wanted: impl Fn(Version, Timestamp) -> bool,
    ) -> Result<Root<A>, Error> {
        let mut root = Root::<A>::new(self.stream.clone());
        loop {
            let page = self.page(root.version() + 1, PAGE).await?;
            for record in &page {
                let parsed = self.parse(record)?;
                for index in 0..parsed.commit.events.len() {
                    if !is_wanted(root.version() + 1, parsed.commit.time) {
                        return Ok(root);
                    }
                    match parsed.event::<A::Event>(index)? {
                        Some(event) => root.apply(event.event),
                        None => root.pass_over(),
                    }
                }
            }
            if page.len() < PAGE {
                return Ok(root);
            }
        }
    }

    /// The events in `record`, but for those that can't be read and were skipped.
    fn read(&self, record: &Record) -> Result<Vec<Recorded<A::Event>>, DecodeError> {
        self.parse(record)?.events().collect()
    }

    fn parse<'r>(&'r self, record: &'r Record) -> Result<ParsedRecord<'r>, DecodeError> {
        Ok(ParsedRecord::of(record, &self.skipped)?)
    }

    async fn page(&self, from: Version, limit: usize) -> Result<Vec<Record>, Error> {
        Ok(self.store.read_stream(&self.stream, from, limit).await?)
    }
}

impl<M: Targeted + Sync, A: Aggregate> FromContext<M> for History<A> {
    type Held<'c> = Box<Self>;

    async fn extract<'c>(cx: &'c Context<'c>, message: &M) -> Result<Box<Self>, Interrupt> {
        let stream = stream_of::<A, M>(message)?;
        let (store, skipped) = (cx.program.store.clone(), cx.program.skipped.clone());
        Ok(Box::new(Self { store, skipped, stream, of: PhantomData }))
    }

    fn declare(setup: &mut Setup<'_>) {
        declare_key::<A, M>(setup);
    }
}

impl<A> fmt::Debug for History<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("History").field("stream", &self.stream).finish_non_exhaustive()
    }
}
