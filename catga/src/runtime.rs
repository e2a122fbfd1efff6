//! The running program: what `Catga` is a handle to.

mod health;
mod start;

use std::{
    fmt,
    ops::Deref,
    pin::pin,
    sync::{Arc, Weak},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use self::health::{HandlerStatus, Health};
use crate::{
    Behavior, Builder, Call, Clock, Command, Consistency, Context, DeadLetter, DeliverySettings,
    Error, ErrorKind, EventStore, FromContext, Handled, Keyed, Kind, Metadata, Position, Query,
    Setup, Stop, Transport, Version,
    cluster::Leases,
    delivery::{Feed, WorkState},
    error::StopReason,
    parked::{DropRequested, ParkingEvent, RetryRequested},
    pipeline::{self, Timers},
    projection::Tail,
    retry::Backoff,
    setup::Parts,
    snapshot::SnapshotStore,
    telemetry,
};

/// How often a command handler is run on newer state before the command is given up.
const RUNS: u32 = 16;

/// A running program: send it commands and queries. Clones are handles to the same one.
#[derive(Clone)]
pub struct Catga {
    runtime: Arc<Runtime>,
}

pub(crate) struct Runtime {
    /// Itself, for handlers that take `&Catga`.
    this: Weak<Runtime>,
    pub(crate) store: Arc<dyn EventStore>,
    pub(crate) keyed: Arc<dyn Keyed>,
    pub(crate) snapshots: SnapshotStore,
    pub(crate) feed: Arc<Feed>,
    pub(crate) leases: Leases,
    pub(crate) parts: Parts,
    pub(crate) behaviors: Vec<Box<dyn Behavior>>,
    pub(crate) timers: Timers,
    pub(crate) clock: Clock,
    pub(crate) node: String,
    pub(crate) delivery: DeliverySettings,
    pub(crate) tail: Tail,
    timeout: Duration,
    /// Where the relay brings the log to; `None` when event handlers read the log itself.
    pub(crate) transport: Option<Arc<dyn Transport>>,
    relay: Arc<WorkState>,
    /// Each event handler on each partition.
    shares: Vec<Arc<WorkState>>,
    /// Ends the background tasks, which `tasks` owns. Event handlers end first: parking needs the tail, and handing
    /// over the roster.
    stop_handlers: CancellationToken,
    stop_member: CancellationToken,
    stop_tail: CancellationToken,
    handlers: TaskTracker,
    membership: TaskTracker,
    tasks: TaskTracker,
}

/// The answer to a command, and where its events are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Done<T> {
    /// What the handler answered.
    pub output: T,
    /// The version of the aggregate after the command; 0 when it wrote nothing.
    pub version: Version,
    /// The position of the command's last event; 0 when it wrote nothing.
    pub position: Position,
    /// Whether the command was done before, under the same id, and this is the answer of then.
    pub is_replay: bool,
}

impl Catga {
    /// A program with default settings, to be set up and started.
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Sends a command to its handler, and gives back the answer once its events are in the log.
    ///
    /// # Errors
    /// [`Error`]: the handler's own, or what kept the command from being done.
    pub async fn send<C>(&self, command: C) -> Result<<C as Command>::Output, Error>
    where
        C: Command + Handled<Output = <C as Command>::Output>,
    {
        Ok(self.execute(command, &Metadata::default()).await?.output)
    }

    /// Sends a command with an id, an expected version or other metadata.
    ///
    /// # Errors
    /// As [`send`](Self::send).
    pub async fn execute<C>(
        &self,
        command: C,
        metadata: &Metadata,
    ) -> Result<Done<<C as Command>::Output>, Error>
    where
        C: Command + Handled<Output = <C as Command>::Output>,
    {
        let call = Call { kind: Kind::CommandHandler, name: C::NAME, metadata };
        let work = pin!(self.runtime.execute(command, metadata));
        pipeline::run(&self.runtime, &call, self.runtime.timeout, work).await
    }

    /// Asks a query; the answer shows every command that was answered before.
    ///
    /// # Errors
    /// [`Error`]: the handler's own, or what kept the query from being answered.
    pub async fn query<Q>(&self, query: Q) -> Result<<Q as Query>::Output, Error>
    where
        Q: Query + Handled<Output = <Q as Query>::Output>,
    {
        self.query_with(query, Consistency::Latest).await
    }

    /// Asks a query that must see as much as `consistency` says.
    ///
    /// # Errors
    /// As [`query`](Self::query).
    pub async fn query_with<Q>(
        &self,
        query: Q,
        consistency: Consistency,
    ) -> Result<<Q as Query>::Output, Error>
    where
        Q: Query + Handled<Output = <Q as Query>::Output>,
    {
        let metadata = Metadata::default();
        let call = Call { kind: Kind::QueryHandler, name: Q::NAME, metadata: &metadata };
        let cx = Context { consistency, ..Context::new(&self.runtime, &metadata) };
        let work = pin!(async { query.handle(&cx).await.map_err(Stop::into_error) });
        pipeline::run(&self.runtime, &call, self.runtime.timeout, work).await
    }

