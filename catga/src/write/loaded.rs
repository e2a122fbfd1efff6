//! An aggregate as it is loaded: from its events, or from a snapshot and the events after it.

use std::{collections::HashMap, pin::pin};

use futures_util::future::{Either, ready, select};

use crate::{
    log::{EventFrame, EventId, Position, Record, StoreError, StreamId, Timestamp, Version},
    model::{Aggregate, CommandId, DecodeError, Error, Event, Root, SkippedEvents},
    program::Program,
    store::{BoxFuture, guarded},
    write::snapshot::{Snapshot, SnapshotStore},
};

/// How many commits one call reads while an aggregate is replayed.
const PAGE: usize = 512;

/// How many commits are read without waiting for the snapshot that an aggregate may have.
const FEW: usize = 64;

/// An aggregate with what is needed to append to its stream.
pub(crate) struct Loaded<A: Aggregate> {
    pub(crate) root: Root<A>,
    pub(crate) token: u64,
    /// The id of the last commit.
    pub(crate) commit: EventId,
    /// Its time. Within a stream, time never goes back.
    pub(crate) time: Timestamp,
    /// The version of the last snapshot that this node knows of.
    snapshot: Version,
    /// The commands that had an id, by the digest of the id. Empty and unallocated for most.
    pub(crate) commands: HashMap<[u8; 16], Version>,
}

impl<A: Aggregate> Loaded<A> {
    pub(crate) fn new(stream: StreamId) -> Self {
        Self {
            root: Root::new(stream),
            token: 0,
            commit: EventId::nil(),
            time: Timestamp::from_micros(i64::MIN),
            snapshot: Version::ZERO,
            commands: HashMap::new(),
        }
    }

