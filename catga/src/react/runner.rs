//! The runner of one handler on one partition.

use std::{
    collections::{BTreeSet, HashMap},
    future::{pending, ready},
    panic::resume_unwind,
    pin::pin,
    sync::Arc,
    time::Duration,
};

use futures_util::FutureExt;
use tokio::{
    task::{JoinError, JoinSet},
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    cluster::{Checkpoint, Held, Over},
    follow::{DecodedCommit, TopicReader},
    log::{Position, StoreError},
    model::{DecodeError, Error},
    react::{
        Breaker, Dispatcher, EventHandler, WorkState,
        dead_letter_stream::DeadLetterStream,
        lanes::{Delivery, Lanes},
        parking_event::{HandlerTaken, ParkingEvent},
        progress::{CHECKPOINT_EVERY, RunnerProgress},
        relay::is_copy,
        task::{Ended, First, Task, deliver},
    },
    store::{Backoff, RUNS_WELL},
};

/// A runner stops reading at this many unfinished commits.
const WINDOW: usize = 1024;

/// How long the checkpoint may lag behind commits that the handler does not want.
const CHECKPOINT_IDLE: Duration = Duration::from_secs(1);

/// A program that is in no cluster takes its work back from another program whose checkpoint has stood still for this
/// long: the first time, and the most after it has happened repeatedly.
const STANDS_STILL: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(320));

pub(crate) struct Runner {
    pub(crate) dispatcher: Arc<Dispatcher>,
    pub(crate) handler: Arc<dyn EventHandler>,
    /// Of all partitions of the handler.
    pub(crate) breaker: Arc<Breaker>,
    pub(crate) partition: u16,
    pub(crate) state: Arc<WorkState>,
    pub(crate) shutdown: CancellationToken,
}

impl Runner {
    /// Runs until shutdown, or until the log turns out not to be the one the checkpoint was made on.
    pub(crate) async fn run(&self) {
        let (first, longest) = (Duration::from_millis(50), Duration::from_secs(2));
        let mut backoff = Backoff::new(first, longest);
        let mut begun = None::<Instant>;
        // Whether the former owner must still be kept from writing dead letters.
        let mut is_taken_over = false;
        // How long another program that took the work from this runner may stand still.
        let mut patience = None;
        loop {
            let outcome = tokio::select! {
                // A runner that has just handed over must not claim again.
                biased;
                () = self.shutdown.cancelled() => return,
                held = self.claim(patience, is_taken_over) => match held {
                    Ok(mut held) => {
                        patience = Some(match patience {
                            Some(patience) if held.is_taken_over => {
                                (2 * patience).min(STANDS_STILL.1)
                            }
                            _ => STANDS_STILL.0,
                        });
                        held.is_taken_over |= is_taken_over;
                        is_taken_over = held.is_taken_over;
                        begun = Some(Instant::now());
                        let running = self.run_as_owner(held, &mut is_taken_over);
                        self.state.guard(running).await
                    }
                    Err(error) => Err(error.into()),
                },
            };
            self.state.set_held(false);
            if begun.take().is_some_and(|begun| begun.elapsed() > RUNS_WELL) {
                backoff = Backoff::new(first, longest);
            }
            let Err(error) = outcome else { continue };
            if !error.is_retryable() {
                tracing::error!(work = %self.state.work, %error, "an event handler stopped");
                self.state.set_stopped(error.to_string());
                let leases = &self.dispatcher.leases;
                let giving = leases.give_back(self.state.work, is_taken_over);
                self.shutdown.run_until_cancelled(giving).await;
                return;
            }
            tracing::warn!(work = %self.state.work, %error, "an event handler starts again");
            tokio::select! {
                () = self.shutdown.cancelled() => return,
                () = sleep(backoff.next_delay()) => {}
            }
        }
    }

    /// Claims the work. One that this runner had before is left to whoever took it, for as long as `patience` lasts.
    async fn claim(
        &self,
        patience: Option<Duration>,
        is_taken_over: bool,
    ) -> Result<Held, StoreError> {
        let Dispatcher { program, leases, transport, .. } = &*self.dispatcher;
        if let Some(patience) = patience {
            let end =
                || transport.as_ref().map_or_else(|| program.store.head(), |topic| topic.end());
            leases.leave_to_other(self.state.work, patience, end).await?;
        }
        leases.claim(self.state.work, is_taken_over).await
    }

    async fn run_as_owner(&self, held: Held, is_taken_over: &mut bool) -> Result<(), Error> {
        let over = held.over();
        let stop = self.shutdown.child_token();
        let (work, lost) = (self.run_from_checkpoint(held, stop.clone(), is_taken_over), async {
            match over.await {
                Over::Lost => {}
                Over::Reassigned => {
                    stop.cancel();
                    pending::<()>().await;
                }
            }
        });
        tokio::select! {
            outcome = work => outcome,
            // With the work its deliveries end, wherever they are: somebody else does them now.
            () = lost => Err(StoreError::unavailable("the cluster has given this node up").into()),
        }
    }

