//! The bytes of one file, twice: as programs see them, and as the disk has them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use crate::dice::Dice;

/// The unit in which a page cache is written to the disk.
pub(super) const PAGE: usize = 4096;

/// The unit that a disk writes whole.
const SECTOR: usize = 512;

type Page = Arc<[u8; PAGE]>;

/// One copy of a file. A page that is not there is a hole: zeros.
#[derive(Debug, Clone, Default)]
struct Copy {
    size: u64,
    pages: BTreeMap<u64, Page>,
}

/// A file's bytes. The two copies share the pages that are equal, so that a sync costs what is
/// dirty and not the whole file.
#[derive(Debug, Default)]
pub(super) struct Content {
    volatile: Copy,
    durable: Copy,
    /// The pages that the next sync brings to the disk. A failed sync empties it, as on Linux.
    dirty: BTreeSet<u64>,
}

/// The page that holds `offset`, and where in it.
fn locate(offset: u64) -> (u64, usize) {
    let page = PAGE as u64;
    (offset / page, usize::try_from(offset % page).expect("less than a page"))
}

fn start(page: u64) -> u64 {
    page * PAGE as u64
}

impl Copy {
    fn set_size(&mut self, size: u64) {
        let (page, within) = locate(size);
        let whole_pages = if within == 0 { page } else { page + 1 };
        self.pages.split_off(&whole_pages);
        if within > 0
            && let Some(last) = self.pages.get_mut(&page)
        {
            // What is cut off must not come back when the file grows again.
            Arc::make_mut(last)[within..].fill(0);
        }
        self.size = size;
    }
}

impl Content {
    pub(super) fn size(&self) -> u64 {
        self.volatile.size
    }

    /// How many bytes of disk it takes.
    pub(super) fn allocated(&self) -> u64 {
        start(self.volatile.pages.len() as u64)
    }

    /// How many bytes of disk a write there would take beyond what the file has.
    pub(super) fn growth(&self, offset: u64, len: u64) -> u64 {
        if len == 0 {
            return 0;
        }
        let (first, _) = locate(offset);
        let (last, _) = locate(offset + len - 1);
        let there = self.volatile.pages.range(first..=last).count() as u64;
        start(last - first + 1 - there)
    }

    pub(super) fn read(&self, offset: u64, len: usize) -> Vec<u8> {
        let end = self.volatile.size.min(offset.saturating_add(len as u64));
        let mut bytes = Vec::with_capacity(len);
        let mut at = offset;
        while at < end {
            let (page, within) = locate(at);
            let n = usize::try_from(end - at).map_or(PAGE, |left| left.min(PAGE - within));
            match self.volatile.pages.get(&page) {
                Some(page) => bytes.extend_from_slice(&page[within..within + n]),
                None => bytes.resize(bytes.len() + n, 0),
            }
            at += n as u64;
        }
        bytes
    }

    pub(super) fn write(&mut self, offset: u64, mut bytes: &[u8]) {
        let mut at = offset;
        while !bytes.is_empty() {
            let (page, within) = locate(at);
            let n = bytes.len().min(PAGE - within);
            let there = self.volatile.pages.entry(page).or_insert_with(|| Arc::new([0; PAGE]));
            Arc::make_mut(there)[within..within + n].copy_from_slice(&bytes[..n]);
            self.dirty.insert(page);
            at += n as u64;
            bytes = &bytes[n..];
        }
        self.volatile.size = self.volatile.size.max(at);
    }

    pub(super) fn set_size(&mut self, size: u64) {
        if size < self.volatile.size {
            let (first, _) = locate(size);
            let gone = self.volatile.pages.range(first..).map(|(page, _)| *page);
            self.dirty.extend(gone);
        }
        self.volatile.set_size(size);
    }

    /// Gives pages to a range, as `fallocate` does: zeros where there was nothing.
    pub(super) fn allocate(&mut self, offset: u64, len: u64, zeros: &Zeros) {
        let (first, _) = locate(offset);
        let (last, _) = locate(offset + len.max(1) - 1);
        for page in first..=last {
            if let std::collections::btree_map::Entry::Vacant(hole) =
                self.volatile.pages.entry(page)
            {
                hole.insert(zeros.0.clone());
                self.dirty.insert(page);
            }
        }
    }

    /// Brings what is dirty to the disk.
    pub(super) fn sync(&mut self) {
        for page in std::mem::take(&mut self.dirty) {
            match self.volatile.pages.get(&page) {
                Some(bytes) => self.durable.pages.insert(page, bytes.clone()),
                None => self.durable.pages.remove(&page),
            };
        }
        if self.durable.size > self.volatile.size {
            self.durable.set_size(self.volatile.size);
        }
        self.durable.size = self.volatile.size;
    }

    /// A sync that the disk refused. The data stays visible and is clean from here on, so no later
    /// sync brings it to the disk (Rebello et al., "Can Applications Recover from fsync
    /// Failures?", ATC 2020).
    pub(super) fn fail_sync(&mut self) {
        self.dirty.clear();
    }

