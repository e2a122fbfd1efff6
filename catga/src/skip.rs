//! Skipping: going on without an event that can't be read.
//!
//! An aggregate, a read model or a subscription that meets an event it can't read stops there, for what it would show without
//! the event is not what happened. Most often the program is what is wrong, and a new version of it that reads the event is
//! the way out. Where nobody can read it any more, an operator can decide to go on without it: that is an event of the log, with
//! the reason. From its next start on every program goes on behind the skipped event, as if nothing had happened there: it
//! counts as a version, and is in no history. A program that can read the event does so all the same.

use crate::{
    log::{Clock, Commit, EventId, Position, Record, StoreError, StreamId, Version},
    model::{DecodeError, Event, EventSkipped},
    program::{EventTypes, Extensions, Kind, Setup, SkipStream, StreamEnd, catalogue, place},
    store::{Backend, EventStore, NotAppended},
};

/// How many commits are read at once.
const PAGE: usize = 1000;

/// An event that this program can't read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnreadableEvent {
    /// Where it is in the log.
    pub position: Position,
    /// Its identity.
    pub id: EventId,
    /// The stream it is in.
    pub stream: StreamId,
    /// Its place there.
    pub version: Version,
    /// The name of its type.
    pub event_type: String,
    /// Why it can't be read.
    pub cause: DecodeError,
    /// With what reason it was skipped, if it was.
    pub skipped: Option<String>,
}

/// Why an event was not skipped. Nothing was written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SkipError {
    /// The log has no event there.
    #[error("there is no event at position {0}")]
    NoEvent(Position),
    /// This program can read it, so nothing has to go on without it.
    #[error(
        "the event at position {0}, a `{1}`, can be read by this program, so it is not skipped"
    )]
    Readable(Position, String),
    /// It was skipped before.
    #[error("the event at position {} was skipped already, with the reason: {}", .0.position, .0.skipped.as_deref().unwrap_or_default())]
    Skipped(Box<UnreadableEvent>),
    /// The store can't be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The events of the log that this program can't read, oldest first, at most `limit` of them. Nothing is changed.
///
/// # Errors
/// [`StoreError`] when the store can't be read.
pub async fn unreadable_events(
    backend: &Backend,
    limit: usize,
) -> Result<Vec<UnreadableEvent>, StoreError> {
    let store = &**backend.store();
    let reader = Reader { types: event_types(), skipped: SkipStream::read(store).await? };
    let (mut found, mut end) = (Vec::new(), Position::ZERO);
    while found.len() < limit {
        let page = store.read_log(end, PAGE).await?;
        let Some(last) = page.last() else { break };
        end = last.end().map_err(StoreError::corrupt)?;
        for record in &page {
            let commit = record.commit().map_err(StoreError::corrupt)?;
            for index in 0..commit.events.len() {
                found.extend(reader.unreadable(record, &commit, index)?);
            }
        }
    }
    found.truncate(limit);
    Ok(found)
}

/// Writes down that programs go on without the event at `position`, from their next start on, and why. `node` is who says so.
/// Answers what was skipped.
///
/// # Errors
/// [`SkipError`] when there is no such event, this program can read it, it was skipped before, or the store fails.
pub async fn skip(
    backend: &Backend,
    position: Position,
    reason: &str,
    node: &str,
) -> Result<UnreadableEvent, SkipError> {
    let store = &**backend.store();
    loop {
        let mut reader = Reader { types: event_types(), skipped: SkipStream::read(store).await? };
        let event = reader.at(store, position).await?;
        if event.skipped.is_some() {
            return Err(SkipError::Skipped(Box::new(event)));
        }
        let skip = EventSkipped {
            event_id: event.id,
            event_type: event.event_type.clone(),
            stream: event.stream.to_string(),
            position,
            reason: reason.to_owned(),
        };
        if append(store, &mut reader.skipped.end, &skip, node).await? {
            return Ok(UnreadableEvent { skipped: Some(skip.reason), ..event });
        }
    }
}

/// Appends `skip` at the end of the stream as it was read; `false` when it ends elsewhere by now.
async fn append(
    store: &dyn EventStore,
    end: &mut StreamEnd,
    skip: &EventSkipped,
    node: &str,
) -> Result<bool, StoreError> {
    let mut payload = Vec::new();
    let ty = skip.encode(&mut payload).map_err(StoreError::corrupt)?;
    match end.append(store, node, Clock::system().now(), &[(ty, payload)]).await {
        Ok(_) => Ok(true),
        Err(NotAppended::Conflict) => Ok(false),
        Err(NotAppended::Refused(error)) => Err(error),
        Err(NotAppended::Frame(error)) => Err(StoreError::corrupt(error)),
    }
}

/// What this program can read, and what it goes on without.
struct Reader {
    types: EventTypes,
    skipped: SkipStream,
}

impl Reader {
    async fn at(
        &self,
        store: &dyn EventStore,
        position: Position,
    ) -> Result<UnreadableEvent, SkipError> {
        let nothing = || SkipError::NoEvent(position);
        if position == Position::ZERO {
            return Err(nothing());
        }
        let page = store.read_log(position - 1, 1).await?;
        let record = page.first().ok_or_else(nothing)?;
        let commit = record.commit().map_err(StoreError::corrupt)?;
        let index = position.get().checked_sub(record.position.get()).ok_or_else(nothing)?;
        let index = usize::try_from(index).map_err(|_| nothing())?;
        let frame = commit.events.get(index).ok_or_else(nothing)?;
        let readable = || SkipError::Readable(position, frame.name.to_owned());
        self.unreadable(record, &commit, index)?.ok_or_else(readable)
    }

    /// The event with index `index` in a commit, if it can't be read.
    fn unreadable(
        &self,
        record: &Record,
        commit: &Commit<'_>,
        index: usize,
    ) -> Result<Option<UnreadableEvent>, StoreError> {
        let frame = &commit.events[index];
        let position = record.position + index as u64;
        let read = match self.types.get(frame.name) {
            Some(read) => read(frame.name, frame.schema, frame.payload),
            None => Err(DecodeError::unknown_type(frame, position)),
        };
        let Err(cause) = read else { return Ok(None) };
        let skip = self.skipped.skips.iter().find(|skip| skip.event_id == frame.id);
        Ok(Some(UnreadableEvent {
            position,
            id: frame.id,
            stream: commit.stream_id().map_err(StoreError::corrupt)?,
            version: commit.first_version + index as u64,
            event_type: frame.name.to_owned(),
            cause,
            skipped: skip.map(|skip| skip.reason.clone()),
        }))
    }
}

/// The event types that are linked into this program.
fn event_types() -> EventTypes {
    let (mut extensions, mut problems) = (Extensions::default(), Vec::new());
    for item in catalogue().into_iter().filter(|item| item.kind == Kind::Event) {
        (item.setup)(&mut Setup::new(place(item), 0, &mut extensions, &mut problems));
    }
    extensions.take()
}
