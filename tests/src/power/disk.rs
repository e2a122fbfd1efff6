//! The disk as a model: files, directories, what of them is durable, and the faults.
//!
//! It knows nothing of FUSE but its error numbers, and nothing is done to it but what a method says.

use std::{
    collections::{BTreeMap, HashMap},
    ffi::{OsStr, OsString},
    time::SystemTime,
};

use fuser::Errno;

use super::{
    Cut, Metadata,
    content::{Content, PAGE, Zeros},
};
use crate::dice::Dice;

pub(super) type Answer<T> = Result<T, Errno>;

/// The number of the top folder, always.
pub(super) const ROOT: u64 = 1;

/// How large the disk says it is.
pub(super) const CAPACITY: u64 = 64 << 30;

/// A file or a folder.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) body: Body,
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) modified: SystemTime,
}

#[derive(Debug)]
pub(super) enum Body {
    File(Content),
    Folder(Folder),
}

/// The entries of a folder, as programs see them and as the disk has them.
#[derive(Debug, Default)]
pub(super) struct Folder {
    pub(super) entries: BTreeMap<OsString, u64>,
    durable: BTreeMap<OsString, u64>,
}

/// One entry of one folder that now is another node, or none.
#[derive(Debug)]
struct Change {
    folder: u64,
    name: OsString,
    to: Option<u64>,
}

/// The whole disk.
#[derive(Debug)]
pub(super) struct Disk {
    nodes: HashMap<u64, Node>,
    /// Never given twice, so what was open before a power cut can't reach what is there after it.
    next: u64,
    metadata: Metadata,
    /// What happened to folders and is not durable, in order; each item happens whole or not.
    journal: Vec<Vec<Change>>,
    zeros: Zeros,
    /// No request is answered while it is false.
    pub(super) has_power: bool,
    /// How many of the next syncs fail.
    pub(super) failing_syncs: u32,
    /// How many bytes can still be allocated; `None` for enough.
    pub(super) room: Option<u64>,
    pub(super) counts: super::Counts,
}

impl Disk {
    pub(super) fn new(metadata: Metadata, uid: u32, gid: u32) -> Self {
        let mut disk = Self {
            nodes: HashMap::new(),
            next: ROOT,
            metadata,
            journal: Vec::new(),
            zeros: Zeros::new(),
            has_power: true,
            failing_syncs: 0,
            room: None,
            counts: super::Counts::default(),
        };
        disk.add(Body::Folder(Folder::default()), 0o755, uid, gid);
        disk
    }

    fn add(&mut self, body: Body, mode: u32, uid: u32, gid: u32) -> u64 {
        let number = self.next;
        self.next += 1;
        let modified = SystemTime::now();
        self.nodes.insert(number, Node { body, mode, uid, gid, modified });
        number
    }

    /// The node; what was there before a power cut is an I/O error.
    pub(super) fn node(&self, number: u64) -> Answer<&Node> {
        self.nodes.get(&number).ok_or(Errno::EIO)
    }

    pub(super) fn node_mut(&mut self, number: u64) -> Answer<&mut Node> {
        self.nodes.get_mut(&number).ok_or(Errno::EIO)
    }

    pub(super) fn folder(&self, number: u64) -> Answer<&Folder> {
        match &self.node(number)?.body {
            Body::Folder(folder) => Ok(folder),
            Body::File(_) => Err(Errno::ENOTDIR),
        }
    }

    fn folder_mut(&mut self, number: u64) -> Answer<&mut Folder> {
        match &mut self.node_mut(number)?.body {
            Body::Folder(folder) => Ok(folder),
            Body::File(_) => Err(Errno::ENOTDIR),
        }
    }

    fn file(&self, number: u64) -> Answer<&Content> {
        match &self.node(number)?.body {
            Body::File(content) => Ok(content),
            Body::Folder(_) => Err(Errno::EISDIR),
        }
    }

    fn file_mut(&mut self, number: u64) -> Answer<&mut Content> {
        match &mut self.node_mut(number)?.body {
            Body::File(content) => Ok(content),
            Body::Folder(_) => Err(Errno::EISDIR),
        }
    }

