//! A store under load, the power cut, and what is left: the test of what an answer is worth.
//!
//! A backend joins by implementing [`Server`]: a few lines that start it on a folder and end it.

use std::{path::Path, sync::Arc, time::Duration};

use catga::store::{BoxFuture, EventStore};
use tokio::time::{sleep, timeout};

use crate::{
    history::{Recorder, Verdict},
    load::{self, Plan, Stop},
    power::{Counts, Cut, PowerFs},
};

/// A backend that can be started again and again on what is left of it.
pub trait Server: Send {
    /// Starts it on `folder`, and answers its store once that can be used. It must be possible to
    /// use it after a crash too: what is missing is made.
    fn start<'a>(&'a mut self, folder: &'a Path) -> BoxFuture<'a, Arc<dyn EventStore>>;

    /// Ends it as a power cut does, and calls `cut` once: a server that is a process is killed
    /// first and is gone when the power goes, for it must not see the disk fail; a store in
    /// this process can't be killed, so the power goes first and what the store does then, fails.
    fn crash<'a>(&'a mut self, cut: &'a (dyn Fn() + Sync)) -> BoxFuture<'a, ()>;
}

/// What goes wrong before the power does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// So many of the next syncs fail, as [`PowerFs::fail_syncs`].
    FailSyncs(u32),
    /// There is room for so many bytes more, as [`PowerFs::fill`].
    Fill(u64),
}

/// One life of a server, from its start to its crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Round {
    /// How many appends are acknowledged before anything goes wrong.
    pub acked: usize,
    /// What goes wrong first.
    pub fault: Fault,
    /// How the power goes.
    pub cut: Cut,
}

impl Round {
    /// A cut after so many acknowledged appends, with nothing before it.
    pub fn cut(acked: usize, cut: Cut) -> Self {
        Self { acked, fault: Fault::None, cut }
    }
}

/// How long a store goes on under load after a fault has bitten, to do what it must not.
const AFTERMATH: Duration = Duration::from_millis(300);

/// Lets `plan` run against `server` on `disk` for each of `rounds`, and starts the server again after
/// each. Answers how the log at the end agrees with all that the clients saw.
///
/// # Panics
/// When the server does not start, or a round does not get so far in the plan's time: a cut without
/// load, or a fault that nobody met, says nothing.
pub async fn power_cuts(
    server: &mut dyn Server,
    disk: &PowerFs,
    plan: &Plan,
    rounds: &[Round],
) -> Verdict {
    let recorder = Arc::new(Recorder::new());
    let folder = disk.path();
    for (n, round) in rounds.iter().enumerate() {
        let store = server.start(&folder).await;
        let stop = Stop::default();
        let plan = Plan { seed: plan.seed + n as u64, ..plan.clone() };
        let load = load::append(store, &plan, &recorder, &stop);
        let wanted = recorder.acked() + round.acked;
        let trouble = async {
            let trouble = timeout(plan.time, bite(disk, round.fault, &recorder, wanted)).await;
            server.crash(&|| disk.cut(round.cut)).await;
            stop.now();
            trouble
        };
        let ((), trouble) = tokio::join!(load, trouble);
        assert!(
            trouble.is_ok(),
            "void: {} of {wanted} appends acknowledged in round {n}, {round:?}; {:?}",
            recorder.acked(),
            disk.counts()
        );
        disk.restore();
    }
    let store = server.start(&folder).await;
    let log = load::final_log(&*store).await;
    drop(store);
    recorder.history().check(&log)
}

/// Waits for the load, and lets the fault bite.
async fn bite(disk: &PowerFs, fault: Fault, recorder: &Recorder, wanted: usize) {
    let pause = || sleep(Duration::from_millis(1));
    while recorder.acked() < wanted {
        pause().await;
    }
    let before = disk.counts();
    match fault {
        Fault::None => return,
        Fault::FailSyncs(n) => disk.fail_syncs(n),
        Fault::Fill(bytes) => disk.fill(bytes),
    }
    let refusals = |counts: Counts| counts.failed_syncs + counts.refused_writes;
    while refusals(disk.counts()) == refusals(before) {
        pause().await;
    }
    sleep(AFTERMATH).await;
}
