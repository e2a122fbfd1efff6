//! Putting a checked program to work.

use std::sync::Arc;

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Catga, Runtime};
use crate::{
    Builder, InMemoryTransport, PARTITIONS, Transport,
    cluster::{Leases, Membership, Share},
    delivery::{EventHandler, Feed, Runner, WorkState},
    pipeline::Timers,
    projection::{Fold, ModelSnapshots, Tail},
    relay::Relay,
    setup::Parts,
    snapshot::SnapshotStore,
    telemetry,
};

impl Runtime {
    /// Puts a checked program to work.
    pub(crate) fn start(
        builder: Builder,
        parts: Parts,
        folds: Vec<Box<dyn Fold>>,
        membership: Option<Membership>,
    ) -> Catga {
        telemetry::describe();
        let leases = match &membership {
            Some(membership) => Leases::new(builder.keyed.clone(), membership.view()),
            None => Leases::alone(builder.keyed.clone()),
        };
        let topic: Arc<dyn Transport> = match &builder.transport {
            Some(transport) => transport.clone(),
            None => Arc::new(InMemoryTransport::new(builder.store.clone())),
        };
        let runtime = Arc::new_cyclic(|this| Self {
            this: this.clone(),
            store: builder.store,
            snapshots: SnapshotStore::new(builder.keyed.clone()),
            keyed: builder.keyed,
            feed: Arc::new(Feed::new(topic)),
            leases,
            behaviors: builder.behaviors,
            timers: Timers::new(),
            clock: builder.clock,
            node: builder.node,
            delivery: builder.delivery,
            tail: Tail::new(),
            timeout: builder.timeout,
            transport: builder.transport,
            relay: Arc::new(WorkState::new(Share::Relay)),
            shares: shares(&parts.event_handlers),
            parts,
            stop_handlers: CancellationToken::new(),
            stop_member: CancellationToken::new(),
            stop_tail: CancellationToken::new(),
            handlers: TaskTracker::new(),
            membership: TaskTracker::new(),
            tasks: TaskTracker::new(),
        });
        runtime.spawn_tail(folds);
        runtime.spawn_relay();
        runtime.spawn_runners();
        runtime.spawn_membership(membership);
        Catga { runtime }
    }

    /// Runs what nobody waits for, until it ends; a shutdown waits for it.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(task);
    }

    fn spawn_tail(self: &Arc<Self>, folds: Vec<Box<dyn Fold>>) {
        let runtime = self.clone();
        let is_topic = self.transport.is_none() && !self.shares.is_empty();
        let offers = is_topic.then(|| self.feed.offers(0));
        self.tasks.spawn(async move {
            let Self { store, keyed, tail, parts, .. } = &*runtime;
            let (stop, folds) = (runtime.stop_tail.clone(), Arc::from(folds));
            let mut snapshots =
                ModelSnapshots::new(store.clone(), keyed.clone(), Arc::clone(&folds));
            let restored = stop.run_until_cancelled(snapshots.restore()).await;
            let Some(position) = restored else { return };
            tail.begin(position);
            if let Some(offers) = &offers {
                offers.begin(position);
            }
            let is_known = |name: &str| parts.event_types.contains(name);
            tail.run(store, &folds, &mut snapshots, is_known, offers, stop).await;
            // What a tail that stopped for good has half taken in is no snapshot.
            if tail.progress().stopped.is_none() {
                snapshots.finish().await;
            }
        });
    }

    fn spawn_relay(self: &Arc<Self>) {
        let Some(transport) = self.transport.clone() else { return };
        let relay = Relay { store: self.store.clone(), transport, state: self.relay.clone() };
        let (runtime, shutdown) = (self.clone(), self.stop_handlers.clone());
        self.handlers.spawn(async move { relay.run(&runtime.leases, shutdown).await });
    }

    fn spawn_runners(self: &Arc<Self>) {
        for state in &self.shares {
            let Share::Handler { name, partition } = state.share else { continue };
            let handler = self.parts.event_handlers.iter().find(|h| h.name() == name);
            let runner = Runner {
                runtime: self.clone(),
                handler: handler.expect("shares are made from the handlers").clone(),
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
        self.membership.spawn(membership.run(stop, move || runtime.held_shares()));
    }
}

/// Each event handler on each partition.
fn shares(handlers: &[Arc<dyn EventHandler>]) -> Vec<Arc<WorkState>> {
    let shares = handlers.iter().flat_map(|handler| {
        let name = handler.name();
        (0..PARTITIONS).map(move |partition| Share::Handler { name, partition })
    });
    shares.map(|share| Arc::new(WorkState::new(share))).collect()
}
