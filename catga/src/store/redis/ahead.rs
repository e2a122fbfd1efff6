//! Read-ahead: windows of the log that are requested before they are needed, since a start reads all of it.
//!
//! A page says where the next one begins only once it has arrived. A window is a fixed range of positions, so several
//! can be requested at once. With each the server also says where the log ended before it read the window: if that is
//! inside the window, commits may have followed since, and the window is thrown away (P5). A window can be empty, since
//! a script that failed may have left positions unused; the log goes on behind it.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use redis::Value;
use tokio_util::task::AbortOnDropHandle;

use super::{RedisStore, check_id, link::CallError, stored::array};
use crate::log::{Position, StoreError};

/// How many positions a window has, and so how many commits at most.
pub(super) const WINDOW: usize = 256;

/// How many windows are requested at once.
const AT_ONCE: usize = 4;

/// The log's id and end before the window was read, and its entries.
type WindowReply = Result<((Option<String>, Option<u64>), Value), CallError>;

/// The windows that a reader, who goes from page to page, will want next.
pub(super) struct ReadAhead {
    /// Where the last commit that was read ends.
    after: Position,
    /// Windows were asked for up to here.
    asked: Position,
    /// The last position of each window, and its answer.
    windows: VecDeque<(Position, AbortOnDropHandle<WindowReply>)>,
}

impl ReadAhead {
    pub(super) fn has_windows(&self) -> bool {
        !self.windows.is_empty()
    }

    /// The entries of the next window behind `after`; `None` when the log is not known to reach to its end.
    pub(super) async fn next(
        &mut self,
        store: &RedisStore,
        after: Position,
    ) -> Result<Option<Vec<Value>>, StoreError> {
        store.head.check()?;
        self.asked = self.asked.max(after);
        while self.windows.len() < AT_ONCE {
            let end = self.asked + WINDOW as u64;
            if end > store.head.position() {
                break;
            }
            let window = tokio::spawn(read(store, self.asked, end));
            self.windows.push_back((end, AbortOnDropHandle::new(window)));
            self.asked = end;
        }
        let Some((end, window)) = self.windows.pop_front() else { return Ok(None) };
        let ((found, head), entries) = window.await.map_err(StoreError::unavailable)??;
        check_id(&store.head, store.id, found.as_deref())?;
        if head.map(Position::new) < Some(end) {
            return Err(StoreError::unavailable("Redis ends before what was seen of the log"));
        }
        Ok(Some(array(entries)?))
    }
}

/// Asks for the commits that end behind `begin` and at `end` at most.
fn read(
    store: &RedisStore,
    begin: Position,
    end: Position,
) -> impl Future<Output = WindowReply> + Send + 'static {
    let mut commands = redis::pipe();
    commands.cmd("MGET").arg(&store.keys.id).arg(&store.keys.head);
    commands.cmd("XRANGE").arg(&store.keys.log).arg(format!("(0-{begin}")).arg(format!("0-{end}"));
    let link = store.link.clone();
    async move { link.call(|mut c| async move { commands.query_async(&mut c).await }).await }
}

/// Keeps what was asked for between two pages of the same reader.
#[derive(Default)]
pub(super) struct ReadAheadSlot(Mutex<Option<ReadAhead>>);

impl ReadAheadSlot {
    /// What the reader has asked for who has read up to `after`; `None` when the last one who read is somebody else.
    pub(super) fn take(&self, after: Position) -> Option<ReadAhead> {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.take().filter(|ahead| ahead.after == after)
    }

    /// Keeps it for who reads on after `after`.
    pub(super) fn keep(&self, ahead: Option<ReadAhead>, after: Position) {
        let begin = ReadAhead { after, asked: after, windows: VecDeque::new() };
        let ahead = ReadAhead { after, ..ahead.unwrap_or(begin) };
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(ahead);
    }
}
