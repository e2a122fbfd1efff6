//! The disk as the kernel asks for it.
//!
//! Every file is opened for direct I/O, so the kernel caches neither bytes nor names: after a power
//! cut nobody can see what the disk no longer has. Locks stay with the kernel.

use std::{
    ffi::OsStr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use fuser::{
    BsdFileFlags, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation,
    INodeNo, LockOwner, OpenFlags, RenameFlags, ReplyAttr, ReplyCreate, ReplyData, ReplyDirectory,
    ReplyEmpty, ReplyEntry, ReplyOpen, ReplyStatfs, ReplyWrite, Request, TimeOrNow, WriteFlags,
};

use super::{
    content::{Content, PAGE},
    disk::{Answer, Body, CAPACITY, Disk, Folder},
};

/// Nothing may be cached.
const TTL: Duration = Duration::ZERO;

const GENERATION: Generation = Generation(0);

/// What the session thread works on, and the test beside it.
#[derive(Debug, Clone)]
pub(super) struct Shared(Arc<Mutex<Disk>>);

impl Shared {
    pub(super) fn new(disk: Disk) -> Self {
        Self(Arc::new(Mutex::new(disk)))
    }

    /// The disk, with power or without.
    pub(super) fn lock(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The disk, if it has power.
    fn powered(&self) -> Answer<MutexGuard<'_, Disk>> {
        let disk = self.lock();
        if disk.has_power { Ok(disk) } else { Err(Errno::EIO) }
    }

    fn attributes(&self, number: u64) -> Answer<FileAttr> {
        attributes(&*self.powered()?, number)
    }

    /// Makes a file or a folder, and answers its attributes.
    fn make(
        &self,
        r: &Request,
        parent: INodeNo,
        name: &OsStr,
        body: Body,
        mode: u32,
    ) -> Answer<FileAttr> {
        let mut disk = self.powered()?;
        let number = disk.make(parent.into(), name, body, mode, (r.uid(), r.gid()))?;
        attributes(&disk, number)
    }
}

fn attributes(disk: &Disk, number: u64) -> Answer<FileAttr> {
    let node = disk.node(number)?;
    let (kind, size, allocated, nlink) = match &node.body {
        Body::File(content) => (FileType::RegularFile, content.size(), content.allocated(), 1),
        Body::Folder(_) => (FileType::Directory, PAGE as u64, PAGE as u64, 2),
    };
    Ok(FileAttr {
        ino: INodeNo(number),
        size,
        blocks: allocated / 512,
        atime: node.modified,
        mtime: node.modified,
        ctime: node.modified,
        crtime: node.modified,
        kind,
        perm: u16::try_from(node.mode & 0o7777).expect("twelve bits"),
        nlink,
        uid: node.uid,
        gid: node.gid,
        rdev: 0,
        blksize: 4096,
        flags: 0,
    })
}

fn done(answer: Answer<()>, reply: ReplyEmpty) {
    match answer {
        Ok(()) => reply.ok(),
        Err(error) => reply.error(error),
    }
}

fn entry(answer: Answer<FileAttr>, reply: ReplyEntry) {
    match answer {
        Ok(attributes) => reply.entry(&TTL, &attributes, GENERATION),
        Err(error) => reply.error(error),
    }
}

impl Filesystem for Shared {
    fn lookup(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
        let found = self.powered().and_then(|disk| {
            let number = disk.lookup(parent.into(), name)?;
            attributes(&disk, number)
        });
        entry(found, reply);
    }

    fn getattr(&self, _: &Request, ino: INodeNo, _: Option<FileHandle>, reply: ReplyAttr) {
        match self.attributes(ino.into()) {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn setattr(
        &self,
        _: &Request,
        ino: INodeNo,
        mode: Option<u32>,
        uid: Option<u32>,
        gid: Option<u32>,
        size: Option<u64>,
        _: Option<TimeOrNow>,
        mtime: Option<TimeOrNow>,
        _: Option<SystemTime>,
        _: Option<FileHandle>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<SystemTime>,
        _: Option<BsdFileFlags>,
        reply: ReplyAttr,
    ) {
        let changed = self.powered().and_then(|mut disk| {
            if let Some(size) = size {
                disk.set_size(ino.into(), size)?;
            }
            let node = disk.node_mut(ino.into())?;
            node.mode = mode.unwrap_or(node.mode);
            node.uid = uid.unwrap_or(node.uid);
            node.gid = gid.unwrap_or(node.gid);
            node.modified = match mtime {
                Some(TimeOrNow::SpecificTime(time)) => time,
                Some(TimeOrNow::Now) => SystemTime::now(),
                None => node.modified,
            };
            attributes(&disk, ino.into())
        });
        match changed {
            Ok(attributes) => reply.attr(&TTL, &attributes),
            Err(error) => reply.error(error),
        }
    }

    fn mknod(
        &self,
        r: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: u32,
        reply: ReplyEntry,
    ) {
        if mode & libc::S_IFMT != libc::S_IFREG {
            return reply.error(Errno::EPERM);
        }
        let body = Body::File(Content::default());
        entry(self.make(r, parent, name, body, mode & !umask), reply);
    }

    fn mkdir(
        &self,
        r: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        reply: ReplyEntry,
    ) {
        let body = Body::Folder(Folder::default());
        entry(self.make(r, parent, name, body, mode & !umask), reply);
    }

    fn create(
        &self,
        r: &Request,
        parent: INodeNo,
        name: &OsStr,
        mode: u32,
        umask: u32,
        _: i32,
        reply: ReplyCreate,
    ) {
        let body = Body::File(Content::default());
        match self.make(r, parent, name, body, mode & !umask) {
            Ok(attributes) => {
                let handle = FileHandle(attributes.ino.into());
                reply.created(&TTL, &attributes, GENERATION, handle, FopenFlags::FOPEN_DIRECT_IO);
            }
            Err(error) => reply.error(error),
        }
    }

    fn unlink(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.powered().and_then(|mut disk| disk.unlink(parent.into(), name)), reply);
    }

    fn rmdir(&self, _: &Request, parent: INodeNo, name: &OsStr, reply: ReplyEmpty) {
        done(self.powered().and_then(|mut disk| disk.rmdir(parent.into(), name)), reply);
    }

    fn rename(
        &self,
        _: &Request,
        parent: INodeNo,
        name: &OsStr,
        newparent: INodeNo,
        newname: &OsStr,
        flags: RenameFlags,
        reply: ReplyEmpty,
    ) {
        let renamed = self.powered().and_then(|mut disk| {
            let (from, to) = ((parent.into(), name), (newparent.into(), newname));
            match flags {
                RenameFlags::RENAME_NOREPLACE if disk.lookup(to.0, to.1).is_ok() => {
                    Err(Errno::EEXIST)
                }
                RenameFlags::RENAME_EXCHANGE | RenameFlags::RENAME_WHITEOUT => Err(Errno::EINVAL),
                _ => disk.rename(from, to),
            }
        });
        done(renamed, reply);
    }

    fn open(&self, _: &Request, ino: INodeNo, _: OpenFlags, reply: ReplyOpen) {
        match self.attributes(ino.into()) {
            Ok(_) => reply.opened(FileHandle(ino.into()), FopenFlags::FOPEN_DIRECT_IO),
            Err(error) => reply.error(error),
        }
    }

    fn read(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        size: u32,
        _: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyData,
    ) {
        let read = self.powered().and_then(|disk| {
            let size = usize::try_from(size).expect("32 bits fit");
            disk.read(ino.into(), offset, size)
        });
        match read {
            Ok(bytes) => reply.data(&bytes),
            Err(error) => reply.error(error),
        }
    }

    fn write(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        data: &[u8],
        _: WriteFlags,
        flags: OpenFlags,
        _: Option<LockOwner>,
        reply: ReplyWrite,
    ) {
        // O_SYNC holds the bit of O_DSYNC too.
        let is_synced = flags.0 & libc::O_DSYNC != 0;
        match self.powered().and_then(|mut disk| disk.write(ino.into(), offset, data, is_synced)) {
            Ok(written) => reply.written(u32::try_from(written).expect("a write is under 4 GiB")),
            Err(error) => reply.error(error),
        }
    }

    fn flush(&self, _: &Request, _: INodeNo, _: FileHandle, _: LockOwner, reply: ReplyEmpty) {
        // Closing a file brings nothing to the disk.
        reply.ok();
    }

    fn fsync(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.powered().and_then(|mut disk| disk.sync_file(ino.into())), reply);
    }

    fn fsyncdir(&self, _: &Request, ino: INodeNo, _: FileHandle, _: bool, reply: ReplyEmpty) {
        done(self.powered().and_then(|mut disk| disk.sync_folder(ino.into())), reply);
    }

    fn readdir(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        mut reply: ReplyDirectory,
    ) {
        let disk = match self.powered() {
            Ok(disk) => disk,
            Err(error) => return reply.error(error),
        };
        let folder = match disk.folder(ino.into()) {
            Ok(folder) => folder,
            Err(error) => return reply.error(error),
        };
        // An entry's offset is its number, so removing others while listing skips none.
        let mut entries: Vec<_> = folder.entries.iter().filter(|e| *e.1 > offset).collect();
        entries.sort_by_key(|(_, number)| **number);
        for (name, number) in entries {
            let kind = match disk.node(*number).map(|node| &node.body) {
                Ok(Body::Folder(_)) => FileType::Directory,
                _ => FileType::RegularFile,
            };
            if reply.add(INodeNo(*number), *number, kind, name) {
                break;
            }
        }
        reply.ok();
    }

    fn statfs(&self, _: &Request, _: INodeNo, reply: ReplyStatfs) {
        let block = PAGE as u64;
        let free = self.lock().room.unwrap_or(CAPACITY) / block;
        reply.statfs(CAPACITY / block, free, free, 1 << 20, 1 << 20, 4096, 255, 4096);
    }

    fn fallocate(
        &self,
        _: &Request,
        ino: INodeNo,
        _: FileHandle,
        offset: u64,
        length: u64,
        mode: i32,
        reply: ReplyEmpty,
    ) {
        if mode & !libc::FALLOC_FL_KEEP_SIZE != 0 {
            return reply.error(Errno::EOPNOTSUPP);
        }
        let keeps_size = mode != 0;
        let allocated = self
            .powered()
            .and_then(|mut disk| disk.allocate(ino.into(), offset, length, keeps_size));
        done(allocated, reply);
    }
}
