//! Projections: read models that are pure folds of the log, and the read barrier.
//!
//! One task a node, the tail, reads the log and feeds every projection; where the log is the topic, the event handlers
//! get it from the tail, too. A query that takes a
//! [`ReadModel`] first asks the store for its head and waits until the tail is there, so that it
//! sees everything that was answered before it was sent (P6).

use std::{
    any::{TypeId, type_name},
    collections::HashMap,
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, OnceLock, PoisonError, RwLock, RwLockReadGuard},
};

use crate::{
    model::{DecodeError, Error, ErrorKind, Event, Interrupt, ParsedRecord, Recorded, Snapshots},
    program::{Context, FromContext, Setup},
    store::panic_text,
};

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
///
/// ```
/// # use catga::prelude::*;
/// # #[catga::event] struct Arrived {}
/// # #[derive(Default)] struct Guests(u64);
/// # #[projection]
/// # impl Projection for Guests { type Event = Arrived; const NAME: &str = "read-model-guests"; fn apply(&mut self, _: &Recorded<Arrived>) { self.0 += 1; } }
/// #[catga::query]
/// struct CountGuests;
///
/// #[query_handler]
/// fn count_guests(_: CountGuests, guests: &ReadModel<Guests>) -> u64 {
///     guests.read().0
/// }
///
/// assert_eq!(count_guests(CountGuests, &ReadModel::of(Guests(3))), 3);
/// ```
pub struct ReadModel<P> {
    state: Arc<RwLock<P>>,
    /// Why it takes in nothing more, if so.
    stopped: Arc<OnceLock<String>>,
}

impl<P: Projection> ReadModel<P> {
    pub(crate) fn new() -> Self {
        Self { state: Arc::default(), stopped: Arc::default() }
    }

    /// A read model with this state, for the test of a query's handler.
    ///
    /// ```
    /// # use catga::prelude::*; use serde::{Serialize, Deserialize};
    /// # #[derive(Debug, Clone, Serialize, Deserialize, Event)] #[event(name = "DocStated", version = 1)] struct OrderPaid { cents: u64 }
    /// # #[derive(Debug, Default)] struct Revenue { cents: u64 }
    /// # #[projection]
    /// # impl Projection for Revenue { type Event = OrderPaid; const NAME: &str = "doc-stated"; fn apply(&mut self, paid: &Recorded<OrderPaid>) { self.cents += paid.cents; } }
    /// let revenue = ReadModel::of(Revenue { cents: 5 });
    /// assert_eq!(revenue.read().cents, 5);
    /// ```
    pub fn of(state: P) -> Self {
        Self { state: Arc::new(RwLock::new(state)), stopped: Arc::default() }
    }

    /// The state, locked for reading. The tail can't go on while it is held, so take what the
    /// answer needs and let go; held across an `.await` it does not compile.
    pub fn read(&self) -> RwLockReadGuard<'_, P> {
        // After a panic in `apply` no query gets here.
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The feeding end of this read model.
    pub(crate) fn fold(&self) -> Box<dyn Fold> {
        Box::new(Self { state: self.state.clone(), stopped: self.stopped.clone() })
    }
}

impl<P> fmt::Debug for ReadModel<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReadModel").field("of", &std::any::type_name::<P>()).finish_non_exhaustive()
    }
}

impl<M: Sync, P: Projection> FromContext<M> for ReadModel<P> {
    type Held<'c> = &'c Self;

    async fn extract<'c>(cx: &'c Context<'c>, _: &M) -> Result<&'c Self, Interrupt> {
        cx.program.read_barrier(cx.consistency).await?;
        let model = cx.program.extensions.expect::<Self>();
        match model.stopped.get() {
            Some(reason) => Err(Error::from(ErrorKind::ReadModel(reason.clone())).into()),
            None => Ok(model),
        }
    }

    fn declare(setup: &mut Setup<'_>) {
        setup.require::<Self>(|| {
            format!(
                "`&ReadModel<{0}>`, but there is no `#[projection]` above `impl Projection for {0}`",
                type_name::<P>()
            )
        });
    }
}

/// Replaces a projection's state by one that was decoded.
type Install = Box<dyn FnOnce() + Send>;

/// A projection as the tail sees it.
pub(crate) trait Fold: Send + Sync {
    fn name(&self) -> &'static str;

    /// Takes in a page, unless it has stopped.
    ///
    /// # Errors
    /// Why it stops: an event that it can't read, or panics at.
    fn apply(&self, page: &[ParsedRecord<'_>]) -> Result<(), String>;

    /// After how many events a snapshot is taken; `None` when there are none.
    fn snapshot_every(&self) -> Option<u64>;

    /// The state, encoded, behind what is in `bytes`.
    ///
    /// # Errors
    /// Why it can't be: it is not whole, or could not be read again.
    fn encode(&self, bytes: Vec<u8>) -> Result<Vec<u8>, String>;

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

    fn encode(&self, bytes: Vec<u8>) -> Result<Vec<u8>, String> {
        if self.stopped.get().is_some() {
            return Err(format!("`{}` has stopped", P::NAME));
        }
        let Some(snapshots) = P::SNAPSHOTS else {
            return Err(format!("`{}` has no snapshots", P::NAME));
        };
        (snapshots.encode)(&self.read(), bytes)
            .map_err(|reason| format!("`{}` can't be stored: {reason}", P::NAME))
    }

    fn decode(&self, bytes: &[u8]) -> Option<Install> {
        let new = (P::SNAPSHOTS?.decode)(bytes).ok()?;
        let state = self.state.clone();
        Some(Box::new(move || *state.write().unwrap_or_else(PoisonError::into_inner) = new))
    }

    fn apply(&self, page: &[ParsedRecord<'_>]) -> Result<(), String> {
        if self.stopped.get().is_some() {
            return Ok(());
        }
        let mut at = None;
        let taken_in = catch_unwind(AssertUnwindSafe(|| {
            let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
            for commit in page {
                for index in 0..commit.commit.events.len() {
                    at = Some((commit, index));
                    if let Some(event) = commit.event(index)? {
                        state.apply(&event);
                    }
                }
            }
            Ok::<_, DecodeError>(())
        }));
        let why = match taken_in {
            Ok(Ok(())) => return Ok(()),
            Ok(Err(error)) => format!("failed: {error}"),
            Err(payload) => format!("panicked: {}", panic_text(&*payload)),
        };
        let at = at.map(|(commit, index)| {
            let name = commit.commit.events[index].name;
            format!(" at `{name}`, position {},", commit.record.position + index as u64)
        });
        let reason = format!("`{}`{} {why}", P::NAME, at.unwrap_or_default());
        Err(self.stopped.get_or_init(|| reason).clone())
    }
}

/// The projections of a program, by type.
pub(crate) type Folds = HashMap<TypeId, Box<dyn Fold>>;

/// Adds a projection to a program. Generated code calls it.
pub fn register_projection<P: Projection>(setup: &mut Setup<'_>) {
    let model = ReadModel::<P>::new();
    setup.part::<Folds>().insert(TypeId::of::<P>(), model.fold());
    setup.provide(|| model);
}
