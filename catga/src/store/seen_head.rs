//! How far a log on a server was seen to be, and whether it is still that log: what everybody who waits for it waits on.

use tokio::sync::watch;

use crate::log::{Position, StoreError};

/// What this process has seen of the log.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Seen<M> {
    /// The highest position that was read, or answered to an append.
    pub(super) head: Position,
    /// What the store tells the commit by that ends there.
    pub(super) mark: M,
    /// Whether the server turned out not to have it any more.
    is_lost: bool,
}

/// The head of the log, as far as it was seen. It only rises.
#[derive(Debug)]
pub(super) struct SeenHead<M = ()> {
    server: &'static str,
    seen: watch::Sender<Seen<M>>,
}

impl<M: Copy> SeenHead<M> {
    pub(super) fn new(server: &'static str, head: Position, mark: M) -> Self {
        Self { server, seen: watch::Sender::new(Seen { head, mark, is_lost: false }) }
    }

    #[cfg(feature = "redis")]
    pub(super) fn now(&self) -> Seen<M> {
        *self.seen.borrow()
    }

    pub(super) fn position(&self) -> Position {
        self.seen.borrow().head
    }

    /// Takes in that the log reaches up to `end`, everything below included.
    pub(super) fn rise_to(&self, end: Position, mark: impl FnOnce() -> M) {
        self.seen.send_if_modified(|seen| {
            let is_news = end > seen.head;
            if is_news {
                (seen.head, seen.mark) = (end, mark());
            }
            is_news
        });
    }

    /// Takes in that the server lost the end of the log, or has another log now; `how` says what shows it.
    pub(super) fn lose(&self, how: &str) {
        let is_news =
            self.seen.send_if_modified(|seen| !std::mem::replace(&mut seen.is_lost, true));
        if is_news {
            let seen = self.position().get();
            tracing::error!(seen, how, "{} lost the log, or its end", self.server);
        }
    }

    /// # Errors
    /// When the server lost the log, or its end. It stays so: what this process holds in caches and read models is
    /// from a log that is gone, and only a new start reads it all again.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.seen.borrow().is_lost { Err(self.lost()) } else { Ok(()) }
    }

    /// Returns once there is an event above `after`.
    pub(super) async fn wait(&self, after: Position) -> Result<(), StoreError> {
        let mut seen = self.seen.subscribe();
        let reached = seen.wait_for(|seen| seen.head > after || seen.is_lost).await;
        if reached.expect("the sender is borrowed").is_lost { Err(self.lost()) } else { Ok(()) }
    }

    pub(super) fn lost(&self) -> StoreError {
        StoreError::ended(format!(
            "{} lost the end of the log, or has another log now; start again to read it anew",
            self.server
        ))
    }
}
