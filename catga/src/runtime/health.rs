//! How a program is.

use std::{collections::BTreeMap, sync::Arc};

use futures_util::future::join_all;
use tokio::time::timeout;

use crate::{
    cluster::{Claim, Member, NodeWork, Work},
    log::{Position, StoreError, Timestamp},
    program::telemetry,
    react::{WorkState, dead_letter_counts},
    runtime::{background::Runtime, catga::Catga, standstill::PATIENCE},
    store::{DurabilityReport, TaskTrouble},
};

/// How a program is.
#[derive(Debug, Clone)]
pub struct Health {
    /// Whether the store answers; the text is safe to show.
    pub store: Result<(), String>,
    /// Whether the store takes commands: not while it would keep less of them than it must.
    pub appends: Result<(), String>,
    /// Whether the transport answers and can be brought the log; `Ok` when there is none.
    pub transport: Result<(), String>,
    /// Whether all read models take in the log. One whose projection failed answers no query, and the others go on.
    pub read_models: Result<(), String>,
    /// How far the read models are.
    pub read_model_position: Position,
    /// The last position of the log, 0 when the store does not answer.
    pub head: Position,
    /// The last position in the transport; `None` when there is none, or it does not answer.
    pub transport_position: Option<Position>,
    /// What an acknowledged command survives; `None` when that can't be found out now.
    pub durability: Option<DurabilityReport>,
    /// Each event handler on each partition, wherever in the cluster it runs.
    pub handlers: Vec<HandlerStatus>,
    /// Whether the other nodes count this one as alive; `None` when it is in no cluster.
    pub is_member: Option<bool>,
    /// Whether the read models have ever been at the head since the program started.
    pub is_caught_up: bool,
    /// Whether the node still takes in the log: it can answer requests, but for queries of projections that failed.
    pub is_following: bool,
    /// What has stood still for half a minute while the log went on, whatever the reason: the read models, the relay, or an event
    /// handler on a partition, wherever in the cluster it runs. An event handler has as long in addition as its attempts may take.
    pub standstill: Vec<String>,
    /// What has fallen further and further behind the log for half a minute: more is committed than it takes in.
    pub falling_behind: Vec<String>,
    /// How many dead letters wait, by handler, wherever in the cluster it runs. The program goes on beside them.
    pub dead_letters: BTreeMap<String, usize>,
    /// The tasks of the store and of the transport that do not go well.
    pub tasks: Vec<TaskTrouble>,
    /// The event handlers that are paused on this node, as every event fails. Nothing of theirs is parked meanwhile.
    pub paused: Vec<PausedHandler>,
}

/// An event handler that is paused: one event after the other is tried, until one succeeds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PausedHandler {
    /// Its name.
    pub name: &'static str,
    /// Since when.
    pub since: Timestamp,
    /// What an event failed with last, cut off after 200 characters.
    pub last_error: String,
}

/// How an event handler is on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HandlerStatus {
    /// Its name.
    pub name: &'static str,
    /// The partition.
    pub partition: u16,
    /// Whether it is this node's to run now.
    pub is_here: bool,
    /// Everything up to here is handled or parked. When it runs elsewhere, that is as it was stored last.
    pub position: Position,
    /// Why it does not go well on this node, if so: it stopped for good, or panicked a moment ago.
    pub trouble: Option<String>,
}

impl Catga {
    /// How the program is, asking the store and the transport anew.
    pub async fn health(&self) -> Health {
        self.runtime.health().await
    }

    /// Whether the program can go on as it is. It asks nobody, so it answers at once.
    ///
    /// # Errors
    /// [`StoreError::ended`] when only a new start helps.
    pub fn check(&self) -> Result<(), StoreError> {
        self.runtime.program.store().check()?;
        self.runtime.dispatcher.transport.as_ref().map_or(Ok(()), |it| it.check())
    }

    /// The nodes of the cluster that are alive, by name; `None` when this one is in no cluster.
    pub fn members(&self) -> Option<Vec<Member>> {
        self.runtime.dispatcher.leases.members()
    }

    /// What this node works on, alone or in a cluster: `{handler}/{partition}`, and `relay`.
    pub fn leases(&self) -> Vec<String> {
        self.runtime.held_work()
    }

