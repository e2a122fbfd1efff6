//! The log as a stream of events, for whoever wants to see them as they come.
//!
//! Who is at the end of the log gets the pages that the tail reads for the read models: so a thousand subscribers read the
//! store no more often than one. Who is behind reads the store for himself, a page at a time, until he is there.

use std::{
    collections::VecDeque,
    fmt,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use futures_util::{Stream, StreamExt, stream, stream::BoxStream};
use tokio::{sync::broadcast, time::sleep};
use tokio_util::sync::CancellationToken;

use crate::{
    log::{Position, Record},
    model::{DecodeError, Error, Event, ParsedRecord, Recorded},
    program::{EventTypes, Program},
    store::Backoff,
};

/// How many commits a subscription reads at once from the store.
const PAGE: usize = 256;

/// How many pages of the tail a subscription may be behind before it reads the store.
const SHARED_PAGES: usize = 16;

/// Up to how many bytes a page of the tail is shared. Larger ones come where a long log is replayed, with nobody at its end.
const SHARED_BYTES: usize = 256 << 10;

/// The events of type `E` behind a position of the log, and then each as it comes: what [`Catga::subscribe`] gives.
///
/// It is a [`Stream`]; [`next`](Self::next) reads it without a crate for streams.
///
/// There is no gap and no repeat. A store that can't be reached is tried again until it can. An event that this program can't
/// read, of whichever type, ends the subscription with an error that names it, after the events before it. A
/// [shutdown](crate::runtime::Catga::shutdown) ends it without an error.
///
/// Behind a position that the log does not reach up to, which must be one of another log, it ends at once with
/// [`ErrorKind::PositionUnknown`](crate::ErrorKind::PositionUnknown).
///
/// Nothing is read before it is asked for: who is slow holds a page of the log, and the events of one commit.
///
/// [`Catga::subscribe`]: crate::Catga::subscribe
/// [`Catga`]: crate::Catga
/// [shutdown]: crate::Catga::shutdown
pub struct Subscription<E> {
    events: BoxStream<'static, Result<Recorded<E>, Error>>,
}

impl<E: Event> Subscription<E> {
    /// The events behind `after`, until `stop`.
    pub(crate) fn new(program: Arc<Program>, stop: CancellationToken, after: Position) -> Self {
        let pages = program.extensions.expect::<SharedPages>().0.subscribe();
        let (records, events, failure) = Default::default();
        let reader = SubscriptionReader { program, stop, pages, after, records, events, failure };
        Self { events: stream::unfold(Some(reader), SubscriptionReader::next).fuse().boxed() }
    }

    /// The next event, as soon as there is one; `None` at the end.
    pub async fn next(&mut self) -> Option<Result<Recorded<E>, Error>> {
        self.events.next().await
    }
}

impl<E> Stream for Subscription<E> {
    type Item = Result<Recorded<E>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_next_unpin(cx)
    }
}

impl<E> fmt::Debug for Subscription<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Subscription")
            .field("of", &std::any::type_name::<E>())
            .finish_non_exhaustive()
    }
}

/// The pages that the tail has read last, for all subscriptions of a program.
pub(crate) struct SharedPages(broadcast::Sender<Arc<SharedPage>>);

/// Consecutive commits.
struct SharedPage {
    /// They begin right behind this position.
    after: Position,
    end: Position,
    records: Vec<Record>,
}

impl Default for SharedPages {
    fn default() -> Self {
        Self(broadcast::Sender::new(SHARED_PAGES))
    }
}

impl SharedPages {
    /// Takes in what the tail has read behind `after`, up to `end`, before it says that it is there.
    pub(crate) fn push(&self, after: Position, end: Position, records: &[Record]) {
        let bytes = || records.iter().map(|record| record.frame.len()).sum::<usize>();
        if self.0.receiver_count() > 0 && bytes() <= SHARED_BYTES {
            let page = SharedPage { after, end, records: records.to_vec() };
            // There may be nobody any more.
            self.0.send(Arc::new(page)).ok();
        }
    }
}

