//! One question to a server for all who ask it at the same time.

use std::sync::Arc;

use tokio::sync::{Mutex, mpsc, oneshot};
use tokio_util::task::AbortOnDropHandle;

use crate::{
    log::StoreError,
    store::{BoxFuture, Tasks},
};

type Waiting<T> = oneshot::Sender<Result<T, StoreError>>;

/// Asks again and again, once for all who wait by then: an answer is from after everybody who gets it asked.
pub(super) struct Shared<T> {
    waiting: mpsc::UnboundedSender<Waiting<T>>,
    _asking: AbortOnDropHandle<()>,
}

impl<T: Clone + Send + 'static> Shared<T> {
    pub(super) fn new(
        tasks: &Tasks,
        ask: impl Fn() -> BoxFuture<'static, Result<T, StoreError>> + Send + Sync + 'static,
    ) -> Self {
        let (waiting, arrivals) = mpsc::unbounded_channel();
        // Who waits is served by whoever goes on after a panic.
        let (ask, arrivals) = (Arc::new(ask), Arc::new(Mutex::new(arrivals)));
        let asking = tasks.spawn("question for the end of the log", move || {
            let (ask, arrivals) = (ask.clone(), arrivals.clone());
            async move { answer(&*ask, &mut *arrivals.lock().await).await }
        });
        Self { waiting, _asking: asking }
    }

    pub(super) async fn get(&self) -> Result<T, StoreError> {
        let (sender, answer) = oneshot::channel();
        let closed = || StoreError::unavailable("the store is closed");
        self.waiting.send(sender).map_err(|_| closed())?;
        answer.await.map_err(|_| StoreError::unavailable("asking for the log's end failed"))?
    }
}

/// Asks for all who wait by then, again and again, until nobody can come any more.
async fn answer<T: Clone>(
    ask: impl Fn() -> BoxFuture<'static, Result<T, StoreError>>,
    arrivals: &mut mpsc::UnboundedReceiver<Waiting<T>>,
) {
    let mut served = Vec::new();
    while arrivals.recv_many(&mut served, usize::MAX).await > 0 {
        let answer = ask().await;
        for waiting in served.drain(..) {
            // Who does not wait any more needs no answer.
            let _ = waiting.send(answer.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    };

    use futures_util::future::join_all;
    use tokio::task::yield_now;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_question_that_panics_fails_for_who_asked_and_is_asked_again() {
        let asked = Arc::new(AtomicU64::new(0));
        let shared = Shared::new(&Tasks::default(), move || {
            let asked = asked.clone();
            Box::pin(async move {
                let turn = asked.fetch_add(1, Ordering::SeqCst);
                assert!(turn > 0, "a bug in the client");
                Ok(turn)
            })
        });
        assert!(shared.get().await.unwrap_err().is_unavailable());
        assert_eq!(shared.get().await.unwrap(), 1);
    }

    #[tokio::test]
    async fn one_question_serves_all_who_wait_and_none_who_came_later() {
        let (world, asked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let shared = Shared::new(&Tasks::default(), {
            let (world, asked) = (world.clone(), asked.clone());
            move || {
                let (world, asked) = (world.clone(), asked.clone());
                Box::pin(async move {
                    asked.fetch_add(1, Ordering::SeqCst);
                    let answer = world.load(Ordering::SeqCst);
                    // The answer is on its way while more come.
                    for _ in 0..10 {
                        yield_now().await;
                    }
                    Ok(answer)
                })
            }
        });
        let ask = async |after: usize| {
            for _ in 0..after {
                yield_now().await;
            }
            let now = world.fetch_add(1, Ordering::SeqCst) + 1;
            let answer = shared.get().await.unwrap();
            assert!(answer >= now, "{answer} was asked for before {now}");
        };
        join_all((0..100).map(|i| ask(i % 20))).await;
        let asked = asked.load(Ordering::SeqCst);
        assert!((2..10).contains(&asked), "{asked} questions for 100 who asked");
    }
}