    async fn run_from_checkpoint(
        &self,
        mut held: Held,
        stop: CancellationToken,
        is_taken_over: &mut bool,
    ) -> Result<(), Error> {
        let program = &*self.dispatcher.program;
        let mut dead_letters = DeadLetterStream::new(self.handler.name(), self.partition)?;
        if held.is_taken_over {
            // After this, what the former owner knows of the letters is old, and what it writes there is refused.
            let taken = HandlerTaken {
                handler: self.handler.name().to_owned(),
                partition: self.partition,
                node: program.node.clone(),
            };
            let taken = ParkingEvent::Taken(taken);
            dead_letters.clone().append(program, &held, &taken).await?;
            *is_taken_over = false;
        }
        let cursor = self.begin(&mut held).await?;
        let (parked, dead_letters_at) = dead_letters.dead_letters(program).await?;
        let mut progress = RunnerProgress {
            held,
            lanes: Lanes::new(self.handler.types()),
            cursor,
            parked: HashMap::new(),
            draining: 0,
            retries: BTreeSet::new(),
            dead_letters,
            dead_letters_at,
            save_at: None,
            stop,
        };
        for letter in parked {
            let last_left = cursor.max(letter.position);
            self.set_aside(&mut progress, letter.stream, letter.version, last_left);
        }
        self.state.set_position(cursor);
        self.state.set_held(true);
        let mut running = JoinSet::new();
        let outcome = self.work(&mut progress, &mut running).await;
        progress.stop.cancel();
        // What is still out is finished before the checkpoint is written, so that less is repeated.
        while let Some(ended) = running.join_next().await {
            if let Ok(Ended::Handled(delivery)) = ended {
                progress.lanes.finish(&delivery);
            }
        }
        match outcome {
            Ok(()) => progress.held.release(progress.lanes.done()).await?,
            // What it failed with says more than what a write of the checkpoint fails with then.
            Err(_) => {
                let _ = self.save_checkpoint(&mut progress).await;
            }
        }
        outcome
    }

    async fn work(
        &self,
        progress: &mut RunnerProgress,
        running: &mut JoinSet<Ended>,
    ) -> Result<(), Error> {
        let mut dead_letters_may_have_changed = self.dispatcher.program.progress.subscribe();
        let stop = progress.stop.clone();
        let mut reader =
            TopicReader::new(self.dispatcher.feed.clone(), self.partition, progress.cursor);
        let mut stopped = pin!(stop.cancelled());
        let mut saving = pin!(sleep(CHECKPOINT_IDLE));
        let mut retrying = pin!(sleep(CHECKPOINT_IDLE));
        loop {
            // First those: what somebody dropped is not tried again.
            self.drain_requested(progress, running);
            self.drain_due(progress, running);
            self.hand_out(progress, running);
            self.state.set_busy(!running.is_empty());
            if let Some(at) = progress.save_at.filter(|at| *at != saving.deadline()) {
                saving.as_mut().reset(at);
            }
            let retry_at = self.next_retry(progress);
            if let Some(at) = retry_at.filter(|at| *at != retrying.deadline()) {
                retrying.as_mut().reset(at);
            }
            tokio::select! {
                () = &mut stopped => {
                    let finished = self.finish_begun(progress, running);
                    let Ok(outcome) = timeout(self.dispatcher.settings.drain, finished).await else {
                        tracing::warn!(work = %self.state.work, "events are left for who comes next");
                        running.abort_all();
                        return Ok(());
                    };
                    return outcome;
                }
                Some(ended) = running.join_next() => self.take_in_joined(progress, running, ended).await?,
                page = reader.next(), if progress.lanes.len() < WINDOW => {
                    let page = page?;
                    page.commits.iter().try_for_each(|commit| Self::push(progress, commit))?;
                    if progress.cursor < page.end.position {
                        progress.cursor = page.end.position;
                        progress.lanes.pass(page.end);
                    }
                    progress.save_within(CHECKPOINT_IDLE);
                }
                // Only letters that somebody acted on matter here, and those only when there are any.
                Ok(()) = dead_letters_may_have_changed.changed(), if !progress.parked.is_empty() => {}
                () = &mut retrying, if retry_at.is_some() => {}
                () = &mut saving, if progress.save_at.is_some() => {
                    self.save_checkpoint(progress).await?;
                }
            }
            if let Some(done) = progress.lanes.done() {
                self.state.set_position(done.position);
            }
        }
    }

