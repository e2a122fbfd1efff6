//! Appending a commit whose answer may get lost: it is found, or done, once (P3).

use std::time::Duration;

use tokio::time::sleep;

use crate::{
    log::{EventId, FrameError, Record, StoreError},
    store::{Append, AppendError, Appended, Backoff, EventStore},
};

/// How an append ended that was not done.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotAppended {
    /// The stream is at another version.
    #[error("the stream is at another version")]
    Conflict,
    /// The store refused it, and nothing was written.
    #[error(transparent)]
    Refused(StoreError),
    /// The stream holds something else that can't be read.
    #[error(transparent)]
    Frame(FrameError),
}

/// Appends the commit with `id`, and stays with it until it is known how that ended (P3). The
/// caller's timeout is the bound.
pub(crate) async fn append_once(
    store: &dyn EventStore,
    append: Append<'_>,
    id: EventId,
) -> Result<Appended, NotAppended> {
    let mut is_in_doubt = false;
    let mut backoff = Backoff::new(Duration::from_millis(10), Duration::from_millis(500));
    loop {
        match store.append(append.clone()).await {
            Ok(appended) => return Ok(appended),
            Err(AppendError::Conflict { .. }) if !is_in_doubt => {
                return Err(NotAppended::Conflict);
            }
            // Once the stream has moved on, the commit in doubt is in it or never will be.
            Err(AppendError::Conflict { .. }) => {
                if let Ok(found) = store.read_stream(append.stream, append.version + 1, 1).await {
                    return found_commit(found.first(), id);
                }
            }
            Err(AppendError::Refused(error)) if !is_in_doubt => {
                return Err(NotAppended::Refused(error));
            }
            Err(AppendError::Refused(error) | AppendError::Unknown(error)) => {
                is_in_doubt = true;
                tracing::warn!(stream = %append.stream, %error, "an append is in doubt");
            }
        }
        sleep(backoff.next_delay()).await;
    }
}

fn found_commit(record: Option<&Record>, id: EventId) -> Result<Appended, NotAppended> {
    if let Some(record) = record {
        let commit = record.commit().map_err(NotAppended::Frame)?;
        if commit.id() == id {
            return Ok(Appended { position: record.position, token: record.token });
        }
    }
    Err(NotAppended::Conflict)
}
