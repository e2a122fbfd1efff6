//! Loading aggregates, and appending what a handler recorded: one round trip for a warm one.
//!
//! Each cached aggregate sits in a slot with a lock, which is also the queue of the commands on it.
//! A command takes the aggregate out of its slot and puts it back only when it knows what the stream
//! holds; whatever ends it earlier (an error, a timeout, a dropped request) leaves the slot empty,
//! and the next command replays. A cached state may be old when another node wrote: the
//! expected version of the append makes that harmless, and a refusal is checked against the store
//! before it is given.

use std::{
    any::{TypeId, type_name},
    fmt,
    ops::{Deref, DerefMut},
    sync::Arc,
    time::Duration,
};

use quick_cache::{Weighter, sync::Cache};
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};

use crate::{
    log::{MAX_EVENTS, StoreError, StreamId},
    model::{
        Aggregate, Command, Consistency, DecodeError, Error, ErrorKind, Expected, FieldError,
        Interrupt, InterruptReason, KeyField, Recording, Root, Targeted,
    },
    program::{CommandOutput, Context, FromContext, FromContextMut, Handled, Setup},
    store::{Append, NotAppended, append_once},
    write::{encode::encode, loaded::Loaded},
};

/// How long a read waits for a command that holds its aggregate before it replays the stream itself: a
/// command that is stuck on a failing store must not block the readers.
const PATIENCE: Duration = Duration::from_millis(20);

/// The aggregates of one type.
pub(crate) struct Repository<A: Aggregate> {
    cache: Cache<StreamId, Cached<A>, ByMemory>,
}

/// The aggregate, or `None` while nobody knows its state.
type Slot<A> = Arc<Mutex<Option<Box<Loaded<A>>>>>;

/// A locked slot.
type OwnedSlot<A> = OwnedMutexGuard<Option<Box<Loaded<A>>>>;

struct Cached<A: Aggregate> {
    slot: Slot<A>,
    /// Its weight in the cache. It is inserted again when it has grown to the next power of two.
    weight: u64,
}

#[derive(Debug, Clone)]
struct ByMemory;

impl<A: Aggregate> Weighter<StreamId, Cached<A>> for ByMemory {
    fn weight(&self, _: &StreamId, cached: &Cached<A>) -> u64 {
        cached.weight
    }
}

impl<A: Aggregate> Clone for Cached<A> {
    fn clone(&self) -> Self {
        Self { slot: self.slot.clone(), weight: self.weight }
    }
}

impl<A: Aggregate> Repository<A> {
    /// A repository that caches about `bytes` of aggregates.
    pub(crate) fn new(bytes: u64) -> Self {
        let typical = Loaded::<A>::new_weight(size_of::<A>(), 0);
        let items = usize::try_from(bytes / typical).unwrap_or(usize::MAX).clamp(1, 1 << 20);
        Self { cache: Cache::with_weighter(items, bytes, ByMemory) }
    }

    fn slot(&self, stream: &StreamId) -> Cached<A> {
        if let Some(cached) = self.cache.get(stream) {
            return cached;
        }
        let weight = Loaded::<A>::new_weight(size_of::<A>(), 0);
        let cached = Cached { slot: Slot::default(), weight };
        match self.cache.get_or_insert_with(stream, || Ok::<_, std::convert::Infallible>(cached)) {
            Ok(cached) => cached,
        }
    }

    /// Puts the aggregate back, in the state of its stream.
    fn put_back(&self, cached: &Cached<A>, mut slot: OwnedSlot<A>, loaded: Box<Loaded<A>>) {
        if !loaded.root.exists() {
            // A stream that does not exist is not worth caching.
            return;
        }
        let weight = loaded.weight();
        let grown = (weight != cached.weight).then(|| loaded.root.stream().clone());
        *slot = Some(loaded);
        drop(slot);
        if let Some(stream) = grown {
            self.cache.insert(stream, Cached { slot: cached.slot.clone(), weight });
        }
    }

