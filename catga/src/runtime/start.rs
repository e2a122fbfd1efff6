//! Checking a program, and putting it to work.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cluster::{JoinError, Leases, Membership, Work},
    follow::Feed,
    log::StoreError,
    model::SkippedEvents,
    program::{
        Kind, Pipeline, Program, ReadProgress, Setup, SkipStream, catalogue, doubled_names,
        empty_crates, place, telemetry,
    },
    react::{Breaker, Dispatcher, EventHandler, EventHandlers, WorkState},
    read::{Folds, SharedPages},
    runtime::{
        background::{Runtime, ThisProgram, work_on},
        builder::Builder,
        catga::Catga,
        error::StartError,
        standstill::Standstill,
    },
    store::{InMemoryTransport, Transport},
    write::SnapshotStore,
};

impl Builder {
    /// Checks the whole program, and starts its read models and event handlers.
    ///
    /// # Errors
    /// [`StartError`] with everything that is missing or doubled, each with the source line to look
    /// at; or with the store's error when it can't be reached.
    pub async fn start(mut self) -> Result<Catga, StartError> {
        let items = self.items.take().unwrap_or_else(catalogue);
        if !items.iter().any(|item| item.kind != Kind::Event && item.kind != Kind::Projection) {
            return Err(StartError::NoHandlers);
        }
        let mut problems = doubled_names(&items);
        problems.extend(empty_crates(&items));
        for pass in [Pass::Projections, Pass::Others] {
            for item in
                items.iter().filter(|i| (i.kind == Kind::Projection) == (pass == Pass::Projections))
            {
                let bytes = self.cache_bytes;
                let mut setup = Setup::new(place(item), bytes, &mut self.extensions, &mut problems);
                (item.setup)(&mut setup);
            }
        }
        if self.cluster.as_ref().is_some_and(|cluster| cluster.lease < Duration::from_secs(1)) {
            problems.push("a cluster needs a lease time of 1 second or more".to_owned());
        }
        if self.delivery.attempts == 0 || self.delivery.concurrency == 0 {
            problems.push("delivery needs at least 1 attempt and a concurrency of 1".to_owned());
        }
        if !problems.is_empty() {
            problems.sort();
            return Err(StartError::Incomplete(problems));
        }
        self.backend.store().head().await.map_err(StartError::Store)?;
        let skipped = self.skipped().await.map_err(StartError::Store)?;
        let membership = self.join().await?;
        self.extensions.insert(SnapshotStore::new(self.backend.kv().clone()));
        let handlers = self.extensions.take::<EventHandlers>();
        Ok(start(self, skipped, handlers, membership))
    }

    /// The events that operators skipped, with a line in the log if there are any.
    async fn skipped(&self) -> Result<SkippedEvents, StoreError> {
        let skipped = SkipStream::read(&**self.backend.store()).await?.events();
        if skipped.len() > 0 {
            let events = skipped.len();
            tracing::warn!(
                events,
                "events that were skipped are passed over where they can't be read"
            );
        }
        Ok(skipped)
    }

    async fn join(&mut self) -> Result<Option<Membership>, StartError> {
        let Some(settings) = self.cluster.take() else { return Ok(None) };
        let handlers = self
            .extensions
            .get_or_default::<EventHandlers>()
            .iter()
            .map(|h| h.name().to_owned())
            .collect();
        let (kv, clock) = (self.backend.kv().clone(), self.clock.clone());
        let joined = Membership::join(kv, settings, clock, &self.node, handlers).await;
        joined.map(Some).map_err(|error| match error {
            JoinError::Store(error) => StartError::Store(error),
            JoinError::NameTaken { address } => {
                StartError::NameTaken { node: self.node.clone(), address }
            }
        })
    }
}

#[derive(PartialEq, Clone, Copy)]
enum Pass {
    Projections,
    Others,
}

/// Puts a checked program to work.
fn start(
    builder: Builder,
    skipped: SkippedEvents,
    handlers: EventHandlers,
    membership: Option<Membership>,
) -> Catga {
    telemetry::describe();
    let (kv, log) = (builder.backend.kv().clone(), builder.backend.store().log_id());
    let leases = match &membership {
        Some(membership) => Leases::new(kv, log, membership.view(), membership.lease()),
        None => Leases::alone(kv, log),
    };
    let topic: Arc<dyn Transport> = match &builder.transport {
        Some(transport) => transport.clone(),
        None => Arc::new(InMemoryTransport::new(builder.backend.store().clone())),
    };
    let Builder { mut extensions, transport, delivery: settings, .. } = builder;
    extensions.insert(SharedPages::default());
    let folds = extensions.take::<Folds>().into_values().collect();
    let runtime = Arc::new_cyclic(|this| {
        extensions.insert(ThisProgram(this.clone()));
        let program = Arc::new(Program {
            store: builder.backend.store().clone(),
            kv: builder.backend.kv().clone(),
            clock: builder.clock,
            node: builder.node,
            extensions,
            pipeline: Pipeline::new(builder.behaviors),
            skipped: Arc::new(skipped),
            progress: ReadProgress::new(),
            timeout: builder.timeout,
            tasks: TaskTracker::new(),
        });
        let delays = (settings.first_delay, settings.longest_delay);
        let breaker = |handler: &Arc<dyn EventHandler>| {
            Arc::new(Breaker::new(handler.name(), program.clock.clone(), delays))
        };
        let breakers = handlers.iter().map(breaker).collect();
        let handler_tasks = TaskTracker::new();
        let feed = Arc::new(Feed::new(topic, handler_tasks.clone()));
        Runtime {
            dispatcher: Arc::new(Dispatcher {
                program: program.clone(),
                leases,
                feed,
                transport,
                settings,
            }),
            program,
            relay: Arc::new(WorkState::new(Work::Relay)),
            standstill: Standstill::default(),
            runners: work_on(&handlers),
            breakers,
            stop_handlers: CancellationToken::new(),
            stop_member: CancellationToken::new(),
            stop_tail: CancellationToken::new(),
            handlers: handler_tasks,
            membership: TaskTracker::new(),
            abandon: CancellationToken::new(),
            handles: OnceLock::new(),
        }
    });
    let handles = runtime.handles();
    runtime.spawn_tail(folds);
    runtime.spawn_relay();
    runtime.spawn_runners(&handlers);
    runtime.spawn_membership(membership);
    runtime.spawn_watch();
    Catga { _handles: Some(handles), runtime, caller: None }
}
