//! A store under load, the power cut, and what is left: the test of what an answer is worth.
//!
//! A backend joins by implementing [`Server`]: a few lines that start it on a folder and end it.

use std::{path::Path, sync::Arc, time::Duration};

use catga::{BoxFuture, EventStore};

use crate::{
    history::{Recorder, Verdict},
    load::{self, Plan, Stop},
    power::{Cut, PowerFs},
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

/// Lets `plan` run against `server` on `disk` until `acked` appends were acknowledged, cuts the
/// power under load and starts the server again, once for each of `cuts`. Answers how the log
/// at the end agrees with all that the clients saw.
///
/// # Panics
/// When the server does not start, or a round does not reach `acked` in the plan's time: a cut without
/// load says nothing.
pub async fn power_cuts(
    server: &mut dyn Server,
    disk: &PowerFs,
    plan: &Plan,
    acked: usize,
    cuts: &[Cut],
) -> Verdict {
    let recorder = Recorder::new();
    let folder = disk.path();
    for (round, how) in cuts.iter().enumerate() {
        let store = server.start(&folder).await;
        let stop = Stop::default();
        let wanted = recorder.acked() + acked;
        let plan = Plan { seed: plan.seed + round as u64, ..plan.clone() };
        let load = load::append(store, &plan, &recorder, &stop);
        let crash = async {
            while recorder.acked() < wanted {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            server.crash(&|| disk.cut(*how)).await;
            stop.now();
        };
        let ((), crashed) = tokio::join!(load, tokio::time::timeout(plan.time, crash));
        let reached = recorder.acked() + acked - wanted;
        assert!(
            crashed.is_ok(),
            "void: {reached} of {acked} appends were acknowledged in {:?}",
            plan.time
        );
        disk.restore();
    }
    let store = server.start(&folder).await;
    let log = load::final_log(&*store).await;
    drop(store);
    recorder.history().check(&log)
}