    pub(super) fn lookup(&self, folder: u64, name: &OsStr) -> Answer<u64> {
        self.folder(folder)?.entries.get(name).copied().ok_or(Errno::ENOENT)
    }

    // Folders.

    /// Makes a file or a folder that must not be there.
    pub(super) fn make(
        &mut self,
        folder: u64,
        name: &OsStr,
        body: Body,
        mode: u32,
        owner: (u32, u32),
    ) -> Answer<u64> {
        if self.folder(folder)?.entries.contains_key(name) {
            return Err(Errno::EEXIST);
        }
        let number = self.add(body, mode, owner.0, owner.1);
        self.change(vec![Change { folder, name: name.to_owned(), to: Some(number) }])?;
        Ok(number)
    }

    pub(super) fn unlink(&mut self, folder: u64, name: &OsStr) -> Answer<()> {
        let number = self.lookup(folder, name)?;
        self.file(number)?;
        self.change(vec![Change { folder, name: name.to_owned(), to: None }])
    }

    pub(super) fn rmdir(&mut self, folder: u64, name: &OsStr) -> Answer<()> {
        let number = self.lookup(folder, name)?;
        if !self.folder(number)?.entries.is_empty() {
            return Err(Errno::ENOTEMPTY);
        }
        self.change(vec![Change { folder, name: name.to_owned(), to: None }])
    }

    pub(super) fn rename(&mut self, from: (u64, &OsStr), to: (u64, &OsStr)) -> Answer<()> {
        let number = self.lookup(from.0, from.1)?;
        if let Ok(target) = self.lookup(to.0, to.1) {
            if target == number {
                return Ok(());
            }
            match (&self.node(number)?.body, &self.node(target)?.body) {
                (Body::File(_), Body::File(_)) => {}
                (Body::Folder(_), Body::Folder(there)) if there.entries.is_empty() => {}
                (Body::Folder(_), Body::Folder(_)) => return Err(Errno::ENOTEMPTY),
                (Body::File(_), Body::Folder(_)) => return Err(Errno::EISDIR),
                (Body::Folder(_), Body::File(_)) => return Err(Errno::ENOTDIR),
            }
        }
        self.folder(to.0)?;
        self.change(vec![
            Change { folder: from.0, name: from.1.to_owned(), to: None },
            Change { folder: to.0, name: to.1.to_owned(), to: Some(number) },
        ])
    }

    /// Makes the changes of one operation, which reach the disk together.
    fn change(&mut self, changes: Vec<Change>) -> Answer<()> {
        for change in &changes {
            let node = self.node_mut(change.folder)?;
            node.modified = SystemTime::now();
            let Body::Folder(folder) = &mut node.body else { return Err(Errno::ENOTDIR) };
            apply(&mut folder.entries, change);
        }
        match self.metadata {
            Metadata::Durable => self.persist(&changes),
            Metadata::UntilSynced => self.journal.push(changes),
        }
        Ok(())
    }

    fn persist(&mut self, changes: &[Change]) {
        for change in changes {
            if let Ok(folder) = self.folder_mut(change.folder) {
                apply(&mut folder.durable, change);
            }
        }
    }

    pub(super) fn sync_folder(&mut self, number: u64) -> Answer<()> {
        self.folder(number)?;
        self.count_sync()?;
        let concerns = |changes: &mut Vec<Change>| changes.iter().any(|c| c.folder == number);
        let synced: Vec<_> = self.journal.extract_if(.., concerns).collect();
        for changes in &synced {
            self.persist(changes);
        }
        Ok(())
    }

    // Files.

    pub(super) fn read(&self, number: u64, offset: u64, len: usize) -> Answer<Vec<u8>> {
        Ok(self.file(number)?.read(offset, len))
    }

    /// Writes as much of `bytes` as there is room for, and answers how much that was.
    pub(super) fn write(
        &mut self,
        number: u64,
        offset: u64,
        bytes: &[u8],
        is_synced: bool,
    ) -> Answer<usize> {
        let fits = self.fitting(number, offset, bytes.len())?;
        if fits == 0 && !bytes.is_empty() {
            self.counts.refused_writes += 1;
            return Err(Errno::ENOSPC);
        }
        self.take_room(number, offset, fits as u64)?;
        self.file_mut(number)?.write(offset, &bytes[..fits]);
        self.node_mut(number)?.modified = SystemTime::now();
        if is_synced {
            self.sync_file(number)?;
        }
        Ok(fits)
    }

