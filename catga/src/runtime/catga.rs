//! `Catga`, the handle to a running program.

use std::{
    fmt,
    sync::{Arc, Weak},
};

use tokio::time::timeout;

use crate::{
    log::{Position, Record},
    model::{Consistency, DecodeError, Error, ErrorKind, Event, Interrupt, ParsedRecord, Recorded},
    program::{Caller, Context, FromContext, Setup},
    react::{
        DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterPlace, DropRequested, ParkingEvent,
        RetryRequested, dead_letter_page, dead_letters, request, retry_all,
    },
    runtime::background::{Handles, Runtime, ThisProgram},
    store::EventStore,
};

/// A running program: send it commands and queries. Clones are handles to the same one.
///
/// Stop it with [`shutdown`](Self::shutdown). When the last handle is dropped without that, its background tasks end where
/// they are, as in a crash: what was answered is in the log, and an event that was being handled is handled again
/// after the next start. Its store is closed as soon as the tasks are gone.
///
/// ```standalone_crate
/// # use catga::prelude::*;
/// # #[catga::query] struct Half { of: u64 }
/// # #[query_handler] fn half(query: Half) -> u64 { query.of / 2 }
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let catga = Catga::builder().start().await?;
/// assert_eq!(catga.query(Half { of: 4 }).await?, 2);
/// catga.shutdown().await;
/// # Ok(()) }
/// ```
pub struct Catga {
    /// Dropped before the runtime. `None` where a handler of a program that has no handle any more runs to its end.
    pub(super) _handles: Option<Arc<Handles>>,
    pub(crate) runtime: Arc<Runtime>,
    /// The run of the handler that was lent this handle.
    pub(crate) caller: Option<Arc<Caller>>,
}

impl Clone for Catga {
    /// Another handle, also of the one that a handler takes: who keeps it keeps the program running.
    fn clone(&self) -> Self {
        let handles = self._handles.clone();
        let handles = handles.or_else(|| self.runtime.handles.get().and_then(Weak::upgrade));
        Self { _handles: handles, runtime: self.runtime.clone(), caller: self.caller.clone() }
    }
}

impl Catga {
    /// The log.
    pub fn store(&self) -> &Arc<dyn EventStore> {
        &self.runtime.program.store
    }

    /// The position of the last event in the log.
    ///
    /// # Errors
    /// [`Error`] when the store can't be asked.
    pub async fn head(&self) -> Result<Position, Error> {
        Ok(self.runtime.program.store().head().await?)
    }

    /// The events of type `E` in a record of the [`store`](Self::store), in order; events of other types, and those that an operator
    /// [skipped](crate::skip), are left out.
    ///
    /// # Errors
    /// [`Error`] when the record or an event of one of `E`'s types can't be read.
    pub fn read<E: Event>(&self, record: &Record) -> Result<Vec<Recorded<E>>, Error> {
        let parsed = ParsedRecord::of(record, &self.runtime.program.skipped);
        Ok(parsed.map_err(DecodeError::from)?.events().collect::<Result<_, _>>()?)
    }

    /// Whether the log reaches up to `position`, which the caller got from somewhere.
    ///
    /// # Errors
    /// [`ErrorKind::PositionUnknown`] when it does not: the position is one of another log, or of an end that was lost.
    /// [`ErrorKind::Store`] when the store can't be asked.
    pub async fn check_position(&self, position: Position) -> Result<(), Error> {
        self.within_timeout(self.runtime.program.check_position(position)).await
    }

    /// The events that handlers gave up on, oldest first.
    ///
    /// # Errors
    /// [`Error`] when the read barrier can't be passed.
    pub async fn dead_letters(&self, consistency: Consistency) -> Result<Vec<DeadLetter>, Error> {
        self.within_timeout(dead_letters(&self.runtime.program, consistency)).await
    }

    /// A page of the dead letters that `filter` takes, oldest event first: `limit` of them at most, from behind `after` on.
    ///
    /// # Errors
    /// [`Error`] when the read barrier can't be passed.
    pub async fn dead_letter_page(
        &self,
        filter: &DeadLetterFilter,
        after: Option<&DeadLetterPlace>,
        limit: usize,
        consistency: Consistency,
    ) -> Result<DeadLetterPage, Error> {
        let page = dead_letter_page(&self.runtime.program, filter, after, limit, consistency);
        self.within_timeout(page).await
    }

    /// Has the handlers of all dead letters that `filter` takes try them again, each with those behind it in its stream. Answers
    /// how many these are. What fails again is parked again.
    ///
    /// # Errors
    /// [`Error`] when the store can't be reached. Some may be tried then.
    pub async fn retry_dead_letters(&self, filter: &DeadLetterFilter) -> Result<usize, Error> {
        self.within_timeout(retry_all(&self.runtime.program, filter)).await
    }

    /// Has the handler of a dead letter try its event again, and then those behind it. `None` when there is no
    /// such letter.
    ///
    /// # Errors
    /// [`Error`] when the store can't be reached.
    pub async fn retry_dead_letter(&self, id: &str) -> Result<Option<DeadLetter>, Error> {
        let event = RetryRequested { letter: id.to_owned() };
        self.within_timeout(request(&self.runtime.program, id, ParkingEvent::Retry(event))).await
    }

    /// Has the handler of a dead letter leave its event out, and go on with those behind it. `None`
    /// when there is no such letter. The request stays in the log, with the reason.
    ///
    /// # Errors
    /// [`Error`] when the store can't be reached.
    pub async fn drop_dead_letter(
        &self,
        id: &str,
        reason: Option<String>,
    ) -> Result<Option<DeadLetter>, Error> {
        let event = DropRequested { letter: id.to_owned(), reason };
        self.within_timeout(request(&self.runtime.program, id, ParkingEvent::Drop(event))).await
    }

    async fn within_timeout<T>(
        &self,
        work: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let limit = self.runtime.program.timeout;
        timeout(limit, work).await.unwrap_or_else(|_| Err(ErrorKind::Timeout.into()))
    }
}

/// A handler may take `&Catga`, to send commands of its own. It does not keep the program running; a clone of it does.
impl<M: Sync> FromContext<M> for Catga {
    type Held<'c> = Box<Self>;

    async fn extract<'c>(cx: &'c Context<'c>, _: &M) -> Result<Box<Self>, Interrupt> {
        let this = cx.program.extensions.expect::<ThisProgram>();
        let runtime = this.0.upgrade().ok_or_else(|| Error::misuse("the program has ended"))?;
        Ok(Box::new(Self { _handles: None, runtime, caller: Some(cx.itself()) }))
    }

    fn declare(_: &mut Setup<'_>) {}
}

impl fmt::Debug for Catga {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catga").field("node", &self.runtime.program.node).finish_non_exhaustive()
    }
}
