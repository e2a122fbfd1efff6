//! Where a node's log lines go, and what can happen there: nobody drains the pipe, or its reader is gone, and comes back.

use std::{
    fs::File,
    io::Write,
    path::{Path, PathBuf},
    process::Stdio,
};

use tokio::{
    io::AsyncReadExt,
    net::unix::pipe::{OpenOptions, Receiver},
    process::Command,
    sync::watch,
    task::AbortHandle,
};

/// Who reads a pipe.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reader {
    /// It puts all lines into a file.
    #[default]
    Reads,
    /// It does not read, and the pipe is full soon.
    StandsStill,
    /// There is none: writes fail.
    IsGone,
}

/// A named pipe, so that a reader that has gone can come back while the writer goes on.
#[derive(Debug)]
pub struct LogPipe {
    writer: File,
    reader: watch::Sender<Reader>,
    reading: AbortHandle,
}

impl LogPipe {
    /// A pipe at `path`, whose lines go to `log`.
    ///
    /// # Panics
    /// When it can't be made.
    pub async fn new(path: PathBuf, log: &Path) -> Self {
        let made = Command::new("mkfifo").arg(&path).status().await;
        assert!(made.expect("`mkfifo` can be run").success());
        let receiver = open(&path);
        let writer = File::options().write(true).open(&path).expect("it has a reader");
        let log = File::options().create(true).append(true).open(log).expect("a file is made");
        let reader = watch::Sender::default();
        let reading = tokio::spawn(read(receiver, path, log, reader.subscribe())).abort_handle();
        Self { writer, reader, reading }
    }

    /// Its other end, for a process.
    ///
    /// # Panics
    /// When there are no more descriptors.
    pub fn stdio(&self) -> Stdio {
        self.writer.try_clone().expect("there is a descriptor").into()
    }

    /// Changes who reads it.
    pub fn set(&self, reader: Reader) {
        self.reader.send_replace(reader);
    }
}

impl Drop for LogPipe {
    fn drop(&mut self) {
        self.reading.abort();
    }
}

fn open(path: &Path) -> Receiver {
    OpenOptions::new().open_receiver(path).expect("a pipe can be opened")
}

async fn read(first: Receiver, path: PathBuf, mut log: File, mut reader: watch::Receiver<Reader>) {
    let (mut receiver, mut buffer) = (Some(first), vec![0; 64 << 10]);
    loop {
        let now = *reader.borrow_and_update();
        let changed = match now {
            Reader::Reads => {
                let receiver = receiver.get_or_insert_with(|| open(&path));
                tokio::select! {
                    changed = reader.changed() => changed,
                    read = receiver.read(&mut buffer) => {
                        let read = read.expect("a pipe can be read");
                        log.write_all(&buffer[..read]).expect("the file can be written");
                        Ok(())
                    }
                }
            }
            Reader::StandsStill => reader.changed().await,
            Reader::IsGone => {
                receiver = None;
                reader.changed().await
            }
        };
        if changed.is_err() {
            return;
        }
    }
}
