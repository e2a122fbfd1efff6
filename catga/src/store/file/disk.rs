//! The few things that the file store asks of a disk. Behind a trait, so that tests can cut the power after
//! any one of them.

use std::{
    fmt,
    fs::{self, File},
    io,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::Arc,
};

/// One directory of files.
pub(super) trait Disk: fmt::Debug + Send + Sync + 'static {
    /// The names of the files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file that is there.
    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Makes an empty file, also in place of one that is there.
    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>>;

    /// Gives a file another name, in place of a file that has it.
    fn rename(&self, from: &str, to: &str) -> io::Result<()>;

    /// Removes a file.
    fn remove(&self, name: &str) -> io::Result<()>;

    /// Returns once what was created, renamed and removed before survives a power cut.
    fn sync(&self) -> io::Result<()>;
}

/// An open file.
pub(super) trait DiskFile: fmt::Debug + Send + Sync + 'static {
    /// Its size in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset` on; an error when the file ends before.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Fills `buffer` from `offset` on if the bytes are in memory, so that nobody waits for the disk. Answers whether
    /// it did.
    fn read_now(&self, buffer: &mut [u8], offset: u64) -> bool;

    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Returns once what was written before survives a power cut.
    fn sync(&self) -> io::Result<()>;
}

/// Writes a file under `name` so that, whenever the power fails, either all of it is there or what was there
/// before. `fill` writes its contents.
pub(super) fn write_whole(
    disk: &dyn Disk,
    name: &str,
    fill: impl FnOnce(&dyn DiskFile) -> io::Result<()>,
) -> io::Result<Arc<dyn DiskFile>> {
    let draft = format!("{name}.tmp");
    let written = disk.create(&draft).and_then(|file| {
        fill(&*file)?;
        file.sync()?;
        disk.rename(&draft, name)?;
        disk.sync()?;
        Ok(file)
    });
    if written.is_err() {
        // On a full disk the draft is what fills it. It is removed at the next start, too.
        let _ = disk.remove(&draft);
    }
    written
}

/// All of a file.
pub(super) fn read_whole(disk: &dyn Disk, name: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    read_into(disk, name, &mut bytes)?;
    Ok(bytes)
}

/// Makes `bytes` all of a file. Their memory is kept, as it takes longer to get new memory than to read.
pub(super) fn read_into(disk: &dyn Disk, name: &str, bytes: &mut Vec<u8>) -> io::Result<()> {
    let file = disk.open(name)?;
    let length = usize::try_from(file.len()?).map_err(io::Error::other)?;
    if bytes.len() != length {
        *bytes = vec![0; length];
    }
    file.read_at(bytes, 0)
}

/// A directory of the operating system.
#[derive(Debug)]
pub(super) struct OsDisk {
    directory: PathBuf,
}

impl OsDisk {
    /// The directory at `path`, which is made when it is not there, so that it survives a power cut.
    pub(super) fn at(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let missing: Vec<_> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        for directory in missing.iter().rev() {
            fs::create_dir(directory).or_else(|error| match error.kind() {
                io::ErrorKind::AlreadyExists => Ok(()),
                _ => Err(error),
            })?;
            File::open(directory.parent().unwrap_or(directory))?.sync_all()?;
        }
        Ok(Self { directory: path })
    }
}

impl Disk for OsDisk {
    fn list(&self) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.extend(entry.file_name().into_string().ok());
            }
        }
        Ok(names)
    }

    fn open(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let file = File::options().read(true).write(true).open(self.directory.join(name))?;
        Ok(Arc::new(file))
    }

    fn create(&self, name: &str) -> io::Result<Arc<dyn DiskFile>> {
        let path = self.directory.join(name);
        Ok(Arc::new(File::options().read(true).write(true).create(true).truncate(true).open(path)?))
    }

    fn rename(&self, from: &str, to: &str) -> io::Result<()> {
        fs::rename(self.directory.join(from), self.directory.join(to))
    }

    fn remove(&self, name: &str) -> io::Result<()> {
        fs::remove_file(self.directory.join(name))
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.directory)?.sync_all()
    }
}

impl DiskFile for File {
    fn len(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_exact_at(buffer, offset)
    }

    #[cfg(target_os = "linux")]
    fn read_now(&self, buffer: &mut [u8], offset: u64) -> bool {
        use rustix::io::{ReadWriteFlags, preadv2};
        let length = buffer.len();
        let buffer = &mut [io::IoSliceMut::new(buffer)];
        preadv2(self, buffer, offset, ReadWriteFlags::NOWAIT).is_ok_and(|read| read == length)
    }

    #[cfg(not(target_os = "linux"))]
    fn read_now(&self, _: &mut [u8], _: u64) -> bool {
        false
    }

    fn write_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write_all_at(bytes, offset)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