    /// How many of `len` bytes at `offset` there is room for.
    fn fitting(&self, number: u64, offset: u64, len: usize) -> Answer<usize> {
        let content = self.file(number)?;
        let Some(room) = self.room else { return Ok(len) };
        let mut fits = 0;
        while fits < len {
            let at = offset + fits as u64;
            let in_page = usize::try_from(at % PAGE as u64).expect("less than a page");
            let more = fits + (PAGE - in_page).min(len - fits);
            if content.growth(offset, more as u64) > room {
                break;
            }
            fits = more;
        }
        Ok(fits)
    }

    fn take_room(&mut self, number: u64, offset: u64, len: u64) -> Answer<()> {
        let growth = self.file(number)?.growth(offset, len);
        match &mut self.room {
            Some(room) if growth > *room => {
                self.counts.refused_writes += 1;
                Err(Errno::ENOSPC)
            }
            Some(room) => {
                *room -= growth;
                Ok(())
            }
            None => Ok(()),
        }
    }

    pub(super) fn allocate(
        &mut self,
        number: u64,
        offset: u64,
        len: u64,
        keeps_size: bool,
    ) -> Answer<()> {
        self.take_room(number, offset, len)?;
        let Some(Node { body: Body::File(content), .. }) = self.nodes.get_mut(&number) else {
            return Err(Errno::EISDIR);
        };
        content.allocate(offset, len, &self.zeros);
        if !keeps_size && content.size() < offset + len {
            content.set_size(offset + len);
        }
        Ok(())
    }

    pub(super) fn set_size(&mut self, number: u64, size: u64) -> Answer<()> {
        self.file_mut(number)?.set_size(size);
        self.node_mut(number)?.modified = SystemTime::now();
        Ok(())
    }

    pub(super) fn sync_file(&mut self, number: u64) -> Answer<()> {
        self.file(number)?;
        let counted = self.count_sync();
        let content = self.file_mut(number)?;
        match counted {
            Ok(()) => content.sync(),
            Err(_) => content.fail_sync(),
        }
        counted
    }

    fn count_sync(&mut self) -> Answer<()> {
        if self.failing_syncs > 0 {
            // The largest number is for good.
            self.failing_syncs -= u32::from(self.failing_syncs < u32::MAX);
            self.counts.failed_syncs += 1;
            return Err(Errno::EIO);
        }
        self.counts.syncs += 1;
        Ok(())
    }

    // Power.

    /// Takes the power away. What is durable is all there is from here on, under new numbers.
    pub(super) fn cut(&mut self, how: Cut) {
        let mut dice = match how {
            Cut::Drop => None,
            Cut::Random(seed) => Some(Dice::new(seed)),
        };
        let mut journal = std::mem::take(&mut self.journal);
        if let Some(dice) = &mut dice {
            // A journal reaches the disk in order, so what survives is its beginning.
            journal.truncate(dice.index(journal.len() + 1));
            for changes in &journal {
                self.persist(changes);
            }
        }
        let mut old = std::mem::take(&mut self.nodes);
        let mut renumbered = HashMap::from([(ROOT, ROOT)]);
        let mut todo = vec![ROOT];
        while let Some(was) = todo.pop() {
            let Some(mut node) = old.remove(&was) else { continue };
            match (&mut node.body, &mut dice) {
                (Body::File(content), None) => content.drop_unsynced(),
                (Body::File(content), Some(dice)) => content.drop_some(dice),
                (Body::Folder(folder), _) => {
                    for number in folder.durable.values_mut() {
                        todo.push(*number);
                        *number = *renumbered.entry(*number).or_insert_with(|| {
                            self.next += 1;
                            self.next - 1
                        });
                    }
                    folder.entries.clone_from(&folder.durable);
                }
            }
            self.nodes.insert(renumbered[&was], node);
        }
        self.has_power = false;
    }
}

fn apply(entries: &mut BTreeMap<OsString, u64>, change: &Change) {
    match change.to {
        Some(number) => entries.insert(change.name.clone(), number),
        None => entries.remove(&change.name),
    };
}
