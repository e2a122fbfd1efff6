//! What runs in the background of a program: the tail, the relay, the runners of its event handlers, and its membership.

use std::{
    fmt,
    sync::{Arc, OnceLock, Weak},
};

use tokio::{sync::Mutex, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    cluster::{Membership, Work},
    follow::Tail,
    log::Position,
    program::Program,
    react::{Breaker, Dispatcher, EventHandlers, Relay, Runner, WorkState},
    read::Fold,
    runtime::standstill::{LOOK_EVERY, Standstill},
    store::{PARTITIONS, guarded, supervised},
};

/// A program with what runs in its background.
pub(crate) struct Runtime {
    pub(crate) program: Arc<Program>,
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) relay: Arc<WorkState>,
    pub(crate) standstill: Standstill,
    /// Each event handler on each partition.
    pub(crate) runners: Vec<Arc<WorkState>>,
    /// Of each event handler.
    pub(crate) breakers: Vec<Arc<Breaker>>,
    /// End the background tasks. Event handlers end first: parking needs the tail, and handing over the roster.
    pub(crate) stop_handlers: CancellationToken,
    pub(crate) stop_member: CancellationToken,
    pub(crate) stop_tail: CancellationToken,
    pub(crate) handlers: TaskTracker,
    pub(crate) membership: TaskTracker,
    /// Ends every background task where it is.
    pub(crate) abandon: CancellationToken,
    /// What the handles share, for as long as there are any.
    pub(crate) handles: OnceLock<Weak<Handles>>,
}

/// The program itself, for handlers that take `&Catga`.
pub(crate) struct ThisProgram(pub(crate) Weak<Runtime>);

/// What all handles to a program share: with the last of them the background tasks end, and so does what they hold open.
pub(crate) struct Handles(CancellationToken);

impl Drop for Handles {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl Runtime {
    /// What the handles to this program share from now on.
    pub(crate) fn handles(&self) -> Arc<Handles> {
        let handles = Arc::new(Handles(self.abandon.clone()));
        self.handles.set(Arc::downgrade(&handles)).expect("a program is started once");
        handles
    }

    /// `task` until it ends, or until the program has no handle any more. The program lives as long: a handler that is under way
    /// can send commands.
    fn unless_abandoned<T: Future<Output = ()> + Send>(
        self: &Arc<Self>,
        task: T,
    ) -> impl Future<Output = ()> + Send + use<T> {
        let runtime = self.clone();
        async move {
            runtime.abandon.run_until_cancelled(task).await;
        }
    }

    pub(crate) fn spawn_tail(self: &Arc<Self>, folds: Vec<Box<dyn Fold>>) {
        let Dispatcher { feed, transport, .. } = &*self.dispatcher;
        let is_topic = transport.is_none() && !self.runners.is_empty();
        let publisher = is_topic.then(|| feed.publisher(Position::ZERO));
        let tail = Tail::new(self.program.clone(), folds, publisher);
        let (program, stop) = (self.program.clone(), self.stop_tail.clone());
        let feeding = async move {
            // What it had taken in of a page is not known: it can't go on.
            if let Err(reason) = guarded("tail", tail.run(stop)).await {
                program.progress.stop(reason);
            }
        };
        self.program.tasks.spawn(self.unless_abandoned(feeding));
    }

    /// Looks at how everything is, whether somebody asks or not, so that what stands still is noticed in time.
    pub(crate) fn spawn_watch(self: &Arc<Self>) {
        let (runtime, stop) = (self.clone(), self.stop_handlers.clone());
        let watching = async move {
            let watch = async || {
                while stop.run_until_cancelled(sleep(LOOK_EVERY)).await.is_some() {
                    stop.run_until_cancelled(runtime.health()).await;
                }
            };
            supervised("health", watch).await;
        };
        self.program.tasks.spawn(self.unless_abandoned(watching));
    }

    pub(crate) fn spawn_relay(self: &Arc<Self>) {
        let dispatcher = self.dispatcher.clone();
        let Some(transport) = dispatcher.transport.clone() else { return };
        let store = self.program.store.clone();
        let relay = Relay { store, transport, state: self.relay.clone() };
        let shutdown = self.stop_handlers.clone();
        let relaying = async move {
            supervised(Work::Relay, || relay.run(&dispatcher.leases, shutdown.clone())).await;
        };
        self.handlers.spawn(self.unless_abandoned(relaying));
    }

    pub(crate) fn spawn_runners(self: &Arc<Self>, handlers: &EventHandlers) {
        for state in &self.runners {
            let Work::Handler { name, partition } = state.work else { continue };
            let handler = handlers.iter().find(|h| h.name() == name);
            let breaker = self.breakers.iter().find(|breaker| breaker.handler() == name);
            let runner = Runner {
                dispatcher: self.dispatcher.clone(),
                breaker: breaker.expect("each handler has one").clone(),
                handler: handler.expect("the work is made from the handlers").clone(),
                partition,
                state: state.clone(),
                shutdown: self.stop_handlers.clone(),
            };
            let running = async move { supervised(runner.state.work, || runner.run()).await };
            self.handlers.spawn(self.unless_abandoned(running));
        }
    }

    pub(crate) fn spawn_membership(self: &Arc<Self>, membership: Option<Membership>) {
        let Some(membership) = membership else { return };
        let (stop, runtime) = (self.stop_member.clone(), self.clone());
        let membership = Mutex::new(membership);
        let beating = async move {
            let beat = async || {
                membership.lock().await.run(&stop, || runtime.node_work()).await;
            };
            supervised("membership", beat).await;
        };
        self.membership.spawn(self.unless_abandoned(beating));
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
