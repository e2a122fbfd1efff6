//! The next segment, made while the one before it is written: to fill one with zeros takes as long as hundreds of
//! syncs.

use std::{
    io,
    sync::Arc,
    thread::{self, JoinHandle},
};

use super::{
    disk::{Disk, DiskFile, write_whole},
    recovery::{file_name, fill},
    segment::Header,
};
use crate::store::guarded_here;

/// What the next segment is called until it is one. By the ending, what a crash leaves of it is removed at the next
/// start.
const DRAFT: &str = "next.tmp";

/// How many bytes are synced at once, so that no group waits for long while these are written.
const STEP: usize = 1 << 20;

type Filled = io::Result<Arc<dyn DiskFile>>;

pub(super) struct NextSegment {
    disk: Arc<dyn Disk>,
    segment_bytes: usize,
    filling: Option<JoinHandle<Filled>>,
}

impl NextSegment {
    pub(super) fn new(disk: Arc<dyn Disk>, segment_bytes: usize) -> Self {
        Self { disk, segment_bytes, filling: None }
    }

    /// Begins to make the next segment, if it is not begun and half of this one is written.
    pub(super) fn begin(&mut self, header: &Header, end: usize) {
        if self.filling.is_some() || (end as u64) < header.size / 2 {
            return;
        }
        let (disk, size) = (self.disk.clone(), self.segment_bytes);
        let filling = thread::Builder::new().name("catga-segment".to_owned());
        // Without a thread the segment is made when it is needed.
        let fill = move || {
            let filled = guarded_here("next segment of the log", || zeros(&*disk, size));
            filled.unwrap_or_else(|reason| Err(io::Error::other(reason)))
        };
        self.filling = filling.spawn(fill).ok();
    }

    /// The segment with this header. When this fails it may be there all the same.
    pub(super) fn segment(&mut self, header: &Header) -> Filled {
        let name = file_name(header.number);
        match self.take() {
            Some(file) if header.size == self.segment_bytes as u64 => {
                file.write_at(&header.encode(), 0)?;
                file.sync()?;
                self.disk.rename(DRAFT, &name)?;
                self.disk.sync()?;
                Ok(file)
            }
            _ => write_whole(&*self.disk, &name, |file| fill(file, header, None)),
        }
    }

    /// Removes what was made and is not needed any more.
    pub(super) fn discard(&mut self) {
        if self.take().is_some() {
            let _ = self.disk.remove(DRAFT);
        }
    }

    fn take(&mut self) -> Option<Arc<dyn DiskFile>> {
        self.filling.take()?.join().ok()?.ok()
    }
}

/// A file of so many zeros that survive a power cut, but for the file's name.
fn zeros(disk: &dyn Disk, size: usize) -> Filled {
    let file = disk.create(DRAFT)?;
    let zeros = vec![0; STEP.min(size)];
    let filled = (0..size).step_by(STEP).try_for_each(|offset| {
        file.write_at(&zeros[..STEP.min(size - offset)], offset as u64)?;
        file.sync()
    });
    if filled.is_err() {
        // On a full disk it is what fills it.
        let _ = disk.remove(DRAFT);
    }
    filled.map(|()| file)
}
