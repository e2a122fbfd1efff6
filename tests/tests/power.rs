//! The disk for tests of power loss, by what `std::fs` sees on it.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, ErrorKind, Write},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use catga_tests::power::{Cut, Metadata, PowerFs};

fn sync_folder(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

/// A file with its name on the disk and the synced text `old`.
fn synced(disk: &PowerFs, name: &str) -> File {
    let file = File::create_new(disk.path().join(name)).unwrap();
    file.write_all_at(b"old", 0).unwrap();
    file.sync_data().unwrap();
    sync_folder(&disk.path()).unwrap();
    file
}

fn cut(disk: &PowerFs) {
    disk.cut(Cut::Drop);
    disk.restore();
}

fn names(path: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn what_was_synced_survives_and_the_rest_is_gone() {
    let disk = PowerFs::mount(Metadata::UntilSynced);
    let path = disk.path().join("a");
    let file = synced(&disk, "a");
    file.write_all_at(b"new", 3).unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"oldnew", "it can be read until the cut");
    cut(&disk);
    assert_eq!(fs::read(&path).unwrap(), b"old");

    // Overwritten and cut off, without a sync: the old bytes are back.
    let file = OpenOptions::new().write(true).open(&path).unwrap();
    file.set_len(1).unwrap();
    file.write_all_at(b"X", 0).unwrap();
    cut(&disk);
    assert_eq!(fs::read(&path).unwrap(), b"old");
}

#[test]
fn a_synchronous_write_survives() {
    let disk = PowerFs::mount(Metadata::Durable);
    for flag in [libc::O_DSYNC, libc::O_SYNC] {
        let path = disk.path().join(format!("f{flag}"));
        let mut file =
            OpenOptions::new().create(true).append(true).custom_flags(flag).open(&path).unwrap();
        file.write_all(b"one").unwrap();
        file.write_all(b"two").unwrap();
        cut(&disk);
        assert_eq!(fs::read(&path).unwrap(), b"onetwo");
    }
}

#[test]
fn names_are_lost_until_their_folder_is_synced() {
    let disk = PowerFs::mount(Metadata::UntilSynced);
    let path = disk.path();
    drop(synced(&disk, "kept"));
    drop(synced(&disk, "renamed"));
    drop(synced(&disk, "removed"));
    File::create_new(path.join("made")).unwrap().sync_all().unwrap();
    fs::rename(path.join("renamed"), path.join("other")).unwrap();
    fs::remove_file(path.join("removed")).unwrap();
    assert_eq!(names(&path), ["kept", "made", "other"]);
    cut(&disk);
    assert_eq!(names(&path), ["kept", "removed", "renamed"]);

    fs::rename(path.join("renamed"), path.join("kept")).unwrap();
    fs::create_dir(path.join("folder")).unwrap();
    sync_folder(&path).unwrap();
    File::create_new(path.join("folder/lost")).unwrap().sync_all().unwrap();
    cut(&disk);
    assert_eq!(names(&path), ["folder", "kept", "removed"]);
    assert_eq!(names(&path.join("folder")), [""; 0]);
    fs::remove_dir(path.join("folder")).unwrap();
}

#[test]
fn durable_metadata_keeps_names_and_not_bytes() {
    let disk = PowerFs::mount(Metadata::Durable);
    let path = disk.path();
    fs::create_dir_all(path.join("a/b")).unwrap();
    fs::write(path.join("a/b/new"), "text").unwrap();
    fs::rename(path.join("a/b/new"), path.join("a/moved")).unwrap();
    cut(&disk);
    assert_eq!(names(&path.join("a")), ["b", "moved"]);
    assert_eq!(fs::read(path.join("a/moved")).unwrap(), b"");
}

#[test]
fn without_power_everything_fails_and_what_was_open_stays_dead() {
    let disk = PowerFs::mount(Metadata::UntilSynced);
    let file = synced(&disk, "a");
    disk.cut(Cut::Drop);
    assert!(fs::read(disk.path().join("a")).is_err());
    assert!(File::create(disk.path().join("b")).is_err());
    disk.restore();
    assert_eq!(fs::read(disk.path().join("a")).unwrap(), b"old");
    assert!(file.write_all_at(b"X", 0).is_err(), "its program died with the power");
    assert!(file.sync_all().is_err());
    assert_eq!(fs::read(disk.path().join("a")).unwrap(), b"old");
}

#[test]
fn after_a_failed_sync_no_later_one_saves_the_data() {
    let disk = PowerFs::mount(Metadata::UntilSynced);
    let path = disk.path().join("a");
    let file = synced(&disk, "a");
    disk.fail_syncs(1);
    file.write_all_at(b"new", 0).unwrap();
    assert_eq!(file.sync_data().unwrap_err().raw_os_error(), Some(libc::EIO));
    assert_eq!(fs::read(&path).unwrap(), b"new", "it stays visible");
    file.sync_all().unwrap();
    assert_eq!(disk.counts().failed_syncs, 1);
    cut(&disk);
    assert_eq!(fs::read(&path).unwrap(), b"old", "the sync that went well was a lie");

    disk.fail_syncs(u32::MAX);
    let file = OpenOptions::new().write(true).custom_flags(libc::O_DSYNC).open(&path).unwrap();
    assert!(file.write_at(b"new", 0).is_err() && sync_folder(&disk.path()).is_err());
    disk.fail_syncs(0);
    assert!(file.write_at(b"new", 0).is_ok());
}

#[test]
fn a_full_disk_takes_what_fits_until_there_is_room_again() {
    let disk = PowerFs::mount(Metadata::UntilSynced);
    let file = synced(&disk, "a");
    disk.fill(8192);
    file.write_all_at(b"new", 0).unwrap();
    assert_eq!(file.write_at(&[1; 20_000], 4096).unwrap(), 8192, "a short write");
    let full = file.write_all_at(&[1; 100], 20_000).unwrap_err();
    assert_eq!(full.kind(), ErrorKind::StorageFull);
    assert_eq!(disk.counts().refused_writes, 1);
    file.sync_all().unwrap();
    disk.make_room();
    file.write_all_at(&[1; 100], 20_000).unwrap();
}

#[test]
fn random_cuts_keep_synced_data_and_a_beginning_of_the_folder_changes() {
    let (mut sizes, mut counts) = (Vec::new(), Vec::new());
    for seed in 0..40 {
        let disk = PowerFs::mount(Metadata::UntilSynced);
        let file = synced(&disk, "a");
        file.write_all_at(&[7; 40_000], 4096).unwrap();
        for n in 0..5 {
            File::create(disk.path().join(format!("n{n}"))).unwrap();
        }
        disk.cut(Cut::Random(seed));
        disk.restore();
        let bytes = fs::read(disk.path().join("a")).unwrap();
        assert_eq!(bytes[..3], *b"old", "seed {seed}");
        sizes.push(bytes.iter().filter(|byte| **byte == 7).count());
        let made: Vec<_> = (0..5).map(|n| format!("n{n}")).collect();
        let there = names(&disk.path());
        assert_eq!(there[1..], made[..there.len() - 1], "seed {seed}: a beginning of the changes");
        counts.push(there.len());
    }
    for seen in [&mut sizes, &mut counts] {
        seen.sort_unstable();
        seen.dedup();
        assert!(seen.len() > 3, "cuts differ: {seen:?}");
    }
}
