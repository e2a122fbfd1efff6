//! Projections: read models that are pure folds of the log, and the read barrier.
//!
//! One task a node, the tail, reads the log and feeds every projection; where the log is the topic, the event handlers
//! get it from the tail, too. A query that takes a
//! [`ReadModel`] first asks the store for its head and waits until the tail is there, so that it
//! sees everything that was answered before it was sent (P6).

mod snapshot;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard},
    time::Duration,
};

use tokio::{sync::watch, time::sleep};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::snapshot::End;
pub(crate) use self::snapshot::ModelSnapshots;
use crate::{
    Context, DecodeError, Error, ErrorKind, Event, EventStore, FromContext, Position, Record,
    Recorded, Setup, Snapshots, Stop, StoreError,
    delivery::{Fed, Offers},
    event::DecodedCommit,
    retry::Backoff,
};

/// How many commits the tail reads and applies at once.
const PAGE: usize = 512;

/// A read model: a fold of the events of the types in [`Event`](Self::Event), in log order.
///
/// It starts as the default value at the beginning of the log. Put `#[projection]` above the impl.
///
/// ```
/// # use catga::prelude::*; use serde::{Serialize, Deserialize};
/// # #[derive(Debug, Clone, Serialize, Deserialize, Event)] #[event(name = "Doc1Paid", version = 1)] struct OrderPaid { cents: u64 }
/// #[derive(Debug, Default)]
/// struct Revenue { cents: u64 }
///
/// /// What was paid, over all orders.
/// #[projection]
/// impl Projection for Revenue {
///     type Event = OrderPaid;
///     const NAME: &str = "revenue";
///
///     fn apply(&mut self, paid: &Recorded<OrderPaid>) {
///         self.cents += paid.cents;
///     }
/// }
/// ```
pub trait Projection: Default + Send + Sync + 'static {
    /// The events it is about: one type, or an enum of them. Others pass by.
    type Event: Event;

    /// Its name, in the catalogue, metrics and health.
    const NAME: &'static str;

    /// When snapshots are taken, so that a start reads only what came after the last one: `Some(Snapshots::every(100_000))`
    /// for one every 100,000 events, in the background, and one at a stop. The read models of a program are one snapshot
    /// together, and there is none unless each of them has snapshots. By default a start reads the whole log.
    const SNAPSHOTS: Option<Snapshots<Self>> = None;

    /// Takes in the next event. It has no effect but on itself.
    fn apply(&mut self, event: &Recorded<Self::Event>);
}

/// A projection's state, for query handlers: `orders: &ReadModel<Orders>`.
pub struct ReadModel<P> {
    state: Arc<RwLock<P>>,
}

impl<P: Projection> ReadModel<P> {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default() }
    }

    /// The state, locked for reading. The tail can't go on while it is held, so take what the
    /// answer needs and let go; held across an `.await` it does not compile.
    pub fn read(&self) -> RwLockReadGuard<'_, P> {
        // A panic in `apply` stops the tail, and then no barrier lets a query pass.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feeding end of this read model.
    pub(crate) fn fold(&self) -> Box<dyn Fold> {
        Box::new(Self { state: self.state.clone() })
    }
}

impl<P> fmt::Debug for ReadModel<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadModel").field("of", &std::any::type_name::<P>()).finish_non_exhaustive()
    }
}

impl<M: Sync, P: Projection> FromContext<M> for ReadModel<P> {
    type Held<'c> = &'c Self;

    async fn extract<'c>(cx: &'c Context<'c>, _: &M) -> Result<&'c Self, Stop> {
        cx.runtime.read_barrier(cx.consistency).await?;
        Ok(cx.runtime.parts.expect::<Self>())
    }

    fn declare(setup: &mut Setup<'_>) {
        setup.read_model::<P>();
    }
}

/// A read of a page of the log.
type Reading = AbortOnDropHandle<Result<Vec<Record>, StoreError>>;

/// Replaces a projection's state by one that was decoded.
type Install = Box<dyn FnOnce() + Send>;

/// A projection as the tail sees it.
pub(crate) trait Fold: Send + Sync {
    fn name(&self) -> &'static str;

    fn apply(&self, page: &[DecodedCommit<'_>]) -> Result<(), DecodeError>;

    /// After how many events a snapshot is taken; `None` when there are none.
    fn snapshot_every(&self) -> Option<u64>;

    /// The state, encoded, behind what is in `bytes`; `None` when it can't be.
    fn encode(&self, bytes: Vec<u8>) -> Option<Vec<u8>>;

    /// The state in `bytes`, to be installed; `None` when there is none.
    fn decode(&self, bytes: &[u8]) -> Option<Install>;
}

impl<P: Projection> Fold for ReadModel<P> {
    fn name(&self) -> &'static str {
        P::NAME
    }

    fn snapshot_every(&self) -> Option<u64> {
        P::SNAPSHOTS.map(|snapshots| snapshots.every)
    }

    fn encode(&self, bytes: Vec<u8>) -> Option<Vec<u8>> {
        (P::SNAPSHOTS?.encode)(&self.read(), bytes).ok()
    }

    fn decode(&self, bytes: &[u8]) -> Option<Install> {
        let new = (P::SNAPSHOTS?.decode)(bytes).ok()?;
        let state = self.state.clone();
        Some(Box::new(move || *state.write().unwrap_or_else(PoisonError::into_inner) = new))
    }

    fn apply(&self, page: &[DecodedCommit<'_>]) -> Result<(), DecodeError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        for commit in page {
            for event in commit.events() {
                state.apply(&event?);
            }
        }
        Ok(())
    }
}

/// How far the tail is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Every event up to here is in every read model.
    pub(crate) position: Position,
    /// Why the tail stopped for good, if it did.
    pub(crate) stopped: Option<String>,
    /// Whether the end of the log was ever reached.
    pub(crate) is_caught_up: bool,
}

