//! A node's clock of its own, which can jump: libfaketime between the program and the system, told by a file.

use std::{fs, path::Path};

/// What makes a program started with it ask a clock that `file` moves: by seconds, with their sign. Waits are not touched.
///
/// # Panics
/// When libfaketime is not installed.
pub fn environment(file: &Path) -> Vec<(String, String)> {
    set(file, 0);
    let file = file.display().to_string();
    let off = ["DONT_FAKE_MONOTONIC", "FAKETIME_DONT_FAKE_MONOTONIC", "FAKETIME_NO_CACHE"];
    let off = off.map(|name| (name.to_owned(), "1".to_owned()));
    let library = ("LD_PRELOAD".to_owned(), library());
    [&[library, ("FAKETIME_TIMESTAMP_FILE".to_owned(), file)][..], &off].concat()
}

/// Has the clocks that `file` moves differ from the system's by so many seconds.
///
/// # Panics
/// When it can't be written.
pub fn set(file: &Path, seconds: i64) {
    // Nobody must read half of it.
    let new = file.with_extension("new");
    fs::write(&new, format!("{seconds:+}")).expect("a file is written");
    fs::rename(&new, file).expect("a file is renamed");
}

/// Removes what libfaketime leaves behind of a process that was killed.
pub fn clean_up(process: u32) {
    for name in [format!("faketime_shm_{process}"), format!("sem.faketime_sem_{process}")] {
        // It may have had none.
        let _ = fs::remove_file(Path::new("/dev/shm").join(name));
    }
}

/// Debian puts it into the folder of the machine's architecture.
fn library() -> String {
    let folders = fs::read_dir("/usr/lib").expect("there are libraries");
    let mut libraries = folders
        .map(|folder| folder.expect("a folder").path().join("faketime/libfaketimeMT.so.1"))
        .filter(|library| library.exists());
    let library = libraries.next();
    library
        .expect("libfaketime is missing: scripts/apt-install.sh libfaketime")
        .display()
        .to_string()
}