    /// The aggregate for reading.
    async fn read(&self, cx: &Context<'_>, stream: StreamId) -> Result<Root<A>, Interrupt> {
        let Some(cached) = self.cache.get(&stream) else {
            let loaded = Loaded::<A>::replay(cx.program, stream).await?;
            let root = loaded.root.share();
            if root.exists() {
                let cached = self.slot(root.stream());
                if let Ok(slot) = cached.slot.clone().try_lock_owned() {
                    // Whoever filled the slot meanwhile knows at least as much.
                    if slot.is_none() {
                        self.put_back(&cached, slot, loaded);
                    }
                }
            }
            return Ok(root);
        };
        let Some(mut slot) = lock_patiently(&cached.slot).await else {
            return Ok(Loaded::replay(cx.program, stream).await?.root);
        };
        let Some(mut loaded) = slot.take() else {
            let loaded = Loaded::<A>::replay(cx.program, stream).await?;
            let root = loaded.root.share();
            self.put_back(&cached, slot, loaded);
            return Ok(root);
        };
        if cx.consistency != Consistency::Eventual {
            loaded.catch_up(cx.program).await?;
        }
        let root = loaded.root.share();
        self.put_back(&cached, slot, loaded);
        Ok(root)
    }
}

/// The slot, unless a command holds it for too long.
async fn lock_patiently<A: Aggregate>(slot: &Slot<A>) -> Option<OwnedSlot<A>> {
    match slot.clone().try_lock_owned() {
        Ok(slot) => Some(slot),
        // Boxed because it is rare.
        Err(_) => Box::pin(timeout(PATIENCE, slot.clone().lock_owned())).await.ok(),
    }
}

/// An aggregate that a command holds: it is at the head of the queue.
pub struct RootGuard<A: Aggregate> {
    loaded: Box<Loaded<A>>,
    /// Whether this run read `loaded` from the store.
    is_fresh: bool,
    cached: Cached<A>,
    slot: OwnedSlot<A>,
    /// Tells the messages that its handler sends that it is locked.
    _locked: Option<Arc<StreamId>>,
}

impl<A: Aggregate> Deref for RootGuard<A> {
    type Target = Root<A>;

    fn deref(&self) -> &Root<A> {
        &self.loaded.root
    }
}

impl<A: Aggregate> DerefMut for RootGuard<A> {
    fn deref_mut(&mut self) -> &mut Root<A> {
        &mut self.loaded.root
    }
}

impl<A: Aggregate> fmt::Debug for RootGuard<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RootGuard")
            .field("stream", self.loaded.root.stream())
            .field("version", &self.loaded.root.version())
            .finish_non_exhaustive()
    }
}

impl<A: Aggregate, M: Command + Targeted + Handled> FromContextMut<M> for Root<A> {
    type Held<'c> = RootGuard<A>;

    async fn extract_mut<'c>(cx: &'c Context<'c>, message: &M) -> Result<RootGuard<A>, Interrupt> {
        let stream = stream_of::<A, M>(message)?;
        if cx.caller.as_ref().is_some_and(|caller| caller.has_locked(&stream)) {
            return Err(Error::misuse(format!(
                "a command on `{stream}` was sent by a handler that is at work on it, and would wait for itself: record its events there, or send it from an event handler"
            ))
            .into());
        }
        let cached = cx.program.extensions.expect::<Repository<A>>().slot(&stream);
        let mut slot = cached.slot.clone().lock_owned().await;
        let locked = cx.itself.get().map(|itself| itself.lock(&stream));
        let is_first_run = cx.run == 0;
        let (loaded, is_fresh) = match slot.take() {
            Some(loaded) if is_first_run => (loaded, false),
            Some(mut loaded) => {
                loaded.catch_up(cx.program).await?;
                (loaded, true)
            }
            None if M::CREATES && is_first_run => (Box::new(Loaded::new(stream)), false),
            None => (Loaded::replay(cx.program, stream).await?, true),
        };
        let mut guard = RootGuard { loaded, is_fresh, cached, slot, _locked: locked };
        match guard.admit(cx).await {
            Ok(()) => Ok(guard),
            Err(stop) => {
                guard.release(cx);
                Err(stop)
            }
        }
    }

    async fn commit<'c, O: CommandOutput>(
        mut held: RootGuard<A>,
        cx: &'c Context<'c>,
        outcome: Result<O, Error>,
    ) -> Result<O, Interrupt> {
        let recording = held.loaded.root.take_recording();
        match outcome {
            Ok(output) if !recording.is_empty() => {
                held.append(cx, M::NAME, recording, &output).await?;
                Ok(output)
            }
            outcome => held.give_back(cx, recording.len() as u64, outcome).await,
        }
    }

    fn declare(setup: &mut Setup<'_>) {
        declare::<A, M>(setup);
    }
}

