//! Putting a checked program to work.

use std::{fmt, sync::Arc};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cluster::{Leases, Membership, Work},
    follow::{Feed, Tail},
    program::{Pipeline, Program, ReadProgress, telemetry},
    react::{Dispatcher, EventHandlers, Relay, Runner, WorkState},
    read::{Fold, Folds},
    runtime::{Builder, Catga, catga::ThisProgram},
    store::{InMemoryTransport, PARTITIONS, Transport},
};

/// A program with what runs in its background.
pub(crate) struct Runtime {
    pub(crate) program: Arc<Program>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) relay: Arc<WorkState>,
    /// Each event handler on each partition.
    pub(crate) runners: Vec<Arc<WorkState>>,
    /// End the background tasks. Event handlers end first: parking needs the tail, and handing over the roster.
    pub(crate) stop_handlers: CancellationToken,
    pub(crate) stop_member: CancellationToken,
    pub(crate) stop_tail: CancellationToken,
    pub(crate) handlers: TaskTracker,
    pub(crate) membership: TaskTracker,
}

/// Puts a checked program to work.
pub(crate) fn start(
    builder: Builder,
    handlers: EventHandlers,
    membership: Option<Membership>,
) -> Catga {
    telemetry::describe();
    let leases = match &membership {
        Some(membership) => Leases::new(builder.kv.clone(), membership.view()),
        None => Leases::alone(builder.kv.clone()),
    };
    let topic: Arc<dyn Transport> = match &builder.transport {
        Some(transport) => transport.clone(),
        None => Arc::new(InMemoryTransport::new(builder.store.clone())),
    };
    let Builder { mut extensions, transport, delivery: settings, .. } = builder;
    let folds = extensions.take::<Folds>().into_values().collect();
    let runtime = Arc::new_cyclic(|this| {
        extensions.insert(ThisProgram(this.clone()));
        let program = Arc::new(Program {
            store: builder.store,
            kv: builder.kv,
            clock: builder.clock,
            node: builder.node,
            extensions,
            pipeline: Pipeline::new(builder.behaviors),
            progress: ReadProgress::new(),
            timeout: builder.timeout,
            tasks: TaskTracker::new(),
        });
        let feed = Arc::new(Feed::new(topic));
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
            runners: work_on(&handlers),
            stop_handlers: CancellationToken::new(),
            stop_member: CancellationToken::new(),
            stop_tail: CancellationToken::new(),
            handlers: TaskTracker::new(),
            membership: TaskTracker::new(),
        }
    });
    runtime.spawn_tail(folds);
    runtime.spawn_relay();
    runtime.spawn_runners(&handlers);
    runtime.spawn_membership(membership);
    Catga { runtime }
}

impl Runtime {
    fn spawn_tail(&self, folds: Vec<Box<dyn Fold>>) {
        let Dispatcher { feed, transport, .. } = &*self.dispatcher;
        let is_topic = transport.is_none() && !self.runners.is_empty();
        let publisher = is_topic.then(|| feed.publisher(0));
        let tail = Tail::new(self.program.clone(), folds, publisher);
        self.program.tasks.spawn(tail.run(self.stop_tail.clone()));
    }

    fn spawn_relay(&self) {
        let dispatcher = self.dispatcher.clone();
        let Some(transport) = dispatcher.transport.clone() else { return };
        let store = self.program.store.clone();
        let relay = Relay { store, transport, state: self.relay.clone() };
        let shutdown = self.stop_handlers.clone();
        self.handlers.spawn(async move { relay.run(&dispatcher.leases, shutdown).await });
    }

    fn spawn_runners(&self, handlers: &EventHandlers) {
        for state in &self.runners {
            let Work::Handler { name, partition } = state.work else { continue };
            let handler = handlers.iter().find(|h| h.name() == name);
            let runner = Runner {
                dispatcher: self.dispatcher.clone(),
                handler: handler.expect("the work is made from the handlers").clone(),
                partition,
                state: state.clone(),
                shutdown: self.stop_handlers.clone(),
            };
            self.handlers.spawn(runner.run());
        }
    }

    fn spawn_membership(self: &Arc<Self>, membership: Option<Membership>) {
        let Some(membership) = membership else { return };
        let (stop, runtime) = (self.stop_member.clone(), self.clone());
        self.membership.spawn(membership.run(stop, move || runtime.held_work()));
    }
}

/// Each event handler on each partition.
fn work_on(handlers: &EventHandlers) -> Vec<Arc<WorkState>> {
    let work = handlers.iter().flat_map(|handler| {
        let name = handler.name();
        (0..PARTITIONS).map(move |partition| Work::Handler { name, partition })
    });
    work.map(|work| Arc::new(WorkState::new(work))).collect()
}

impl fmt::Debug for Runtime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Runtime").field("program", &self.program).finish_non_exhaustive()
    }
}