    /// The log.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.runtime.store
    }

    /// The position of the last event in the log.
    ///
    /// # Errors
    /// [`Error`] when the store can't be asked.
    pub async fn head(&self) -> Result<Position, Error> {
        Ok(self.runtime.store().head().await?)
    }

    /// The events that handlers gave up on, oldest first.
    ///
    /// # Errors
    /// [`Error`] when the read barrier can't be passed.
    pub async fn dead_letters(&self, consistency: Consistency) -> Result<Vec<DeadLetter>, Error> {
        let letters = self.runtime.letters(consistency);
        timeout(self.runtime.timeout, letters)
            .await
            .unwrap_or_else(|_| Err(ErrorKind::Timeout.into()))
    }

    /// Has the handler of a dead letter try its event again, and then those behind it. `None` when there is no
    /// such letter.
    ///
    /// # Errors
    /// [`Error`] when the store can't be reached.
    pub async fn retry_dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, Error> {
        let request = RetryRequested { letter: id.to_owned() };
        self.request(id, ParkingEvent::Retry(request)).await
    }

    /// Has the handler of a dead letter leave its event out, and go on with those behind it. `None`
    /// when there is no such letter. The request stays in the log, with the reason.
    ///
    /// # Errors
    /// [`Error`] when the store can't be reached.
    pub async fn drop_dead_letter(
        &self,
        id: &str,
        reason: Option<String>,
    ) -> Result<Option<DeadLetter>, Error> {
        let request = DropRequested { letter: id.to_owned(), reason };
        self.request(id, ParkingEvent::Drop(request)).await
    }

    #[cfg(test)]
    pub(crate) fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    async fn request(&self, id: &str, event: ParkingEvent) -> Result<Option<DeadLetter>, Error> {
        let request = self.runtime.request(id, event);
        timeout(self.runtime.timeout, request)
            .await
            .unwrap_or_else(|_| Err(ErrorKind::Timeout.into()))
    }

    /// Ends the event handlers, and hands over what this node works on to the others of the cluster. Commands and
    /// queries go on.
    ///
    /// Event handlers finish what they are at and what lies below it in the log, within [`DeliverySettings::drain`],
    /// and their checkpoints are written, so that nothing is handled again.
    pub async fn hand_over(&self) {
        let runtime = &self.runtime;
        runtime.stop_handlers.cancel();
        runtime.handlers.close();
        runtime.handlers.wait().await;
        runtime.stop_member.cancel();
        runtime.membership.close();
        runtime.membership.wait().await;
    }

    /// Ends the background tasks, event handlers first, as in [`hand_over`](Self::hand_over). Commands and queries
    /// in flight are the caller's to wait for, before.
    pub async fn shutdown(&self) {
        self.hand_over().await;
        let runtime = &self.runtime;
        runtime.stop_tail.cancel();
        runtime.tasks.close();
        runtime.tasks.wait().await;
    }
}

impl Runtime {
    pub(crate) fn store(&self) -> &dyn EventStore {
        self.store.deref()
    }

    /// Waits until the read models show what `consistency` asks for.
    pub(crate) async fn read_barrier(&self, consistency: Consistency) -> Result<(), Error> {
        let position = match consistency {
            Consistency::Eventual => return Ok(()),
            Consistency::Latest => self.store().head().await?,
            Consistency::AtLeast(position) => position,
        };
        self.tail.wait_for(position).await
    }

    /// Validates a command, and runs its handler until its outcome rests on the stream as it is.
    async fn execute<C>(
        &self,
        command: C,
        metadata: &Metadata,
    ) -> Result<Done<<C as Command>::Output>, Error>
    where
        C: Command + Handled<Output = <C as Command>::Output>,
    {
        command.validate().map_err(ErrorKind::Invalid)?;
        let fingerprint = match metadata.command_id {
            Some(_) => fingerprint(&command)?,
            None => 0,
        };
        let mut backoff = Backoff::new(Duration::from_millis(1), Duration::from_millis(50));
        for run in 0..RUNS {
            let cx = Context { fingerprint, run, ..Context::new(self, metadata) };
            match command.clone().handle(&cx).await {
                Ok(output) => {
                    let (version, position) = cx.committed.get().copied().unwrap_or_default();
                    return Ok(Done { output, version, position, is_replay: false });
                }
                Err(Stop(StopReason::Error(error))) => return Err(error),
                Err(Stop(StopReason::Replay { reply, version, position })) => {
                    metrics::counter!(telemetry::REPLAYS, "name" => C::NAME).increment(1);
                    let output = postcard::from_bytes(&reply).map_err(|_| {
                        Error::misuse(
                            "the stored answer is not of the command's output type any more",
                        )
                    })?;
                    return Ok(Done { output, version, position, is_replay: true });
                }
                Err(Stop(StopReason::Again)) => {
                    metrics::counter!(telemetry::RERUNS, "name" => C::NAME).increment(1);
                    // The first rerun is at once: mostly the cached state was merely old.
                    if run > 0 {
                        sleep(backoff.next_delay()).await;
                    }
                }
            }
        }
        Err(ErrorKind::Contention.into())
    }
}

/// Tells a command from another one: the first half of a half of the SHA-256 of its name and encoding.
fn fingerprint<C: Command>(command: &C) -> Result<u64, Error> {
    let encoded = postcard::to_stdvec(command)
        .map_err(|e| Error::misuse(format!("a command with an id can't be encoded: {e}")))?;
    let mut hash = Sha256::new();
    hash.update(C::NAME);
    hash.update([0]);
    hash.update(encoded);
    let hash = hash.finalize();
    Ok(u64::from_le_bytes(hash[..8].try_into().expect("SHA-256 has 32 bytes")))
}

/// A handler may take `&Catga`, to send commands of its own.
impl<M: Sync> FromContext<M> for Catga {
    type Held<'c> = Box<Self>;

    async fn extract<'c>(cx: &'c Context<'c>, _: &M) -> Result<Box<Self>, Stop> {
        let runtime = cx.runtime.this.upgrade().expect("a handler runs inside a live runtime");
        Ok(Box::new(Self { runtime }))
    }

    fn declare(_: &mut Setup<'_>) {}
}

impl fmt::Debug for Catga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catga").field("node", &self.runtime.node).finish_non_exhaustive()
    }
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("node", &self.node).finish_non_exhaustive()
    }
}
