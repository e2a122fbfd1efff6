//! What runs in the background of a program: the tail, the relay, the runners of its event handlers, and its membership.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cluster::{Membership, Work},
    follow::Tail,
    program::Program,
    react::{Dispatcher, EventHandlers, Relay, Runner, WorkState},
    read::Fold,
    store::PARTITIONS,
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

/// The program itself, for handlers that take `&Catga`.
pub(crate) struct ThisProgram(pub(crate) Weak<Runtime>);

impl Runtime {
    pub(crate) fn spawn_tail(&self, folds: Vec<Box<dyn Fold>>) {
        let Dispatcher { feed, transport, .. } = &*self.dispatcher;
        let is_topic = transport.is_none() && !self.runners.is_empty();
        let publisher = is_topic.then(|| feed.publisher(0));
        let tail = Tail::new(self.program.clone(), folds, publisher);
        self.program.tasks.spawn(tail.run(self.stop_tail.clone()));
    }

    pub(crate) fn spawn_relay(&self) {
        let dispatcher = self.dispatcher.clone();
        let Some(transport) = dispatcher.transport.clone() else { return };
        let store = self.program.store.clone();
        let relay = Relay { store, transport, state: self.relay.clone() };
        let shutdown = self.stop_handlers.clone();
        self.handlers.spawn(async move { relay.run(&dispatcher.leases, shutdown).await });
    }

    pub(crate) fn spawn_runners(&self, handlers: &EventHandlers) {
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

    pub(crate) fn spawn_membership(self: &Arc<Self>, membership: Option<Membership>) {
        let Some(membership) = membership else { return };
        let (stop, runtime) = (self.stop_member.clone(), self.clone());
        self.membership.spawn(membership.run(stop, move || runtime.held_work()));
    }
}

/// Each event handler on each partition.
pub(crate) fn work_on(handlers: &EventHandlers) -> Vec<Arc<WorkState>> {
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
