//! Stopping a program: what it works on is finished, stored and handed over.

use crate::runtime::catga::Catga;

impl Catga {
    /// Ends the event handlers, and hands over what this node works on to the others of the cluster. Commands and
    /// queries go on.
    ///
    /// Event handlers finish what they are at and what lies below it in the log, within [`DeliverySettings::drain`](crate::react::DeliverySettings::drain),
    /// and their checkpoints are written, so that nothing is handled again.
    pub async fn hand_over(&self) {
        let runtime = &self.runtime;
        runtime.stop_handlers.cancel();
        runtime.handlers.close();
        runtime.handlers.wait().await;
        runtime.stop_member.cancel();
        runtime.membership.close();
        runtime.membership.wait().await;
    }

    /// Ends the background tasks, event handlers first, as in [`hand_over`](Self::hand_over). Commands and queries
    /// in flight are the caller's to wait for, before.
    pub async fn shutdown(&self) {
        self.hand_over().await;
        let runtime = &self.runtime;
        runtime.stop_tail.cancel();
        runtime.program.tasks.close();
        runtime.program.tasks.wait().await;
    }
}