    /// Begins as many deliveries as may be under way. One that has nothing to wait for ends at once, and costs no task.
    fn hand_out(&self, progress: &mut RunnerProgress, running: &mut JoinSet<Ended>) {
        let task = self.task(progress);
        while running.len() < self.dispatcher.settings.concurrency {
            let Some(delivery) = progress.lanes.next() else { break };
            if self.breaker.is_paused() {
                running.spawn(deliver(task.clone(), delivery, First::Waits));
                continue;
            }
            let mut attempt = task.attempt(&delivery, 1);
            let attempt = match (&mut attempt).now_or_never() {
                Some(Ok(())) => {
                    self.breaker.succeeded();
                    Self::handled(progress, &delivery);
                    continue;
                }
                Some(Err(error)) => ready(Err(error)).boxed(),
                None => attempt,
            };
            running.spawn(deliver(task.clone(), delivery, First::Begun(attempt)));
        }
    }

    pub(crate) fn handled(progress: &mut RunnerProgress, delivery: &Delivery) {
        progress.lanes.finish(delivery);
        progress.save_within(CHECKPOINT_EVERY);
    }

    /// Finishes what is out and what lies below it in the log, so that a checkpoint can cover all that was handled,
    /// and a stop repeats nothing. An event that fails meanwhile is left, with its stream, for the next start.
    async fn finish_begun(
        &self,
        progress: &mut RunnerProgress,
        running: &mut JoinSet<Ended>,
    ) -> Result<(), Error> {
        progress.lanes.keep_begun();
        loop {
            self.hand_out(progress, running);
            let Some(ended) = running.join_next().await else { return Ok(()) };
            self.take_in_joined(progress, running, ended).await?;
        }
    }

    pub(crate) fn task(&self, progress: &RunnerProgress) -> Task {
        Task {
            dispatcher: self.dispatcher.clone(),
            handler: self.handler.clone(),
            breaker: self.breaker.clone(),
            stop: progress.stop.clone(),
        }
    }

    fn push(progress: &mut RunnerProgress, commit: &Arc<DecodedCommit>) -> Result<(), Error> {
        let from = progress.cursor + 1;
        progress.cursor = commit.last.position;
        let parked = &progress.parked;
        let left = progress.lanes.push(commit, from, |stream| parked.contains_key(stream))?;
        if let Some(parked) = left.and_then(|stream| progress.parked.get_mut(&stream)) {
            parked.last_left = commit.last.position;
        }
        Ok(())
    }

    async fn take_in_joined(
        &self,
        progress: &mut RunnerProgress,
        running: &mut JoinSet<Ended>,
        ended: Result<Ended, JoinError>,
    ) -> Result<(), Error> {
        let ended = ended.or_else(|error| match error.try_into_panic() {
            // It is the runner's, then: it begins anew, and says why.
            Ok(payload) => resume_unwind(payload),
            Err(cancelled) => Err(Error::misuse(cancelled.to_string())),
        });
        self.take_in(progress, running, ended?).await
    }

    /// Where the work begins: behind the checkpoint, or at the beginning of a log that took the place of the checkpoint's.
    ///
    /// # Errors
    /// When the log lost the event at the checkpoint.
    async fn begin(&self, held: &mut Held) -> Result<Position, Error> {
        self.check_transport().await?;
        let Some(checkpoint) = held.checkpoint else { return Ok(Position::ZERO) };
        if self.has(checkpoint).await? {
            return Ok(checkpoint.position);
        }
        let (work, position) = (self.state.work, checkpoint.position.get());
        if !held.is_of_another_log() {
            return Err(StoreError::corrupt(format!(
                "the log lost its end: the checkpoint of `{}` is an event that is no longer there; see `repair`",
                self.handler.name()
            ))
            .into());
        }
        tracing::warn!(%work, position, "the checkpoint is of another log: this one is handled from its beginning");
        held.checkpoint = None;
        Ok(Position::ZERO)
    }

    /// # Errors
    /// When what the transport holds is of another log, whose events would be handled.
    async fn check_transport(&self) -> Result<(), Error> {
        let Dispatcher { program, transport, .. } = &*self.dispatcher;
        let Some(transport) = transport else { return Ok(()) };
        if is_copy(&**transport, program.store(), Position::ZERO).await? != Some(false) {
            return Ok(());
        }
        let what = "the transport holds another log, whose events are not handled; empty it, or name another prefix";
        Err(StoreError::corrupt(what).into())
    }

    /// Whether the event at a checkpoint is in the log.
    async fn has(&self, Checkpoint { position, event }: Checkpoint) -> Result<bool, Error> {
        let records = self.dispatcher.program.store().read_log(position - 1, 1).await?;
        let Some(record) = records.first() else { return Ok(false) };
        Ok(record.event_at(position).map_err(DecodeError::from)? == Some(event))
    }

    async fn save_checkpoint(&self, progress: &mut RunnerProgress) -> Result<(), Error> {
        progress.save_at = None;
        let done = progress.lanes.done();
        let Some(done) = done.filter(|done| progress.held.checkpoint != Some(*done)) else {
            return Ok(());
        };
        progress.held.save(done).await?;
        Ok(())
    }
}
