//! How far the log is, as far as this process has seen: what everybody who waits for it waits on.

use tokio::sync::watch;

use crate::log::{Position, StoreError};

/// What this process has seen of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// The highest position that was read, or answered to an append.
    head: Position,
    /// Whether the server turned out to end before that.
    is_lost: bool,
}

/// The head of the log, as far as it was seen. It only rises.
pub(super) struct Head {
    seen: watch::Sender<Seen>,
}

impl Head {
    pub(super) fn new(head: Position) -> Self {
        Self { seen: watch::Sender::new(Seen { head, is_lost: false }) }
    }

    pub(super) fn position(&self) -> Position {
        self.seen.borrow().head
    }

    /// Takes in that the log reaches up to `position`, everything below included.
    pub(super) fn rise_to(&self, position: Position) {
        self.seen.send_if_modified(|seen| {
            let is_news = position > seen.head;
            seen.head = seen.head.max(position);
            is_news
        });
    }

    /// Takes in that the server ends at `end`, before what was seen.
    pub(super) fn lose(&self, end: Position) {
        let seen = *self.seen.borrow();
        if !seen.is_lost {
            tracing::error!(
                seen = seen.head.get(),
                end = end.get(),
                "NATS lost the end of the log"
            );
            self.seen.send_modify(|seen| seen.is_lost = true);
        }
    }

    /// # Errors
    /// When the server lost the end of the log. It stays so: what this process holds in caches and read
    /// models is from a log that is gone, and only a new start reads it all again.
    pub(super) fn check(&self) -> Result<(), StoreError> {
        if self.seen.borrow().is_lost { Err(lost()) } else { Ok(()) }
    }

    /// Returns once there is an event above `after`.
    pub(super) async fn wait(&self, after: Position) -> Result<(), StoreError> {
        let mut seen = self.seen.subscribe();
        let reached = seen.wait_for(|seen| seen.head > after || seen.is_lost).await;
        if reached.expect("the sender is borrowed").is_lost { Err(lost()) } else { Ok(()) }
    }
}

fn lost() -> StoreError {
    StoreError::corrupt(
        "NATS lost the end of the log, or is another server now; start again to read it anew",
    )
}