    /// Loads it from the log. A stream of a few commits takes one call; a long one with a snapshot takes two, one after the other.
    ///
    /// The future is boxed because few messages need it: its state would make that of every message three times as large.
    pub(crate) fn replay(
        program: &Program,
        stream: StreamId,
    ) -> BoxFuture<'_, Result<Box<Self>, Error>> {
        Box::pin(async { Self::from_log(program, stream).await.map(Box::new) })
    }

    async fn from_log(program: &Program, stream: StreamId) -> Result<Self, Error> {
        let store = program.store();
        let mut loaded = Self::new(stream.clone());
        if let Some(snapshots) = &A::SNAPSHOTS {
            // Most have no snapshot, so the first commits are read at the same time, unless these are in memory; a long
            // stream may be slow to read from its beginning, so whichever comes first decides.
            let snapshot =
                pin!(program.extensions.expect::<SnapshotStore>().read(&stream, snapshots));
            let (snapshot, page) = match select(store.read_short(&stream, FEW), snapshot).await {
                Either::Right((snapshot, page)) => (snapshot, page),
                Either::Left((page, snapshot)) => {
                    let page = page?;
                    let is_whole = page.as_ref().is_some_and(|page| page.len() < FEW);
                    let snapshot = if is_whole { None } else { snapshot.await };
                    let page: BoxFuture<'_, _> = Box::pin(ready(Ok(page)));
                    (snapshot, page)
                }
            };
            if let Some(restored) = Self::restore(program, &stream, snapshot).await? {
                return Ok(restored.kept(program));
            }
            if let Some(begin) = page.await? {
                loaded.take_in_all(program, &begin)?;
                if begin.len() < FEW {
                    return Ok(loaded);
                }
            }
        }
        loaded.catch_up(program).await?;
        Ok(loaded.kept(program))
    }

    /// The aggregate from a snapshot and the events after it, if the stream still holds the commit that it ends
    /// with: a store that lost its end in a power cut may hold another one there.
    async fn restore(
        program: &Program,
        stream: &StreamId,
        snapshot: Option<Snapshot<A>>,
    ) -> Result<Option<Self>, Error> {
        let Some(Snapshot { version, commit, commands, state }) = snapshot else { return Ok(None) };
        let page = program.store().read_stream(stream, version, PAGE).await?;
        let Some((record, rest)) = page.split_first() else { return Ok(None) };
        let last = record.commit().map_err(DecodeError::from)?;
        if (last.id(), last.last_version()) != (commit, version) {
            return Ok(None);
        }
        let root = Root::restored(stream.clone(), version, state);
        let (token, time) = (record.token, last.time);
        let mut restored = Self { root, token, commit, time, snapshot: version, commands };
        restored.take_in_all(program, rest)?;
        if page.len() == PAGE {
            restored.catch_up(program).await?;
        }
        Ok(Some(restored))
    }

    /// After a load: writes a snapshot if it had to read many commits, so that the next one need not.
    fn kept(mut self, program: &Program) -> Self {
        self.keep_snapshot_after(program, FEW as u64);
        self
    }

    /// After an append: starts to write a snapshot if one is due. Nobody waits for it.
    pub(crate) fn keep_snapshot(&mut self, program: &Program) {
        if let Some(snapshots) = &A::SNAPSHOTS {
            self.keep_snapshot_after(program, snapshots.every);
        }
    }

    /// Starts to write a snapshot if the last one is this many events old.
    fn keep_snapshot_after(&mut self, program: &Program, events: u64) {
        let Some(snapshots) = &A::SNAPSHOTS else { return };
        let version = self.root.version();
        // A stream that one call can read needs none.
        if version <= FEW as u64 || version < self.snapshot + events {
            return;
        }
        let (stream, end) = (self.root.stream(), (version, self.commit));
        let store = program.extensions.expect::<SnapshotStore>();
        if let Some(write) = store.write(stream, snapshots, end, &self.commands, &self.root) {
            program.tasks.spawn(guarded("snapshot of an aggregate", write));
            self.snapshot = version;
        }
    }

    /// Applies what the stream holds beyond this version, and returns whether there was anything.
    pub(crate) async fn catch_up(&mut self, program: &Program) -> Result<bool, Error> {
        let before = self.root.version();
        while self.take_in_page(program).await? {}
        Ok(self.root.version() > before)
    }

    /// Applies the next commits, and returns whether there may be more.
    async fn take_in_page(&mut self, program: &Program) -> Result<bool, Error> {
        let (stream, next) = (self.root.stream(), self.root.version().next());
        let page = program.store().read_stream(stream, next, PAGE).await?;
        self.take_in_all(program, &page)?;
        Ok(page.len() == PAGE)
    }

    fn take_in_all(&mut self, program: &Program, page: &[Record]) -> Result<(), Error> {
        page.iter().try_for_each(|record| self.take_in(&program.skipped, record))
    }

    fn take_in(&mut self, skipped: &SkippedEvents, record: &Record) -> Result<(), Error> {
        let commit = record.commit().map_err(DecodeError::from)?;
        if commit.first_version != self.root.version().next() {
            let (stream, version) = (self.root.stream(), self.root.version().next());
            let found = commit.first_version;
            return Err(StoreError::corrupt(format!(
                "stream {stream} has version {found} where {version} belongs"
            ))
            .into());
        }
        for (i, frame) in (0..).zip(&commit.events) {
            match A::Event::decode(frame.name, frame.schema, frame.payload) {
                Ok(Some(event)) => self.root.apply(event),
                unread => self.pass_over(skipped, frame, record.position + i, unread.err())?,
            }
        }
        (self.token, self.commit) = (record.token, commit.id());
        self.time = self.time.max(commit.time);
        if let Some(id) = commit.command.and_then(|c| CommandId::new(c.id)) {
            self.commands.insert(id.digest(), commit.first_version);
        }
        Ok(())
    }

    /// Goes on behind an event that can't be read, if it was skipped. Without an `error` it is none of the aggregate's.
    #[cold]
    fn pass_over(
        &mut self,
        skipped: &SkippedEvents,
        frame: &EventFrame<'_>,
        position: Position,
        error: Option<DecodeError>,
    ) -> Result<(), DecodeError> {
        if skipped.contains(frame.id) {
            self.root.pass_over();
            return Ok(());
        }
        Err(error.unwrap_or_else(|| DecodeError::unknown_type(frame, position)))
    }

    pub(crate) fn weight(&self) -> u64 {
        Self::new_weight(self.root.size_hint_bytes(), self.commands.len())
    }

    /// The bytes of a slot, its key and what is in it, rounded up to a power of two.
    pub(crate) fn new_weight(state: usize, commands: usize) -> u64 {
        let bytes = 256 + size_of::<Self>() + state + 32 * commands;
        (bytes as u64).next_power_of_two()
    }
}