impl<A: Aggregate, M: Targeted + Sync> FromContext<M> for Root<A> {
    type Held<'c> = Box<Self>;

    async fn extract<'c>(cx: &'c Context<'c>, message: &M) -> Result<Box<Self>, Interrupt> {
        let stream = stream_of::<A, M>(message)?;
        Ok(Box::new(cx.program.extensions.expect::<Repository<A>>().read(cx, stream).await?))
    }

    fn declare(setup: &mut Setup<'_>) {
        declare::<A, M>(setup);
    }
}

/// Makes the repository that a handler's `Root<A>` comes from.
fn declare<A: Aggregate, M: Targeted>(setup: &mut Setup<'_>) {
    declare_key::<A, M>(setup);
    if StreamId::is_part(A::NAME) {
        let bytes = setup.cache_bytes;
        setup.provide(|| Repository::<A>::new(bytes));
    } else {
        setup.missing(&format!(
            "a `Root<{}>`, whose NAME `{}` can't be part of a stream's name",
            type_name::<A>(),
            A::NAME
        ));
    }
}

/// Checks that the messages of type `M` say which aggregate of type `A` they are about.
pub(crate) fn declare_key<A: Aggregate, M: Targeted>(setup: &mut Setup<'_>) {
    setup.aggregate(TypeId::of::<A>(), type_name::<A>(), A::NAME);
    let ty = type_name::<A>();
    match KeyField::of::<M>(A::NAME) {
        Some(KeyField { aggregate: Some(_), .. }) => {}
        Some(KeyField { field, aggregate: None }) => setup.key(field, ty),
        None => setup
            .missing(&format!("a `{ty}`, whose key no field of its message has: mark it `#[key]`")),
    }
}

impl From<NotAppended> for Interrupt {
    fn from(not_appended: NotAppended) -> Self {
        match not_appended {
            NotAppended::Conflict => Self(InterruptReason::Again),
            NotAppended::Refused(error) => error.into(),
            NotAppended::Frame(error) => DecodeError::from(error).into(),
        }
    }
}

pub(crate) fn stream_of<A: Aggregate, M: Targeted>(message: &M) -> Result<StreamId, Error> {
    message.stream(A::NAME).map_err(|error| {
        let field = KeyField::of::<M>(A::NAME).map_or("key", |key| key.field);
        ErrorKind::Invalid(vec![FieldError::new(field, error.to_string())]).into()
    })
}

impl<A: Aggregate> RootGuard<A> {
    /// Checks, before the handler runs, that the command was not done before and that the aggregate
    /// is as its sender expects.
    async fn admit(&mut self, cx: &Context<'_>) -> Result<(), Interrupt> {
        self.check_replay(cx).await?;
        if self.is_as_expected(cx) {
            cx.clock().not_before(self.loaded.time);
            return Ok(());
        }
        if !self.is_fresh {
            self.loaded.catch_up(cx.program).await?;
            self.is_fresh = true;
            self.check_replay(cx).await?;
        }
        // A command on an aggregate that does not exist is the handler's to refuse: "not found" says more
        // than "another version" (RFC 9110, 13.2.1).
        if self.is_as_expected(cx) || !self.loaded.root.exists() {
            cx.clock().not_before(self.loaded.time);
            return Ok(());
        }
        Err(ErrorKind::VersionMismatch { actual: self.loaded.root.version() }.into_interrupt())
    }

    fn is_as_expected(&self, cx: &Context<'_>) -> bool {
        match cx.metadata.expected {
            Expected::Any => true,
            Expected::NoStream => self.loaded.root.version() == 0,
            Expected::Exact(version) => self.loaded.root.version() == version,
        }
    }