    /// Sets the gauges that are known only on demand; call it before metrics are read.
    pub async fn observe(&self) {
        let health = self.health().await;
        // Also those of handlers that have none, so that somebody can ask for them before there are any.
        let none = health.handlers.iter().map(|handler| (handler.name.to_owned(), 0));
        let counts: BTreeMap<_, _> = none.chain(health.dead_letters.clone()).collect();
        for (handler, count) in counts {
            metrics::gauge!(telemetry::DEAD_LETTERS, "handler" => handler).set(count as f64);
        }
        for breaker in &self.runtime.breakers {
            let paused = if breaker.is_paused() { 1.0 } else { 0.0 };
            metrics::gauge!(telemetry::HANDLER_PAUSED, "handler" => breaker.handler()).set(paused);
        }
        if health.store.is_err() {
            return;
        }
        let lag = |position: Position| {
            let lag = health.head.saturating_sub(position);
            f64::from(u32::try_from(lag).unwrap_or(u32::MAX))
        };
        metrics::gauge!(telemetry::READ_MODEL_LAG).set(lag(health.read_model_position));
        if let Some(position) = health.transport_position {
            metrics::gauge!(telemetry::RELAY_LAG).set(lag(position));
        }
        for (name, position) in health.handler_positions() {
            metrics::gauge!(telemetry::HANDLER_LAG, "handler" => name).set(lag(position));
        }
    }
}

impl Health {
    /// Each event handler, and up to where everything is handled or parked on all its partitions.
    pub fn handler_positions(&self) -> impl Iterator<Item = (&'static str, Position)> {
        self.handlers.chunk_by(|a, b| a.name == b.name).map(|partitions| {
            let behind = partitions.iter().map(|handler| handler.position).min();
            (partitions[0].name, behind.unwrap_or_default())
        })
    }
}

impl Runtime {
    pub(super) async fn health(&self) -> Health {
        let store = self.program.store();
        let answers = async {
            let handlers = self.handler_states();
            tokio::join!(store.head(), store.durability(), self.transport_end(), handlers)
        };
        let late = || StoreError::unavailable("it did not answer in time");
        let (head, durability, end, handlers) = timeout(self.program.timeout, answers)
            .await
            .unwrap_or_else(|_| (Err(late()), Err(late()), Err(late()), Vec::new()));
        let progress = self.program.progress.now();
        let is_following = progress.stopped.is_none();
        // Not to know how durable the store is, is no reason to send no more commands.
        let durability = durability.ok();
        let refusal = durability.as_ref().and_then(|report| report.refusal.clone());
        let mut health = Health {
            head: head.as_ref().copied().unwrap_or_default(),
            store: head.map(|_| ()).map_err(|error| error.to_string()),
            appends: refusal.map_or(Ok(()), Err),
            transport_position: end.as_ref().ok().copied().flatten(),
            transport: match self.relay.trouble() {
                Some(reason) => Err(reason),
                None => end.map(|_| ()).map_err(|error| error.to_string()),
            },
            read_models: match progress.stopped {
                Some(reason) => Err(reason),
                None if progress.failed.is_empty() => Ok(()),
                None => Err(progress.failed.join("; ")),
            },
            read_model_position: progress.position,
            durability,
            handlers,
            is_member: self.dispatcher.leases.is_member(),
            is_caught_up: progress.is_caught_up,
            is_following,
            standstill: Vec::new(),
            falling_behind: Vec::new(),
            dead_letters: dead_letter_counts(&self.program),
            tasks: self.task_troubles(),
            paused: self.paused(),
        };
        (health.standstill, health.falling_behind) = self.standstill_in(&health);
        let still = u32::try_from(health.standstill.len()).unwrap_or(u32::MAX);
        metrics::gauge!(telemetry::STANDSTILL).set(still);
        health
    }

