//! Events, aggregates and read models made by hand, as parameters of the handlers under test.

use std::fmt;

use crate::{
    log::{EventFrame, EventId, Record, StreamId, Version},
    model::{Aggregate, Event, Recorded, Root},
    read::Projection,
    testing::commit,
};

impl<E: Event> Recorded<E> {
    /// An event as a handler gets it the first time: version `version`, 1 or more, of `stream`, as in `order/7f3a`. Its
    /// position is the same number; its time is a microsecond after 1970 began. All of that are fields that a test
    /// can set.
    ///
    /// ```
    /// # use catga::prelude::*; use serde::{Serialize, Deserialize};
    /// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)] #[event(name = "DocMade", version = 1)] struct OrderPaid { cents: u64 }
    /// async fn send_receipt(paid: Recorded<OrderPaid>) -> Result<String, std::convert::Infallible> {
    ///     Ok(format!("{} paid {} cents", paid.stream.key(), paid.cents))
    /// }
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let mut paid = Recorded::new("order/7", 2.into(), OrderPaid { cents: 500 });
    /// paid.time = Timestamp::from_micros(1_700_000_000_000_000);
    /// assert_eq!(send_receipt(paid).await.unwrap(), "7 paid 500 cents");
    /// # }
    /// ```
    ///
    /// # Panics
    /// When `stream` is no stream's name, `version` is 0, or the event can't be encoded and read back.
    pub fn new(stream: &str, version: Version, event: E) -> Self {
        assert!(version > Version::default(), "the first event of a stream has version 1");
        let stream: StreamId = stream.parse().expect("a stream's name, as in `order/7f3a`");
        let mut payload = Vec::new();
        let ty = event.encode(&mut payload).expect("the event can be encoded");
        let (name, schema) = (ty.name, ty.version);
        let frame = EventFrame { id: EventId::now_v7(), name, schema, payload: &payload };
        let frame = commit(&stream, version - 1, [frame]).encode();
        let record = Record { position: version.get().into(), token: 0, frame };
        let read = Self::read(&record).expect("the event can be read back");
        let mut recorded = read.into_iter().next().expect("the event is of one of its own types");
        recorded.attempt = 1;
        recorded
    }
}

impl<A: Aggregate> Root<A> {
    /// The aggregate to which `events` happened, with the key `given`.
    ///
    /// ```
    /// # use catga::prelude::*; use serde::{Serialize, Deserialize};
    /// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)] #[event(name = "DocGiven", version = 1)] struct Counted { by: u64 }
    /// # #[derive(Debug, Clone, PartialEq, Event)] enum CounterEvent { Counted(Counted) }
    /// # #[derive(Debug, Clone, Default)] struct Counter { total: u64 }
    /// # impl Aggregate for Counter { type Event = CounterEvent; const NAME: &'static str = "docgiven"; fn apply(&mut self, CounterEvent::Counted(c): CounterEvent) { self.total += c.by; } }
    /// let counter = Root::<Counter>::given([Counted { by: 2 }, Counted { by: 3 }]);
    /// assert_eq!((counter.total, counter.version().get(), counter.key()), (5, 2, "given"));
    /// ```
    pub fn given(events: impl IntoIterator<Item = impl Into<A::Event>>) -> Self {
        let stream = StreamId::new(A::NAME, "given")
            .expect("the aggregate's NAME can be part of a stream's");
        let mut root = Self::new(stream);
        for event in events {
            root.apply(event.into());
        }
        root
    }
}

/// A projection that has taken in `events`. [`ReadModel::of`](crate::read::ReadModel::of) makes it a parameter for the
/// handlers of queries.
///
/// ```
/// # use catga::{prelude::*, testing::project}; use serde::{Serialize, Deserialize};
/// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)] #[event(name = "DocProjected", version = 1)] struct OrderPaid { cents: u64 }
/// # #[derive(Debug, Default)] struct Revenue { cents: u64 }
/// # #[projection]
/// # impl Projection for Revenue { type Event = OrderPaid; const NAME: &str = "doc-revenue"; fn apply(&mut self, paid: &Recorded<OrderPaid>) { self.cents += paid.cents; } }
/// fn get_revenue(revenue: &ReadModel<Revenue>) -> u64 {
///     revenue.read().cents
/// }
///
/// let revenue: Revenue = project([
///     Recorded::new("order/a", 1.into(), OrderPaid { cents: 2 }),
///     Recorded::new("order/b", 1.into(), OrderPaid { cents: 3 }),
/// ]);
/// assert_eq!(get_revenue(&ReadModel::of(revenue)), 5);
/// ```
pub fn project<P: Projection>(events: impl IntoIterator<Item = Recorded<P::Event>>) -> P {
    let mut state = P::default();
    events.into_iter().for_each(|event| state.apply(&event));
    state
}

/// As [`project`], and checks that snapshots lose nothing: after each event `show` says the same of the projection and of one
/// that has gone through a snapshot after every event so far. `show` answers all that one can ask of it.
///
/// ```
/// # use catga::{prelude::*, testing::project_with_snapshots}; use serde::{Serialize, Deserialize};
/// # #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)] #[event(name = "DocStoredToo", version = 1)] struct OrderPaid { cents: u64 }
/// #[derive(Debug, Default, Serialize, Deserialize)]
/// struct Revenue { cents: u64 }
///
/// #[projection]
/// impl Projection for Revenue {
///     type Event = OrderPaid;
///     const NAME: &str = "doc-stored-revenue";
///     const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(100));
///
///     fn apply(&mut self, paid: &Recorded<OrderPaid>) {
///         self.cents += paid.cents;
///     }
/// }
///
/// let paid = [2, 3].map(|cents| Recorded::new("order/a", 1.into(), OrderPaid { cents }));
/// let revenue = project_with_snapshots(paid, |revenue: &Revenue| revenue.cents);
/// assert_eq!(revenue.cents, 5);
/// ```
///
/// # Panics
/// When a snapshot can't be written or read, or shows something else; or when the projection has no snapshots.
pub fn project_with_snapshots<P: Projection, T: PartialEq + fmt::Debug>(
    events: impl IntoIterator<Item = Recorded<P::Event>>,
    show: impl Fn(&P) -> T,
) -> P {
    let snapshots = P::SNAPSHOTS.expect("the projection has snapshots");
    let (mut state, mut restored) = (P::default(), P::default());
    for event in events {
        state.apply(&event);
        restored.apply(&event);
        let bytes = (snapshots.encode)(&restored, Vec::new()).expect("a snapshot can be written");
        restored = (snapshots.decode)(&bytes).expect("a snapshot can be read");
        assert_eq!(show(&restored), show(&state), "after the event at position {}", event.position);
    }
    state
}