/// A subscription's place in the log.
struct SubscriptionReader<E> {
    program: Arc<Program>,
    stop: CancellationToken,
    pages: broadcast::Receiver<Arc<SharedPage>>,
    /// All events up to here were decoded.
    after: Position,
    /// The commits that come next.
    records: VecDeque<Record>,
    /// The events that come next.
    events: VecDeque<Recorded<E>>,
    /// What comes behind them, and ends the subscription.
    failure: Option<Error>,
}

impl<E: Event> SubscriptionReader<E> {
    async fn next(this: Option<Self>) -> Option<(Result<Recorded<E>, Error>, Option<Self>)> {
        let mut this = this?;
        loop {
            if let Some(event) = this.events.pop_front() {
                return Some((Ok(event), Some(this)));
            }
            if let Some(error) = this.failure.take() {
                return Some((Err(error), None));
            }
            let stop = this.stop.clone();
            let step = stop.run_until_cancelled(this.read_on()).await?;
            this.failure = step.err();
        }
    }

    /// Decodes the next commit, or reads the next page.
    async fn read_on(&mut self) -> Result<(), Error> {
        match self.records.pop_front() {
            Some(record) => Ok(self.decode(&record)?),
            None => self.read_page().await,
        }
    }

    fn decode(&mut self, record: &Record) -> Result<(), DecodeError> {
        let skipped = &self.program.skipped;
        let parsed = ParsedRecord::of(record, skipped)?;
        let known = self.program.extensions.expect::<EventTypes>();
        for (index, frame) in parsed.commit.events.iter().enumerate() {
            let position = record.position + index as u64;
            // The subscription may begin inside of a commit.
            if position <= self.after {
                continue;
            }
            if !known.contains_key(frame.name) && !skipped.contains(frame.id) {
                return Err(DecodeError::unknown_type(frame, position));
            }
            self.events.extend(parsed.event(index)?);
        }
        self.after = parsed.end();
        Ok(())
    }

    /// The next commits, as soon as there are any.
    async fn read_page(&mut self) -> Result<(), Error> {
        let mut delays = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        while self.records.is_empty() {
            if let Some(page) = self.shared_page() {
                let is_ahead = |record: &&Record| record.end().is_ok_and(|end| end > self.after);
                self.records = page.records.iter().filter(is_ahead).cloned().collect();
                continue;
            }
            let tail = self.program.progress.now();
            let is_running = tail.stopped.is_none();
            if is_running && tail.position == self.after {
                // When it stops instead, the store tells why.
                self.program.progress.wait_for(self.after + 1).await.ok();
                continue;
            }
            // No further than the tail is, so that what follows comes from it. Who is ahead of it does not wait for it.
            let is_behind = is_running && tail.position > self.after;
            match self.read_store(if is_behind { tail.position } else { Position::MAX }).await {
                Ok(page) => self.records = page.into(),
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "a subscription can't read the log; trying again");
                    sleep(delays.next_delay()).await;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// The page of the tail that goes on here; `None` when it was not shared, or is not there any more or not yet.
    fn shared_page(&mut self) -> Option<Arc<SharedPage>> {
        loop {
            let page = self.pages.try_recv().ok()?;
            if page.end > self.after {
                return Some(page).filter(|page| page.after <= self.after);
            }
        }
    }

    /// The next commits from the store that end at `end` or before. When there are none, it waits for some.
    async fn read_store(&self, end: Position) -> Result<Vec<Record>, Error> {
        let store = &self.program.store;
        let mut page = store.read_log(self.after, PAGE).await?;
        if page.is_empty() {
            self.program.check_position(self.after).await?;
            store.wait(self.after).await?;
        }
        // One whose end can't be read is an error for who decodes it.
        page.retain(|record| record.end().is_ok_and(|last| last <= end) || record.end().is_err());
        Ok(page)
    }
}
