//! Claiming work, and writing under a claim.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::watch,
    time::{Instant, sleep},
};
use uuid::Uuid;

use crate::{
    cluster::{Checkpoint, Claim, Member, View, Work, roster},
    log::{LogId, Position, StoreError},
    store::{Backoff, BoxFuture, KvStore},
};

/// How often work that somebody else still has is looked at.
const LOOK_AGAIN: Duration = Duration::from_millis(100);

/// How often work is looked at that another program took from one that is in no cluster.
const LOOK_AT_TAKEN: Duration = Duration::from_secs(1);

/// What this node may work on.
pub(crate) struct Leases {
    kv: Arc<dyn KvStore>,
    log: LogId,
    view: watch::Receiver<View>,
    is_alone: bool,
    /// How long a node that is alive may own work and not say that it does it.
    patience: Duration,
}

/// How a claim went.
enum Try {
    Claimed(Box<Held>),
    /// A node that is alive owns the work, and says that it does it.
    Busy,
    /// This one, which is alive, owns the work, and does not say that it does it.
    Idle(Uuid),
}

/// Work that this node has claimed.
pub(crate) struct Held {
    kv: Arc<dyn KvStore>,
    view: watch::Receiver<View>,
    work: Work,
    run: Uuid,
    /// The revision of the stored claim: the epoch of the lease.
    revision: u64,
    /// The log of this node's.
    log: LogId,
    pub(crate) checkpoint: Option<Checkpoint>,
    /// Which log the checkpoint is of; `None` when an older program wrote it.
    checkpoint_log: Option<LogId>,
    /// Whether the former owner did not hand it over, and so may still be at work without knowing better.
    pub(crate) is_taken_over: bool,
}

/// Why a node stops what it has claimed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    /// It is another node's turn: what was begun is finished, and the work handed over.
    Reassigned,
    /// The others have given this node up: whatever it still does, somebody else may do at the same time.
    Lost,
}

impl Leases {
    /// Those of a node that is in no cluster: everything is its own, and nobody else's.
    pub(crate) fn alone(kv: Arc<dyn KvStore>, log: LogId) -> Self {
        let view = View { me: Some(Uuid::new_v4()), members: Vec::new() };
        // The view never changes, so nobody misses the sender.
        let (view, patience) = (watch::channel(view).1, Duration::MAX);
        Self { kv, log, view, is_alone: true, patience }
    }

    /// Those of a node of a cluster with this lease time.
    pub(crate) fn new(
        kv: Arc<dyn KvStore>,
        log: LogId,
        view: watch::Receiver<View>,
        lease: Duration,
    ) -> Self {
        Self { kv, log, view, is_alone: false, patience: lease }
    }

    /// How long a node that is alive may own work and not say that it does it: the lease time. In no cluster, for ever.
    pub(crate) fn patience(&self) -> Duration {
        self.patience
    }

    /// The nodes of the cluster that are alive, by name; `None` when there is no cluster.
    pub(crate) fn members(&self) -> Option<Vec<Member>> {
        (!self.is_alone).then(|| self.view.borrow().members.clone())
    }

    /// Whether this node is alive in the eyes of all; `None` when there is no cluster.
    pub(crate) fn is_member(&self) -> Option<bool> {
        (!self.is_alone).then(|| self.view.borrow().me.is_some())
    }

    /// Waits until it is this node's turn to do `work` and nobody else has it, and claims it. `is_taken_over` is as for
    /// [`give_back`](Self::give_back).
    ///
    /// A node that is alive and owns work without doing it can't hand it over: it may not know that its claim was stored, as the
    /// answer was lost. So the work is taken from it after a lease time.
    pub(crate) async fn claim(&self, work: Work, is_taken_over: bool) -> Result<Held, StoreError> {
        let mut view = self.view.clone();
        let mut idle = None::<(Uuid, Instant)>;
        loop {
            // What failed here is still this node's. If its turn has passed meanwhile, whoever has it now would wait for ever.
            let is_its_turn = view.borrow_and_update().gives(&work);
            if !is_its_turn {
                self.try_give_back(work, is_taken_over).await?;
            }
            let run = wait_for(&mut view, |view| view.gives(&work)).await.me;
            let run = run.expect("nothing is given to a node that is not alive");
            let given_up = idle.filter(|(_, since)| since.elapsed() >= self.patience);
            match self.try_claim(work, run, given_up.map(|(owner, _)| owner)).await? {
                Try::Claimed(held) => return Ok(*held),
                Try::Busy => idle = None,
                Try::Idle(owner) => {
                    let same = idle.filter(|(idle, _)| *idle == owner);
                    idle = same.or_else(|| Some((owner, Instant::now())));
                }
            }
            sleep(LOOK_AGAIN).await;
        }
    }

