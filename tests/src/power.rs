//! A disk that forgets what was not synced, for tests of power loss.
//!
//! `kill -9` is no power cut: the page cache survives it. [`PowerFs`] is a FUSE file system in the
//! memory of the test that keeps every file twice, as programs see it and as the disk has it;
//! `fsync` and its kin copy, and [`PowerFs::cut`] drops the rest. Unmodified servers run on it. It
//! also plays a disk that fails ([`PowerFs::fail_syncs`]) or is full ([`PowerFs::fill`]).
//!
//! It models a lost page cache. It does not model a disk that lies about its own cache, and there
//! is no `mmap` of shared pages, no link and no extended attribute on it.
//!
//! It needs Linux with `/dev/fuse`, and root or the package fuse3; see [`PowerFs::mount`].

mod content;
mod disk;
mod fuse;

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use fuser::{BackgroundSession, Config, MountOption, Session};
use tempfile::TempDir;

use self::{disk::Disk, fuse::Shared};

/// What the names of the folders for mounts begin with; the number of their process follows.
const PREFIX: &str = "catga-power-";

/// When the entries of a folder are durable: made, renamed and removed names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Metadata {
    /// At once. What is said about a backend then rests on its files' bytes alone.
    Durable,
    /// When the folder is synced, as POSIX has it; most file systems keep more.
    UntilSynced,
}

/// What a power cut takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// All that was not synced.
    Drop,
    /// Some of it, chosen by a seed: the disk was writing back. A random subset of the unsynced
    /// pages arrived, of the last one perhaps only some 512-byte sectors, and the first of the
    /// unsynced changes to folders.
    Random(u64),
}

/// What was asked of the disk, so that a test can tell that a fault has bitten.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Syncs that went well, of files and folders, and synchronous writes.
    pub syncs: u64,
    /// Syncs answered with an I/O error.
    pub failed_syncs: u64,
    /// Writes and allocations answered with "no space left".
    pub refused_writes: u64,
}

/// A mounted disk. It is unmounted and gone when dropped; what has files open on it must be gone
/// by then.
#[derive(Debug)]
pub struct PowerFs {
    shared: Shared,
    /// `None` once it is unmounted.
    session: Option<BackgroundSession>,
    folder: Option<TempDir>,
}

impl PowerFs {
    /// Mounts an empty disk in a temporary folder.
    ///
    /// # Panics
    /// When it can't be mounted, with what is needed for it: a test that needs power cuts does not
    /// pass without them.
    #[track_caller]
    pub fn mount(metadata: Metadata) -> Self {
        assert!(
            Path::new("/dev/fuse").exists(),
            "tests of power loss need /dev/fuse: load the kernel's module `fuse`, and give a \
             container `--device /dev/fuse --cap-add SYS_ADMIN`"
        );
        sweep();
        let folder = TempDir::with_prefix(format!("{PREFIX}{}-", std::process::id()))
            .expect("a temporary folder can be made");
        let owner = folder.path().metadata().expect("it was just made");
        let shared = Shared::new(Disk::new(metadata, owner.uid(), owner.gid()));
        let mut config = Config::default();
        config.mount_options = vec![
            MountOption::FSName("catga-power".to_owned()),
            MountOption::NoSuid,
            MountOption::NoDev,
        ];
        let session = Session::new(shared.clone(), folder.path(), &config)
            .and_then(Session::spawn)
            .unwrap_or_else(|error| {
                panic!(
                    "/dev/fuse is there, and mounting failed: {error}. Run the test as root, or \
                     install fusermount3 (Debian and Ubuntu: apt-get install fuse3)"
                )
            });
        Self { shared, session: Some(session), folder: Some(folder) }
    }

    /// Where it is mounted.
    pub fn path(&self) -> PathBuf {
        self.folder.as_ref().expect("it is there until the drop").path().to_owned()
    }

    /// Cuts the power. From this instant every call on the mount fails with an I/O error, so end
    /// what runs on it, and then [`restore`](Self::restore) the power. Files that are open now fail
    /// for ever.
    pub fn cut(&self, how: Cut) {
        self.shared.lock().cut(how);
    }

    /// Gives the power back. The mount has what was durable, and no faults.
    pub fn restore(&self) {
        let mut disk = self.shared.lock();
        disk.has_power = true;
        disk.failing_syncs = 0;
        disk.room = None;
    }

    /// Lets the next `n` syncs fail with an I/O error; all, with `u32::MAX`; none, with 0. What a
    /// failed sync should have brought to the disk stays readable and is lost with the power: no
    /// later sync writes it, as on Linux.
    pub fn fail_syncs(&self, n: u32) {
        self.shared.lock().failing_syncs = n;
    }

    /// Leaves room for `bytes` more, in whole pages; after that a write that needs more is cut
    /// short or fails with "no space left".
    pub fn fill(&self, bytes: u64) {
        self.shared.lock().room = Some(bytes);
    }

    /// Makes room again after [`fill`](Self::fill).
    pub fn make_room(&self) {
        self.shared.lock().room = None;
    }

    /// What was asked of the disk so far.
    pub fn counts(&self) -> Counts {
        self.shared.lock().counts
    }
}

/// Unmounts what killed tests have left. A test that is killed in the middle of a call on its own
/// mount can't even end: it waits for an answer that it should have given itself.
fn sweep() {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    for path in mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let owner = name.strip_prefix(PREFIX).and_then(|rest| rest.split('-').next());
        if owner.is_some_and(is_killed) && unmount(path) {
            let _ = fs::remove_dir(path);
        }
    }
}

/// Whether the process with this number is gone, or will be as soon as it can.
fn is_killed(process: &str) -> bool {
    let Ok(status) = fs::read_to_string(format!("/proc/{process}/status")) else { return true };
    let field = |name| status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
    let has_kill =
        |set: &str| u64::from_str_radix(set.trim(), 16).is_ok_and(|set| set & 0x100 != 0);
    field("State:").trim().starts_with('Z')
        || ["SigPnd:", "ShdPnd:"].map(field).iter().any(|set| has_kill(set))
}

/// Detaches a mount and ends what waits for it, without a look at it that could wait too.
fn unmount(path: &Path) -> bool {
    let umount = Command::new("umount")
        .args(["--force", "--lazy", "--no-canonicalize"])
        .arg(path)
        .stderr(Stdio::null())
        .status();
    umount.is_ok_and(|status| status.success())
}

impl Drop for PowerFs {
    fn drop(&mut self) {
        let path = self.path();
        let session = self.session.take();
        if unmount(&path) {
            drop(session);
        } else if let Some(Err(error)) = session.map(BackgroundSession::umount_and_join) {
            eprintln!("{} stays mounted: {error}", path.display());
            // Not removed: that would empty the mounted disk, not the folder.
            self.folder.take().map(TempDir::keep);
        }
    }
}
