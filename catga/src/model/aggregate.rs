//! Aggregates: state that is nothing but the fold of a stream.

use std::{fmt, ops::Deref, sync::Arc};

use crate::{
    log::{StreamId, Version},
    model::{DecodeError, Event, EventType, Recording, Snapshots},
};

/// Something with an identity whose state is the fold of its events.
///
/// The default value is the aggregate before its first event. `apply` only takes events in; what may
/// happen is decided in handlers, or better in methods of the aggregate that answer the event.
///
/// ```
/// # use catga::prelude::*;
/// #[catga::event]
/// enum DoorEvent { DoorOpened, DoorClosed }
///
/// #[derive(Clone, Default)]
/// struct Door { is_open: bool }
///
/// impl Aggregate for Door {
///     type Event = DoorEvent;
///     const NAME: &str = "aggregate-door";
///
///     fn apply(&mut self, event: DoorEvent) {
///         self.is_open = matches!(event, DoorEvent::DoorOpened);
///     }
/// }
/// # assert!(Root::<Door>::given([DoorEvent::DoorOpened]).is_open);
/// ```
pub trait Aggregate: Default + Clone + Send + Sync + 'static {
    /// What can happen to it: an enum with `#[derive(Event)]`.
    type Event: Event;

    /// The type's part of the stream name, as `order` in `order/7f3a`.
    const NAME: &'static str;

    /// Whether snapshots are taken of aggregates with long streams. Without them every cold load replays the
    /// whole stream.
    const SNAPSHOTS: Option<Snapshots<Self>> = None;

    /// Takes in an event that happened. It can't fail: what is in the log is a fact.
    fn apply(&mut self, event: Self::Event);

    /// About how many bytes of memory the aggregate takes, so that the cache stays in its bounds.
    fn size_hint_bytes(&self) -> usize {
        size_of::<Self>()
    }
}

/// An aggregate at a version, with the events that a handler has newly recorded on it.
///
/// It derefs to the aggregate. A command handler takes `&mut Root<A>`: the events are appended in one commit
/// after it returns `Ok`, and dropped when it returns `Err`. Any handler can take `&Root<A>`.
///
/// ```
/// # use catga::prelude::*;
/// # #[catga::event] enum LampEvent { Lit }
/// # #[derive(Clone, Default)] struct Lamp { is_lit: bool }
/// # impl Aggregate for Lamp { type Event = LampEvent; const NAME: &str = "root-lamp"; fn apply(&mut self, _: LampEvent) { self.is_lit = true; } }
/// fn light(lamp: &mut Root<Lamp>) {
///     if !lamp.is_lit {
///         lamp.record(LampEvent::Lit);
///     }
/// }
///
/// let mut lamp = Root::<Lamp>::given([] as [LampEvent; 0]);
/// light(&mut lamp);
/// light(&mut lamp);
/// assert_eq!((lamp.version().get(), lamp.recorded()?.len()), (1, 1));
/// # Ok::<(), catga::handler::DecodeError>(())
/// ```
pub struct Root<A: Aggregate> {
    stream: StreamId,
    /// Shared with readers; copied only when a command changes it while a reader still looks.
    state: Arc<A>,
    /// The version of the last event in `state`, recorded ones included.
    version: Version,
    recording: Recording,
}

impl<A: Aggregate> Root<A> {
    /// The aggregate before its first event.
    pub(crate) fn new(stream: StreamId) -> Self {
        Self {
            stream,
            state: Arc::default(),
            version: Version::ZERO,
            recording: Recording::default(),
        }
    }

    /// The aggregate as a snapshot has it.
    pub(crate) fn restored(stream: StreamId, version: Version, state: A) -> Self {
        Self { stream, state: Arc::new(state), version, recording: Recording::default() }
    }

    /// The same aggregate for a reader, at no cost.
    pub(crate) fn share(&self) -> Self {
        let (stream, state) = (self.stream.clone(), self.state.clone());
        Self { stream, state, version: self.version, recording: Recording::default() }
    }

    /// Says that `event` happened: the aggregate takes it in at once, and it is appended when the
    /// handler returns `Ok`.
    ///
    /// It is encoded here. If it can't be, the command fails with [`ErrorKind::Decode`](crate::model::ErrorKind::Decode),
    /// whatever the handler returns as `Ok`.
    pub fn record(&mut self, event: impl Into<A::Event>) {
        let event = event.into();
        self.recording.push(&event);
        self.apply(event);
    }

    /// Takes in an event that is in the stream already.
    pub(crate) fn apply(&mut self, event: A::Event) {
        Arc::make_mut(&mut self.state).apply(event);
        self.version += 1;
    }

    /// Goes on behind an event that can't be read and was skipped.
    pub(crate) fn pass_over(&mut self) {
        self.version += 1;
    }

    /// The state as it is now, to keep and to share: no copy is made unless the aggregate changes while somebody still
    /// holds it, and that never shows.
    pub fn state(&self) -> Arc<A> {
        self.state.clone()
    }

    /// The events recorded so far, which are no longer this root's to append.
    pub(crate) fn take_recording(&mut self) -> Recording {
        std::mem::take(&mut self.recording)
    }

    /// The stream of the aggregate.
    pub fn stream(&self) -> &StreamId {
        &self.stream
    }

    /// The aggregate's key in its stream's name.
    pub fn key(&self) -> &str {
        self.stream.key()
    }

    /// The version of the aggregate, recorded events included: 0 when it does not exist.
    pub fn version(&self) -> Version {
        self.version
    }

    /// Whether anything has ever happened to it.
    pub fn exists(&self) -> bool {
        self.version > 0
    }

    /// The events that the handler has recorded so far, as they will be read from the log.
    ///
    /// # Errors
    /// [`DecodeError`] when one can't be stored, or can't be read again.
    pub fn recorded(&self) -> Result<Vec<A::Event>, DecodeError> {
        let read = |(ty, payload): (EventType, &[u8])| {
            let event = A::Event::decode(ty.name, ty.version, payload)?;
            event.ok_or(DecodeError::Payload(ty))
        };
        self.recording.events()?.map(read).collect()
    }
}

impl<A: Aggregate> Deref for Root<A> {
    type Target = A;

    fn deref(&self) -> &A {
        &self.state
    }
}

impl<A: Aggregate + fmt::Debug> fmt::Debug for Root<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Root")
            .field("stream", &self.stream)
            .field("version", &self.version)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}