    /// What stands still, and what falls behind, as far as can be told from `health` and what was seen before.
    fn standstill_in(&self, health: &Health) -> (Vec<String>, Vec<String>) {
        if health.store.is_err() {
            // Nobody can move now.
            self.standstill.forget();
            return Default::default();
        }
        let mut followers =
            vec![("the read models".to_owned(), health.read_model_position, PATIENCE)];
        followers.extend(health.transport_position.map(|end| ("relay".to_owned(), end, PATIENCE)));
        // An event may be tried for long before it is parked, and nothing is behind it until then.
        let long_patience = PATIENCE.saturating_add(self.dispatcher.settings.longest());
        let members = self.dispatcher.leases.members().unwrap_or_default();
        let is_paused = |name: &str| {
            health.paused.iter().any(|handler| handler.name == name)
                || members.iter().any(|member| member.paused.iter().any(|n| n == name))
        };
        let (mut standstill, mut falling_behind) = (Vec::new(), Vec::new());
        for (handler, work) in health.handlers.iter().zip(&self.runners) {
            let name = work.work.to_string();
            // One that stopped for good says so itself.
            let is_known =
                |member: &Member| member.leases.contains(&name) || member.stopped.contains(&name);
            let is_idle = !members.is_empty() && !handler.is_here && !members.iter().any(is_known);
            // What a node works on is in its beats, and takes a lease time to move at most.
            let patience = self.dispatcher.leases.patience().saturating_mul(2);
            let idle = self.standstill.lies_idle(&name, is_idle, patience);
            standstill.extend(idle.map(|reason| format!("{name} {reason}")));
            if is_paused(handler.name) {
                self.standstill.forget_one(&name);
                continue;
            }
            let may_wait = !handler.is_here || work.is_busy();
            let patience = if may_wait { long_patience } else { PATIENCE };
            followers.push((name, handler.position, patience));
        }
        for (name, position, patience) in followers {
            let still = self.standstill.look(&name, position, health.head, patience);
            standstill.extend(still.map(|reason| format!("{name} {reason}")));
            let behind = self.standstill.falls_behind(&name, position, health.head);
            falling_behind.extend(behind.map(|reason| format!("{name} {reason}")));
        }
        (standstill, falling_behind)
    }

    pub(super) fn held_work(&self) -> Vec<String> {
        let all = self.runners.iter().chain([&self.relay]);
        all.filter(|work| work.is_held()).map(|work| work.work.to_string()).collect()
    }

    /// What this node tells the others of its work.
    pub(super) fn node_work(&self) -> NodeWork {
        let all = self.runners.iter().chain([&self.relay]);
        let stopped = all.filter(|work| work.stopped().is_some());
        let stopped = stopped.map(|work| work.work.to_string()).collect();
        let paused = self.paused().into_iter().map(|handler| handler.name.to_owned()).collect();
        NodeWork { held: self.held_work(), stopped, paused }
    }

    fn paused(&self) -> Vec<PausedHandler> {
        let paused = self.breakers.iter().filter_map(|breaker| {
            let (since, last_error) = breaker.pause()?;
            Some(PausedHandler { name: breaker.handler(), since, last_error })
        });
        paused.collect()
    }

    fn task_troubles(&self) -> Vec<TaskTrouble> {
        let mut troubles = self.program.store().task_troubles();
        let of_transport = self.dispatcher.transport.as_ref().map(|it| it.task_troubles());
        troubles.extend(of_transport.unwrap_or_default());
        troubles
    }

    async fn transport_end(&self) -> Result<Option<Position>, StoreError> {
        match &self.dispatcher.transport {
            Some(transport) => Ok(Some(transport.end().await?)),
            None => Ok(None),
        }
    }

    async fn handler_states(&self) -> Vec<HandlerStatus> {
        let state = |work: Arc<WorkState>| async move {
            let Work::Handler { name, partition } = work.work else { return None };
            let is_here = work.is_held();
            let stored = async {
                let entry = self.program.kv.get(&Claim::key(name, partition)).await.ok()??;
                Claim::decode(&entry.value).ok()
            };
            let position = match is_here {
                true => work.position(),
                false => stored.await.map_or(work.position(), |claim| claim.position()),
            };
            Some(HandlerStatus { name, partition, is_here, position, trouble: work.trouble() })
        };
        join_all(self.runners.iter().cloned().map(state)).await.into_iter().flatten().collect()
    }
}
