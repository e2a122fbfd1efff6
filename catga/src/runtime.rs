//! The running program: what `Catga` is a handle to.

use std::{
    fmt,
    ops::Deref,
    sync::{Arc, Weak},
    time::Duration,
};

use sha2::{Digest, Sha256};
use tokio::time::{sleep, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    Behavior, Builder, Call, Clock, Command, Consistency, Context, DeadLetter, DeliverySettings,
    DurabilityReport, Error, ErrorKind, EventStore, FromContext, Handled, Keyed, Kind, Metadata,
    Position, Query, Setup, Stop, Transport, Version,
    delivery::{Runner, RunnerState},
    error::StopReason,
    parked::{DropRequested, ParkingEvent, RetryRequested},
    pipeline,
    projection::{Fold, Tail},
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
    pub(crate) transport: Arc<dyn Transport>,
    pub(crate) parts: Parts,
    pub(crate) behaviors: Vec<Box<dyn Behavior>>,
    pub(crate) clock: Clock,
    pub(crate) node: String,
    pub(crate) delivery: DeliverySettings,
    pub(crate) tail: Tail,
    timeout: Duration,
    runners: Vec<Arc<RunnerState>>,
    /// Ends the background tasks, which `tasks` owns. Event handlers end first: parking needs the tail.
    stop_handlers: CancellationToken,
    stop_tail: CancellationToken,
    handlers: TaskTracker,
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

/// How a program is.
#[derive(Debug, Clone)]
pub struct Health {
    /// Whether the store answers; the text is safe to show.
    pub store: Result<(), String>,
    /// Whether the read models take in the log.
    pub read_models: Result<(), String>,
    /// How far the read models are.
    pub read_model_position: Position,
    /// The last position of the log, 0 when the store does not answer.
    pub head: Position,
    /// What an acknowledged command survives; `None` when that can't be found out now.
    pub durability: Option<DurabilityReport>,
    /// Each event handler on each partition.
    pub handlers: Vec<HandlerStatus>,
    /// Whether the read models have ever been at the head since the program started.
    pub is_caught_up: bool,
}

/// How an event handler is on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerStatus {
    /// Its name.
    pub name: &'static str,
    /// The partition.
    pub partition: u16,
    /// Everything up to here is handled or parked.
    pub position: Position,
    /// Why it stopped for good, if it did.
    pub stopped: Option<String>,
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
        let work = async {
            timeout(self.runtime.timeout, self.runtime.execute(command, metadata))
                .await
                .unwrap_or_else(|_| Err(ErrorKind::Timeout.into()))
        };
        pipeline::run(&self.runtime.behaviors, &call, work).await
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
        let work = async {
            match timeout(self.runtime.timeout, query.handle(&cx)).await {
                Ok(outcome) => outcome.map_err(Stop::into_error),
                Err(_) => Err(ErrorKind::Timeout.into()),
            }
        };
        pipeline::run(&self.runtime.behaviors, &call, work).await
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

    async fn request(&self, id: &str, event: ParkingEvent) -> Result<Option<DeadLetter>, Error> {
        let request = self.runtime.request(id, event);
        timeout(self.runtime.timeout, request)
            .await
            .unwrap_or_else(|_| Err(ErrorKind::Timeout.into()))
    }

    /// How the program is, asking the store anew.
    pub async fn health(&self) -> Health {
        let runtime = &self.runtime;
        let store = runtime.store();
        let answers = async { tokio::join!(store.head(), store.durability()) };
        let (head, durability) = match timeout(runtime.timeout, answers).await {
            // Not to know how durable the store is, is no reason to send no more commands.
            Ok((head, durability)) => (head.map_err(|error| error.to_string()), durability.ok()),
            Err(_) => (Err("the store did not answer in time".to_owned()), None),
        };
        let progress = runtime.tail.progress();
        Health {
            head: head.as_ref().copied().unwrap_or(0),
            store: head.map(|_| ()),
            read_models: progress.stopped.map_or(Ok(()), Err),
            read_model_position: progress.position,
            durability,
            is_caught_up: progress.is_caught_up,
            handlers: runtime
                .runners
                .iter()
                .map(|runner| HandlerStatus {
                    name: runner.handler,
                    partition: runner.partition,
                    position: runner.position(),
                    stopped: runner.stopped(),
                })
                .collect(),
        }
    }

    /// Sets the gauges that are known only on demand; call it before metrics are read.
    pub async fn observe(&self) {
        let health = self.health().await;
        if health.store.is_err() {
            return;
        }
        let lag = |position: Position| {
            let lag = health.head.saturating_sub(position);
            f64::from(u32::try_from(lag).unwrap_or(u32::MAX))
        };
        metrics::gauge!(telemetry::READ_MODEL_LAG).set(lag(health.read_model_position));
        for handler in &health.handlers {
            metrics::gauge!(telemetry::HANDLER_LAG, "handler" => handler.name)
                .set(lag(handler.position));
        }
    }

    /// Ends the background tasks: event handlers finish what they are at and what lies below it in the log, within
    /// [`DeliverySettings::drain`], and their checkpoints are written, so that nothing is handled again. Commands and queries in flight are the caller's to wait for, before.
    pub async fn shutdown(&self) {
        let runtime = &self.runtime;
        runtime.stop_handlers.cancel();
        runtime.handlers.close();
        runtime.handlers.wait().await;
        runtime.stop_tail.cancel();
        runtime.tasks.close();
        runtime.tasks.wait().await;
    }
}

impl Runtime {
    /// Puts a checked program to work.
    pub(crate) fn start(
        builder: Builder,
        transport: Arc<dyn Transport>,
        parts: Parts,
        folds: Vec<Box<dyn Fold>>,
    ) -> Catga {
        telemetry::describe();
        let runners = parts.event_handlers.iter().flat_map(|handler| {
            let name = handler.name();
            (0..transport.partitions())
                .map(move |partition| Arc::new(RunnerState::new(name, partition)))
        });
        let runners: Vec<_> = runners.collect();
        let runtime = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            store: builder.store,
            snapshots: SnapshotStore::new(builder.keyed.clone()),
            keyed: builder.keyed,
            transport,
            parts,
            behaviors: builder.behaviors,
            clock: builder.clock,
            node: builder.node,
            delivery: builder.delivery,
            tail: Tail::new(),
            timeout: builder.timeout,
            runners,
            stop_handlers: CancellationToken::new(),
            stop_tail: CancellationToken::new(),
            handlers: TaskTracker::new(),
            tasks: TaskTracker::new(),
        });
        runtime.spawn_tail(folds);
        runtime.spawn_runners();
        Catga { runtime }
    }

    /// Runs what nobody waits for, until it ends; a shutdown waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    fn spawn_tail(self: &Arc<Self>, folds: Vec<Box<dyn Fold>>) {
        let runtime = self.clone();
        self.tasks.spawn(async move {
            let types = &runtime.parts.event_types;
            let is_known = |name: &str| types.contains(name);
            let stop = runtime.stop_tail.clone();
            runtime.tail.run(runtime.store(), &folds, is_known, stop).await;
        });
    }

    fn spawn_runners(self: &Arc<Self>) {
        for state in &self.runners {
            let handler = self.parts.event_handlers.iter().find(|h| h.name() == state.handler);
            let runner = Runner {
                runtime: self.clone(),
                handler: handler.expect("runners are made from the handlers").clone(),
                state: state.clone(),
                shutdown: self.stop_handlers.clone(),
            };
            self.handlers.spawn(runner.run());
        }
    }

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
