//! Group commit on a server that syncs before it answers: commits that arrive while others are being synced are
//! published together as one atomic batch (NATS ADR-50). The server checks it as a whole, writes it, and syncs once.
//!
//! A commit stays a message of its own, with its own expectation; only the sync is shared. A batch costs the server a
//! directory and some syncs of its own, so a few messages are faster one by one.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use tokio::{
    sync::{Mutex, Semaphore, mpsc, oneshot},
    time::timeout,
};
use tokio_util::task::AbortOnDropHandle;

use super::{
    publication::{NotPublished, Publication},
    topic::Topic,
};
use crate::log::StoreError;

/// Batch from this many messages on: a batch takes about as long as 15 single syncs.
const FEW: usize = 16;

/// The most messages of a batch. The server takes 1,000.
const MOST: usize = 512;

/// A batch takes some milliseconds, so it first waits for the senders whose messages were in the one before, until none
/// has arrived for this long.
const LINGER: Duration = Duration::from_millis(1);

type PublishOutcome = Result<u64, NotPublished>;
type QueuedMessage = (Publication, oneshot::Sender<PublishOutcome>);

/// Publishes to a stream that allows atomic batches: a single message alone, messages that arrive together in a batch.
pub(super) struct Batcher {
    topic: Topic,
    /// Bounds how many are published one by one.
    alone: Semaphore,
    /// How many are in the queue or in a batch. While there are any, new messages join them.
    together: AtomicUsize,
    queue: mpsc::UnboundedSender<QueuedMessage>,
    _batches: AbortOnDropHandle<()>,
}

impl Batcher {
    pub(super) fn new(topic: Topic) -> Self {
        let (queue, arrivals) = mpsc::unbounded_channel();
        let batches = topic.tasks().spawn("publisher of batches to NATS", {
            // After a panic the batch that it was about is in doubt, and those in the queue are not.
            let (topic, arrivals) = (topic.clone(), Arc::new(Mutex::new(arrivals)));
            move || {
                let (topic, arrivals) = (topic.clone(), arrivals.clone());
                async move { publish_batches(&topic, &mut *arrivals.lock().await).await }
            }
        });
        Self {
            topic,
            alone: Semaphore::new(FEW),
            together: AtomicUsize::new(0),
            queue,
            _batches: batches,
        }
    }

    /// As [`Topic::publish`].
    pub(super) async fn publish(&self, message: Publication) -> PublishOutcome {
        if self.together.load(Ordering::Relaxed) == 0
            && let Ok(_permit) = self.alone.try_acquire()
        {
            return self.topic.publish(message).await;
        }
        let _counted = Counted::new(&self.together);
        let (sender, answer) = oneshot::channel();
        let closed = || StoreError::unavailable("the store is closed");
        self.queue.send((message, sender)).map_err(|_| NotPublished::Refused(closed()))?;
        let lost = || StoreError::unavailable("a batch of commits was not published to its end");
        answer.await.unwrap_or_else(|_| Err(NotPublished::Unknown(lost())))
    }
}

/// Counts a message for as long as this exists.
pub(super) struct Counted<'a>(&'a AtomicUsize);

impl<'a> Counted<'a> {
    pub(super) fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Publishes the queue, batch by batch, until every sender is gone.
async fn publish_batches(topic: &Topic, arrivals: &mut mpsc::UnboundedReceiver<QueuedMessage>) {
    let (mut waiting, mut last) = (Vec::new(), 0);
    while arrivals.recv_many(&mut waiting, MOST).await > 0 {
        while waiting.len() < last.min(MOST)
            && let Ok(Some(next)) = timeout(LINGER, arrivals.recv()).await
        {
            waiting.push(next);
        }
        last = waiting.len();
        let (batch, rest) = one_of_each_subject(std::mem::take(&mut waiting));
        publish(topic, batch).await;
        publish_each(topic, rest).await;
    }
}

/// Splits into what can be in one batch, which checks one expectation for each subject, and the rest.
fn one_of_each_subject(waiting: Vec<QueuedMessage>) -> (Vec<QueuedMessage>, Vec<QueuedMessage>) {
    let mut subjects = HashSet::with_capacity(waiting.len());
    waiting.into_iter().partition(|(message, _)| subjects.insert(message.subject.clone()))
}

/// Publishes them as a batch; as smaller and smaller ones, when the server refuses one for the sake of one of its messages.
async fn publish(topic: &Topic, batch: Vec<QueuedMessage>) {
    let mut batches = vec![batch];
    while let Some(batch) = batches.pop() {
        if batch.len() < FEW {
            publish_each(topic, batch).await;
            continue;
        }
        let (mut messages, mut answers): (Vec<_>, Vec<_>) = batch.into_iter().unzip();
        match topic.publish_all(&messages).await {
            Ok(first) => {
                for (sequence, answer) in (first..).zip(answers) {
                    // Who does not wait any more needs no answer.
                    let _ = answer.send(Ok(sequence));
                }
            }
            // Nothing was published.
            Err(NotPublished::Conflict | NotPublished::Refused(_)) => {
                let half = messages.len() / 2;
                let (rest, rest_answers) = (messages.split_off(half), answers.split_off(half));
                batches.push(rest.into_iter().zip(rest_answers).collect());
                batches.push(messages.into_iter().zip(answers).collect());
            }
            Err(NotPublished::Unknown(error)) => {
                for answer in answers {
                    let _ = answer.send(Err(NotPublished::Unknown(error.clone())));
                }
            }
        }
    }
}

async fn publish_each(topic: &Topic, messages: Vec<QueuedMessage>) {
    join_all(messages.into_iter().map(async |(message, answer)| {
        let _ = answer.send(topic.publish(message).await);
    }))
    .await;
}