/// The shared end of the tail: how far it is, for those who wait.
#[derive(Debug)]
pub(crate) struct Tail {
    progress: watch::Sender<Progress>,
}

impl Tail {
    pub(crate) fn new() -> Self {
        Self {
            progress: watch::Sender::new(Progress {
                position: 0,
                stopped: None,
                is_caught_up: false,
            }),
        }
    }

    /// Tells whenever the read models have taken in more.
    pub(crate) fn subscribe(&self) -> watch::Receiver<Progress> {
        self.progress.subscribe()
    }

    pub(crate) fn progress(&self) -> Progress {
        self.progress.borrow().clone()
    }

    /// Every event up to here is in every read model.
    pub(crate) fn position(&self) -> Position {
        self.progress.borrow().position
    }

    /// The read models begin with a snapshot.
    pub(crate) fn begin(&self, position: Position) {
        self.progress.send_modify(|p| p.position = position);
    }

    /// Waits until the read models hold everything up to `position`.
    pub(crate) async fn wait_for(&self, position: Position) -> Result<(), Error> {
        let is_there = |progress: &Progress| progress.position >= position;
        if is_there(&self.progress.borrow()) {
            return Ok(());
        }
        let mut progress = self.progress.subscribe();
        let reached = progress
            .wait_for(|p| is_there(p) || p.stopped.is_some())
            .await
            .expect("the tail is alive as long as who waits for it");
        match &reached.stopped {
            Some(reason) if !is_there(&reached) => Err(ErrorKind::ReadModel(reason.clone()).into()),
            _ => Ok(()),
        }
    }

    /// The next commits after `after`, as soon as there are any. `ahead` is the read of what follows the last page; it goes
    /// on while that is applied, for a page that is half full or more says that there is more.
    async fn next_page(
        &self,
        store: &Arc<dyn EventStore>,
        after: Position,
        ahead: &mut Option<Reading>,
    ) -> Result<Vec<Record>, StoreError> {
        loop {
            let page = match ahead.take() {
                Some(reading) => reading.await.map_err(StoreError::unavailable)??,
                None => store.read_log(after, PAGE).await?,
            };
            if let Some(last) = page.last().filter(|_| page.len() >= PAGE / 2) {
                let (store, end) = (store.clone(), last.end().map_err(StoreError::corrupt)?);
                let reading = tokio::spawn(async move { store.read_log(end, PAGE).await });
                *ahead = Some(AbortOnDropHandle::new(reading));
            }
            if !page.is_empty() {
                return Ok(page);
            }
            self.progress.send_if_modified(|p| !std::mem::replace(&mut p.is_caught_up, true));
            store.wait(after).await?;
        }
    }

    /// Feeds `folds` from `store` until `shutdown`, or until an event can't be read: the log is never skipped.
    pub(crate) async fn run(
        &self,
        store: &Arc<dyn EventStore>,
        folds: &[Box<dyn Fold>],
        snapshots: &mut ModelSnapshots,
        is_known: impl Fn(&str) -> bool,
        offers: Option<Offers>,
        shutdown: CancellationToken,
    ) {
        let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
        let mut ahead = None;
        while !shutdown.is_cancelled() {
            let after = self.position();
            let step = tokio::select! {
                () = shutdown.cancelled() => return,
                page = self.next_page(store, after, &mut ahead) => page.map_err(Error::from).and_then(|page| {
                    let offers = offers.as_ref().map(|offers| (offers, after));
                    apply(folds, &is_known, &page, offers).map_err(Error::from)
                }),
            };
            match step {
                Ok(end) => {
                    self.progress.send_modify(|p| p.position = end.position.max(p.position));
                    // While there is more to read it is better read first.
                    let is_at_end = ahead.is_none();
                    snapshots.taken_in(end, is_at_end).await;
                    backoff = Backoff::new(Duration::from_millis(20), Duration::from_secs(1));
                    // Other tasks get their turn while a long log is replayed.
                    tokio::task::yield_now().await;
                }
                Err(error) if error.is_retryable() => {
                    tracing::warn!(%error, "the log can't be read; trying again");
                    tokio::select! {
                        () = shutdown.cancelled() => return,
                        () = sleep(backoff.next_delay()) => {}
                    }
                }
                Err(error) => {
                    tracing::error!(%error, after, "the read models stopped");
                    self.progress.send_modify(|p| p.stopped = Some(error.to_string()));
                    return;
                }
            }
        }
    }
}

/// Offers a page, with the position after which it begins, and applies it to every fold. Answers where it ends.
fn apply(
    folds: &[Box<dyn Fold>],
    is_known: impl Fn(&str) -> bool,
    page: &[Record],
    offers: Option<(&Offers, Position)>,
) -> Result<End, DecodeError> {
    let commits: Vec<_> = page.iter().map(DecodedCommit::of).collect::<Result<_, _>>()?;
    if let Some((offers, after)) = offers {
        let feds = commits.iter().map(|commit| Ok(Arc::new(Fed::of(commit)?)));
        offers.push(after, &feds.collect::<Result<Vec<_>, DecodeError>>()?);
    }
    for DecodedCommit { record, commit, .. } in &commits {
        for (position, frame) in (record.position..).zip(&commit.events) {
            if !is_known(frame.name) {
                let (name, version) = (frame.name.to_owned(), frame.schema);
                return Err(DecodeError::UnknownType { name, version, position });
            }
        }
    }
    for fold in folds {
        fold.apply(&commits)?;
    }
    let last = commits.last().expect("a page has commits");
    Ok(End { position: last.end(), commit: last.commit.id() })
}
