//! A disk in memory that forgets what was not synced, after whichever operation a test likes.

use std::{
    collections::BTreeMap,
    fmt, io,
    sync::{Arc, Mutex, MutexGuard},
};

use super::super::disk::{Disk, DiskFile};

/// What a power cut leaves of what was not synced.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cut {
    /// Nothing.
    Nothing,
    /// Everything.
    Everything,
    /// Some of it, torn at 512 bytes, by a seed.
    Some(u64),
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fault {
    None,
    /// Files can't be made or written: no space is left.
    Full,
    /// A sync fails, and as on Linux what was to be synced counts as written from then on.
    Sync,
    /// A sync of the directory fails.
    SyncDirectory,
    /// A sync of a file panics.
    Bug,
}

#[derive(Clone)]
pub(super) struct SimDisk(Arc<Mutex<State>>);

#[derive(Clone)]
struct State {
    files: Vec<Inode>,
    names: BTreeMap<String, usize>,
    /// The names as they are on the disk, and what was done to them since.
    synced_names: BTreeMap<String, usize>,
    renames: Vec<BTreeMap<String, usize>>,
    /// How many changes were made.
    operations: usize,
    /// The power is off from this one on.
    limit: usize,
    fault: Fault,
    /// Whether the files are in the system's memory, and nowhere else.
    is_cached: bool,
}

#[derive(Clone, Default)]
struct Inode {
    bytes: Vec<u8>,
    synced: Vec<u8>,
    /// What was written since the last sync.
    writes: Vec<(usize, Vec<u8>)>,
}

impl SimDisk {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(State {
            files: Vec::new(),
            names: BTreeMap::new(),
            synced_names: BTreeMap::new(),
            renames: Vec::new(),
            operations: 0,
            limit: usize::MAX,
            fault: Fault::None,
            is_cached: false,
        })))
    }

    pub(super) fn operations(&self) -> usize {
        self.state().operations
    }

    /// Cuts the power after `operations` changes in all.
    pub(super) fn limit(&self, operations: usize) {
        self.state().limit = operations;
    }

    pub(super) fn fail(&self, fault: Fault) {
        self.state().fault = fault;
    }

    /// From now on all files are in the system's memory, and to wait for the disk is in vain.
    pub(super) fn cache(&self) {
        self.state().is_cached = true;
    }

    /// The disk as it is after a power cut now.
    pub(super) fn after(&self, cut: Cut) -> Self {
        let mut state = self.state().clone();
        let mut random = Random(match cut {
            Cut::Some(seed) => seed | 1,
            Cut::Nothing | Cut::Everything => 1,
        });
        state.names = match cut {
            Cut::Nothing => state.synced_names.clone(),
            Cut::Everything => state.names,
            Cut::Some(_) => {
                let kept = random.below(state.renames.len() + 1);
                state.renames[..kept].last().unwrap_or(&state.synced_names).clone()
            }
        };
        for file in &mut state.files {
            file.bytes = match cut {
                Cut::Nothing => file.synced.clone(),
                Cut::Everything => file.bytes.clone(),
                Cut::Some(_) => file.torn(&mut random),
            };
            file.synced = file.bytes.clone();
            file.writes.clear();
        }
        state.synced_names = state.names.clone();
        state.renames.clear();
        (state.limit, state.operations, state.fault) = (usize::MAX, 0, Fault::None);
        Self(Arc::new(Mutex::new(state)))
    }

    /// Changes a file behind the store's back.
    pub(super) fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut state = self.state();
        let inode = state.names[name];
        change(&mut state.files[inode].bytes);
    }

    pub(super) fn bytes(&self, name: &str) -> Vec<u8> {
        let state = self.state();
        state.files[state.names[name]].bytes.clone()
    }

    /// A disk with the same files, to damage.
    pub(super) fn copy(&self) -> Self {
        self.after(Cut::Everything)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    fn change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state();
        if state.operations >= state.limit {
            return Err(io::Error::other("the power is off"));
        }
        state.operations += 1;
        Ok(state)
    }
}

impl Inode {
    fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        let bytes = self.bytes.get(offset..offset + buffer.len());
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn torn(&self, random: &mut Random) -> Vec<u8> {
        let mut bytes = self.synced.clone();
        for (offset, written) in &self.writes {
            for (i, sector) in written.chunks(512).enumerate() {
                if random.below(2) == 0 {
                    put(&mut bytes, offset + i * 512, sector);
                }
            }
        }
        bytes
    }
}

fn put(bytes: &mut Vec<u8>, offset: usize, written: &[u8]) {
    let end = offset + written.len();
    if bytes.len() < end {
        bytes.resize(end, 0);
    }
    bytes[offset..end].copy_from_slice(written);
}

/// Xorshift: enough to choose by, and the same on every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap()
    }
}

impl Disk for SimDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.state().names.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let inode = *self.state().names.get(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let mut state = self.change()?;
        if state.fault == Fault::Full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        let inode = state.files.len();
        state.files.push(Inode::default());
        state.names.insert(name.to_owned(), inode);
        state.renamed();
        Ok(Arc::new(SimFile { disk: self.clone(), inode }))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        let mut state = self.change()?;
        let inode = state.names.remove(from).ok_or(io::ErrorKind::NotFound)?;
        state.names.insert(to.to_owned(), inode);
        state.renamed();
        Ok(())
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        let mut state = self.change()?;
        state.names.remove(name).ok_or(io::ErrorKind::NotFound)?;
        state.renamed();
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.change()?;
        if state.fault == Fault::SyncDirectory {
            return Err(io::Error::other("the directory can't be synced"));
        }
        state.synced_names = state.names.clone();
        state.renames.clear();
        Ok(())
    }
}

impl State {
    fn renamed(&mut self) {
        self.renames.push(self.names.clone());
    }
}

#[derive(Debug)]
struct SimFile {
    disk: SimDisk,
    inode: usize,
}

impl DiskFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.disk.state().files[self.inode].bytes.len() as u64)
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let state = self.disk.state();
        if state.is_cached {
            return Err(io::Error::other("the disk is away"));
        }
        state.files[self.inode].read(buffer, offset)
    }

    fn read_now(&self, buffer: &mut [u8], offset: u64) -> bool {
        let state = self.disk.state();
        state.is_cached && state.files[self.inode].read(buffer, offset).is_ok()
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut state = self.disk.change()?;
        let offset = usize::try_from(offset).unwrap();
        let is_full = state.fault == Fault::Full;
        let file = &mut state.files[self.inode];
        if is_full && offset + bytes.len() > file.bytes.len() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        put(&mut file.bytes, offset, bytes);
        file.writes.push((offset, bytes.to_vec()));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.disk.change()?;
        if state.fault == Fault::Bug {
            drop(state);
            panic!("a bug in the disk");
        }
        let fails = state.fault == Fault::Sync;
        let file = &mut state.files[self.inode];
        if fails {
            file.writes.clear();
            return Err(io::Error::other("the sync failed"));
        }
        // Only what the system still knows to be unwritten goes to the disk.
        for (offset, bytes) in std::mem::take(&mut file.writes) {
            put(&mut file.synced, offset, &bytes);
        }
        Ok(())
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimDisk").field("operations", &self.operations()).finish_non_exhaustive()
    }
}
