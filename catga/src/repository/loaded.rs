//! An aggregate as it is loaded: from its events, or from a snapshot and the events after it.

use std::collections::HashMap;

use crate::{
    Aggregate, CommandId, DecodeError, Error, Event, EventId, EventStore, Record, Root, Snapshots,
    StoreError, StreamId, Version, runtime::Runtime, snapshot::Snapshot,
};

/// How many commits are read at once while an aggregate is replayed.
const PAGE: usize = 512;

/// An aggregate with what it takes to append to its stream.
pub(super) struct Loaded<A: Aggregate> {
    pub(super) root: Root<A>,
    pub(super) token: u64,
    /// The id of the last commit.
    pub(super) commit: EventId,
    /// The version of the last snapshot that this node knows of.
    snapshot: Version,
    /// The commands that had an id, by the digest of the id. Empty and unallocated for most.
    pub(super) commands: HashMap<[u8; 16], Version>,
}

impl<A: Aggregate> Loaded<A> {
    pub(super) fn new(stream: StreamId) -> Self {
        Self {
            root: Root::new(stream),
            token: 0,
            commit: EventId::nil(),
            snapshot: 0,
            commands: HashMap::new(),
        }
    }

    pub(super) async fn replay(runtime: &Runtime, stream: StreamId) -> Result<Self, Error> {
        let mut loaded = Self::new(stream);
        let store = runtime.store();
        // A stream that is read with one call is not worth a second one for a snapshot.
        if loaded.take_in_page(store).await? {
            if let Some(snapshots) = &A::SNAPSHOTS
                && let Some(restored) = loaded.restore(runtime, snapshots).await?
            {
                loaded = restored;
            }
            loaded.catch_up(store).await?;
            loaded.keep_snapshot(runtime);
        }
        Ok(loaded)
    }

    /// The aggregate from its last snapshot, if that is later than this and the stream still holds the commit
    /// it ends with: a store that lost its end in a power cut may hold another one there.
    async fn restore(
        &self,
        runtime: &Runtime,
        snapshots: &Snapshots<A>,
    ) -> Result<Option<Self>, Error> {
        let stream = self.root.stream();
        let Some(snapshot) = runtime.snapshots.read(stream, snapshots).await else {
            return Ok(None);
        };
        let Snapshot { version, commit, commands, state } = snapshot;
        if version <= self.root.version() {
            return Ok(None);
        }
        let found = runtime.store().read_stream(stream, version, 1).await?;
        let Some(record) = found.first() else { return Ok(None) };
        let last = record.commit().map_err(DecodeError::from)?;
        if (last.id(), last.last_version()) != (commit, version) {
            return Ok(None);
        }
        let root = Root::restored(stream.clone(), version, state);
        Ok(Some(Self { root, token: record.token, commit, snapshot: version, commands }))
    }

    /// Begins to write a snapshot, if one is due. Nobody waits for it.
    pub(super) fn keep_snapshot(&mut self, runtime: &Runtime) {
        let Some(snapshots) = &A::SNAPSHOTS else { return };
        let version = self.root.version();
        if version <= PAGE as u64 || !snapshots.is_due(self.snapshot, version) {
            return;
        }
        let (stream, end) = (self.root.stream(), (version, self.commit));
        let write = runtime.snapshots.write(stream, snapshots, end, &self.commands, &self.root);
        if let Some(write) = write {
            runtime.spawn(write);
            self.snapshot = version;
        }
    }

    /// Takes in what the stream holds beyond this version. Answers whether there was anything.
    pub(super) async fn catch_up(&mut self, store: &dyn EventStore) -> Result<bool, Error> {
        let before = self.root.version();
        while self.take_in_page(store).await? {}
        Ok(self.root.version() > before)
    }

    /// Takes in the next commits. Answers whether there may be more.
    async fn take_in_page(&mut self, store: &dyn EventStore) -> Result<bool, Error> {
        let page = store.read_stream(self.root.stream(), self.root.version() + 1, PAGE).await?;
        for record in &page {
            self.take_in(record)?;
        }
        Ok(page.len() == PAGE)
    }

    fn take_in(&mut self, record: &Record) -> Result<(), Error> {
        let commit = record.commit().map_err(DecodeError::from)?;
        if commit.first_version != self.root.version() + 1 {
            let (stream, version) = (self.root.stream(), self.root.version() + 1);
            let found = commit.first_version;
            return Err(StoreError::corrupt(format!(
                "stream {stream} has version {found} where {version} belongs"
            ))
            .into());
        }
        for (i, frame) in (0..).zip(&commit.events) {
            let event =
                A::Event::decode(frame.name, frame.schema, frame.payload)?.ok_or_else(|| {
                    DecodeError::UnknownType {
                        name: frame.name.to_owned(),
                        version: frame.schema,
                        position: record.position + i,
                    }
                })?;
            self.root.apply(&event);
        }
        (self.token, self.commit) = (record.token, commit.id());
        if let Some(id) = commit.command.and_then(|c| CommandId::new(c.id)) {
            self.commands.insert(id.digest(), commit.first_version);
        }
        Ok(())
    }

    pub(super) fn weight(&self) -> u64 {
        Self::new_weight(self.root.memory(), self.commands.len())
    }

    /// The bytes of a slot, its key and what is in it, rounded up to a power of two.
    pub(super) fn new_weight(state: usize, commands: usize) -> u64 {
        let bytes = 256 + size_of::<Self>() + state + 32 * commands;
        (bytes as u64).next_power_of_two()
    }
}