    /// Waits, in a program that is in no cluster and had this work, for as long as another program that has taken it
    /// is at work on it. No roster says whether that one is alive, but whoever is keeps the checkpoint at the end of
    /// the log: it is given up when the checkpoint has stood still for `patience` though the log goes on behind it.
    pub(crate) async fn leave_to_other<'a>(
        &self,
        work: Work,
        patience: Duration,
        log_end: impl Fn() -> BoxFuture<'a, Result<Position, StoreError>>,
    ) -> Result<(), StoreError> {
        if !self.is_alone {
            return Ok(());
        }
        let me = self.view.borrow().me;
        let (mut last, mut since) = (0, Instant::now());
        loop {
            let Some(entry) = self.kv.get(&work.key()).await? else { return Ok(()) };
            let claim = Claim::decode(&entry.value)?;
            if claim.owner.is_none() || claim.owner == me {
                return Ok(());
            }
            if last == 0 {
                tracing::warn!(
                    %work,
                    "another program has taken this work, and it is left to that one; programs share the work \
                     when each is started as a node of a cluster"
                );
            }
            if entry.revision != last || claim.position() >= log_end().await? {
                (last, since) = (entry.revision, Instant::now());
            } else if since.elapsed() >= patience {
                return Ok(());
            }
            sleep(LOOK_AT_TAKEN).await;
        }
    }

    /// Leaves work that stopped for good here to whoever claims it next, however often that takes: whatever stopped it may be
    /// this node's alone. `is_taken_over` says that its former owner must still be kept from it: then the next one takes it
    /// over as from a node that is gone.
    pub(crate) async fn give_back(&self, work: Work, is_taken_over: bool) {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_secs(2));
        while let Err(error) = self.try_give_back(work, is_taken_over).await {
            tracing::warn!(%work, %error, "the claim of what stopped can't be given back");
            if !error.is_unavailable() {
                return;
            }
            sleep(backoff.next_delay()).await;
        }
    }

    /// Leaves work that this node claimed, and does not do any more. `is_taken_over` is as for [`give_back`](Self::give_back).
    async fn try_give_back(&self, work: Work, is_taken_over: bool) -> Result<(), StoreError> {
        let me = self.view.borrow().me;
        let Some(entry) = self.kv.get(&work.key()).await? else { return Ok(()) };
        let claim = Claim::decode(&entry.value)?;
        if me.is_some() && claim.owner == me {
            let nobodys = Claim { owner: is_taken_over.then(Uuid::nil), ..claim };
            // Where somebody wrote it since, it is not this node's any more.
            self.kv.put(&work.key(), nobodys.encode(), entry.revision, None).await?;
        }
        Ok(())
    }

    /// `given_up` is the node that this takes the work from though it is alive.
    async fn try_claim(
        &self,
        work: Work,
        run: Uuid,
        given_up: Option<Uuid>,
    ) -> Result<Try, StoreError> {
        let key = work.key();
        let entry = self.kv.get(&key).await?;
        let (claim, revision) = match entry {
            Some(entry) => (Claim::decode(&entry.value)?, entry.revision),
            None => (Claim::default(), 0),
        };
        let former = claim.owner.filter(|owner| *owner != run);
        // The roster is read after the claim: who made it was in the roster before.
        if let Some(owner) = former.filter(|_| !self.is_alone) {
            let members = roster::read(&*self.kv).await?;
            match members.iter().find(|member| member.run == owner) {
                Some(member) if member.leases.contains(&work.to_string()) => return Ok(Try::Busy),
                Some(_) if given_up != Some(owner) => return Ok(Try::Idle(owner)),
                Some(member) => {
                    let node = &member.node;
                    tracing::warn!(%work, node, "it is taken from a node that owns it and does not do it");
                }
                None => {}
            }
        }
        let mine = Claim { owner: Some(run), ..claim }.encode();
        let put = self.kv.put(&key, mine, revision, None).await?;
        // Somebody else was faster, and may say so only with its next beat.
        let Some(revision) = put else { return Ok(Try::Busy) };
        Ok(Try::Claimed(Box::new(Held {
            kv: self.kv.clone(),
            view: self.view.clone(),
            work,
            run,
            revision,
            log: self.log,
            checkpoint: claim.checkpoint,
            checkpoint_log: claim.log,
            is_taken_over: former.is_some(),
        })))
    }
}