    /// Ends the run with the first answer if a command with the same id was done on this aggregate.
    async fn check_replay(&self, cx: &Context<'_>) -> Result<(), Interrupt> {
        let Some(id) = &cx.metadata.command_id else { return Ok(()) };
        if self.loaded.commands.is_empty() {
            return Ok(());
        }
        let Some(&version) = self.loaded.commands.get(&id.digest()) else { return Ok(()) };
        let store = cx.program.store();
        let found = store.read_stream(self.loaded.root.stream(), version, 1).await?;
        let record = found.first().ok_or_else(|| {
            StoreError::corrupt(format!(
                "stream {} lost version {version}",
                self.loaded.root.stream()
            ))
        })?;
        let commit = record.commit().map_err(DecodeError::from)?;
        let Some(command) = commit.command.as_ref().filter(|c| c.id == id.as_str()) else {
            return Ok(());
        };
        if command.fingerprint != cx.fingerprint {
            return Err(ErrorKind::CommandIdReused.into_interrupt());
        }
        Err(Interrupt(InterruptReason::Replay {
            reply: record.frame.slice_ref(command.reply),
            version: commit.last_version(),
            position: commit.last_position(record.position),
        }))
    }

    /// Ends a run that has nothing to append. An answer or a refusal that is based on a cached state is
    /// given only if the stream still ends there; otherwise the handler runs again.
    async fn give_back<O>(
        mut self,
        cx: &Context<'_>,
        recorded: u64,
        outcome: Result<O, Error>,
    ) -> Result<O, Interrupt> {
        let store = cx.program.store();
        let is_changed = if recorded > 0 {
            // The state has events in it that never happened: it is not put back.
            let next = self.loaded.root.version() - recorded + 1;
            let newer = !self.is_fresh
                && !store.read_stream(self.loaded.root.stream(), next, 1).await?.is_empty();
            drop(self);
            newer
        } else {
            let newer = !self.is_fresh && self.loaded.catch_up(cx.program).await?;
            self.release(cx);
            newer
        };
        if is_changed {
            return Err(Interrupt(InterruptReason::Again));
        }
        Ok(outcome?)
    }

    /// Puts the unchanged aggregate back.
    fn release(self, cx: &Context<'_>) {
        let repository = cx.program.extensions.expect::<Repository<A>>();
        repository.put_back(&self.cached, self.slot, self.loaded);
    }

    /// Appends the recorded events as one commit, with the answer in it if the command has an id.
    async fn append<O: CommandOutput>(
        mut self,
        cx: &Context<'_>,
        command: &'static str,
        recording: Recording,
        output: &O,
    ) -> Result<(), Interrupt> {
        let n = recording.len();
        if n > MAX_EVENTS {
            return Err(Error::misuse(format!(
                "a command recorded {n} events, and a commit holds at most {MAX_EVENTS}"
            ))
            .into());
        }
        let version = self.loaded.root.version() - n as u64;
        if version == 0 && matches!(cx.metadata.expected, Expected::Exact(_)) {
            return Err(ErrorKind::VersionMismatch { actual: version }.into_interrupt());
        }
        let (frame, id) =
            encode(cx, command, self.loaded.root.stream(), version, recording, output)?;
        let append = Append {
            stream: self.loaded.root.stream(),
            version,
            token: self.loaded.token,
            events: n,
            frame,
        };
        let appended = append_once(cx.program.store(), append, id).await?;
        (self.loaded.token, self.loaded.commit) = (appended.token, id);
        self.loaded.time = cx.clock().now();
        if let Some(id) = &cx.metadata.command_id {
            self.loaded.commands.insert(id.digest(), version + 1);
        }
        let position = appended.position + n as u64 - 1;
        let _ = cx.committed.set((self.loaded.root.version(), position));
        self.loaded.keep_snapshot(cx.program);
        self.release(cx);
        Ok(())
    }
}

impl ErrorKind {
    fn into_interrupt(self) -> Interrupt {
        Error::from(self).into()
    }
}