    /// What the disk has after a power cut that took everything unsynced.
    pub(super) fn drop_unsynced(&mut self) {
        self.dirty.clear();
        self.volatile = self.durable.clone();
    }

    /// What the disk has after a power cut in the middle of writing back: some of the dirty pages
    /// arrived, in any order, and the last of those perhaps only in part.
    pub(super) fn drop_some(&mut self, dice: &mut Dice) {
        let arrived: Vec<u64> = self.dirty.iter().copied().filter(|_| dice.coin()).collect();
        let mut disk = self.durable.clone();
        for page in &arrived {
            match self.volatile.pages.get(page) {
                Some(bytes) => disk.pages.insert(*page, bytes.clone()),
                None => disk.pages.remove(page),
            };
        }
        if let Some(last) = arrived.last() {
            self.tear(&mut disk, *last, dice);
        }
        let size = self.surviving_size(&arrived, dice);
        disk.set_size(size);
        self.durable = disk.clone();
        self.volatile = disk;
        self.dirty.clear();
    }

    /// Lets only the first sectors of `page` arrive.
    fn tear(&self, disk: &mut Copy, page: u64, dice: &mut Dice) {
        let Some(bytes) = disk.pages.get_mut(&page) else { return };
        let from = SECTOR * dice.index(PAGE / SECTOR + 1);
        let bytes = Arc::make_mut(bytes);
        match self.durable.pages.get(&page) {
            Some(old) => bytes[from..].copy_from_slice(&old[from..]),
            None => bytes[from..].fill(0),
        }
    }

    /// The size is metadata: it may arrive before the data (then the rest is zeros), with it, or
    /// not at all.
    fn surviving_size(&self, arrived: &[u64], dice: &mut Dice) -> u64 {
        let (old, new) = (self.durable.size, self.volatile.size);
        match (dice.below(3), arrived.last()) {
            (0, _) | (_, None) => old,
            (1, Some(_)) => new,
            (_, Some(last)) => old.max(start(last + 1)).min(old.max(new)),
        }
    }
}

/// The page that all fresh allocations share until they are written.
#[derive(Debug)]
pub(super) struct Zeros(Page);

impl Zeros {
    pub(super) fn new() -> Self {
        Self(Arc::new([0; PAGE]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(content: &Content) -> Vec<u8> {
        content.read(0, 1 << 20)
    }

    #[test]
    fn what_was_cut_off_does_not_come_back_when_the_file_grows() {
        let mut content = Content::default();
        content.write(0, &[7; 9000]);
        content.sync();
        content.set_size(5000);
        content.set_size(9000);
        assert_eq!(all(&content)[..5000], [7; 5000]);
        assert_eq!(all(&content)[5000..], [0; 4000]);
        content.sync();
        content.drop_unsynced();
        assert_eq!(all(&content)[5000..], [0; 4000], "and not on the disk either");
    }

    #[test]
    fn a_sync_shares_the_pages_instead_of_copying_them() {
        let mut content = Content::default();
        content.write(0, &[1; PAGE]);
        content.sync();
        assert!(Arc::ptr_eq(&content.volatile.pages[&0], &content.durable.pages[&0]));
        content.write(0, &[2; 1]);
        assert_eq!(content.durable.pages[&0][0], 1, "a write does not reach the disk by itself");
    }

    #[test]
    fn a_random_cut_keeps_what_was_synced_and_nothing_that_was_never_written() {
        for seed in 0..500 {
            let mut content = Content::default();
            content.write(0, &[1; 3 * PAGE]);
            content.sync();
            content.write(3 * PAGE as u64, &[2; 5 * PAGE + 100]);
            content.drop_some(&mut Dice::new(seed));
            let bytes = all(&content);
            assert!(bytes.len() >= 3 * PAGE && bytes.len() <= 8 * PAGE + 100, "seed {seed}");
            assert!(bytes[..3 * PAGE].iter().all(|b| *b == 1), "seed {seed}");
            assert!(bytes[3 * PAGE..].chunks(SECTOR).all(|sector| {
                sector.iter().all(|b| *b == 0) || sector.iter().all(|b| *b == 2) || sector.len() < SECTOR
                    // The last page was written in part, so its sector is part zeros.
                    || sector.starts_with(&[2])
            }));
        }
    }

    #[test]
    fn random_cuts_lose_all_keep_all_and_tear() {
        let (mut lost, mut kept, mut torn) = (0, 0, 0);
        for seed in 0..200 {
            let mut content = Content::default();
            content.write(0, &[1; PAGE]);
            content.drop_some(&mut Dice::new(seed));
            match all(&content).iter().filter(|b| **b == 1).count() {
                0 => lost += 1,
                PAGE => kept += 1,
                _ => torn += 1,
            }
        }
        assert!(lost > 0 && kept > 0 && torn > 0, "{lost} lost, {kept} kept, {torn} torn");
    }
}