impl Held {
    /// Returns when this node has to stop doing the work.
    pub(crate) fn over(&self) -> impl Future<Output = Over> + Send + 'static {
        let (mut view, work, run) = (self.view.clone(), self.work, self.run);
        async move {
            let now = wait_for(&mut view, |view| view.me != Some(run) || !view.gives(&work)).await;
            if now.me == Some(run) { Over::Reassigned } else { Over::Lost }
        }
    }

    /// Whether the checkpoint says that it is of another log than this node's.
    pub(crate) fn is_of_another_log(&self) -> bool {
        self.checkpoint_log.is_some_and(|log| log != self.log)
    }

    /// Stores how far the work is.
    ///
    /// # Errors
    /// When somebody else has claimed the work since, or the store can't be written.
    pub(crate) async fn save(&mut self, checkpoint: Checkpoint) -> Result<(), StoreError> {
        let (owner, checkpoint, log) = (Some(self.run), Some(checkpoint), Some(self.log));
        self.write(Claim { owner, checkpoint, log }).await?;
        (self.checkpoint, self.checkpoint_log) = (checkpoint, log);
        Ok(())
    }

    /// Hands the work over to whoever claims it next.
    ///
    /// # Errors
    /// As [`save`](Self::save).
    pub(crate) async fn release(mut self, done: Option<Checkpoint>) -> Result<(), StoreError> {
        let (checkpoint, log) = match done {
            Some(done) => (Some(done), Some(self.log)),
            None => (self.checkpoint, self.checkpoint_log),
        };
        let mut nobodys = Claim { owner: None, checkpoint, log };
        loop {
            let put = self.put(nobodys).await?;
            if put.is_some() {
                return Ok(());
            }
            // A write that nobody waited for any more is done to its end, too.
            let entry = self.kv.get(&self.work.key()).await?.ok_or_else(taken)?;
            let claim = Claim::decode(&entry.value)?;
            if claim.owner != Some(self.run) {
                return Err(taken());
            }
            self.revision = entry.revision;
            if claim.position() > nobodys.position() {
                nobodys = Claim { owner: None, ..claim };
            }
        }
    }

    async fn write(&mut self, claim: Claim) -> Result<(), StoreError> {
        self.revision = self.put(claim).await?.ok_or_else(taken)?;
        Ok(())
    }

    async fn put(&self, claim: Claim) -> Result<Option<u64>, StoreError> {
        self.kv.put(&self.work.key(), claim.encode(), self.revision, None).await
    }

    /// # Errors
    /// When somebody else has claimed the work since, or the store can't be read.
    pub(crate) async fn check(&self) -> Result<(), StoreError> {
        let entry = self.kv.get(&self.work.key()).await?;
        if entry.is_some_and(|entry| entry.revision == self.revision) {
            Ok(())
        } else {
            Err(taken())
        }
    }
}

fn taken() -> StoreError {
    StoreError::unavailable("another node has taken over")
}

async fn wait_for(view: &mut watch::Receiver<View>, is_it: impl Fn(&View) -> bool) -> View {
    if let Ok(view) = view.wait_for(|view| is_it(view)).await.map(|view| view.clone()) {
        return view;
    }
    // The node has left the cluster, or was never in one: nothing changes any more.
    std::future::pending().await
}

#[cfg(test)]
mod tests;
