//! The file store under power cuts, damage and failing disks.

mod damage;
mod groups;
mod sim;

use std::time::Instant;

use futures_util::{FutureExt, future::join_all};
use uuid::Uuid;

use self::sim::{Cut, Fault, SimDisk};
use super::{segment::Record as Stored, *};
use crate::{
    log::{Commit, EventFrame},
    testing,
};

/// Small, so that a short script fills several segments.
const SEGMENT: usize = 2048;

fn open(disk: &SimDisk) -> Result<FileStore, FileError> {
    FileStore::open_on(Arc::new(disk.clone()), Arc::new(SimDisk::new()), SEGMENT)
}

fn stream(key: usize) -> StreamId {
    StreamId::new("test", &key.to_string()).unwrap()
}

fn frame(stream: &StreamId, version: u64, events: usize, payload: &[u8]) -> Bytes {
    let event = |_| EventFrame { id: Uuid::new_v4(), name: "Tested", schema: 1, payload };
    testing::commit(stream, version.into(), (0..events).map(event)).encode()
}

async fn append(store: &FileStore, frame: &Bytes) -> Result<Appended, AppendError> {
    testing::append(store, &Commit::decode(frame).unwrap(), 0).await
}

async fn frames(store: &FileStore) -> Vec<Bytes> {
    let records = store.read_log(Position::ZERO, usize::MAX).await.unwrap();
    records.into_iter().map(|record| record.frame).collect()
}

/// What a script of appends sent, and what of it was acknowledged.
#[derive(Default)]
struct Run {
    sent: Vec<Bytes>,
    acknowledged: Vec<Bytes>,
}

/// Appends to four streams at once, `rounds` times, until an append fails.
async fn script(store: &FileStore, rounds: u64) -> Run {
    let mut run = Run::default();
    for round in 0..rounds {
        let frames: Vec<_> =
            (0..4).map(|key| frame(&stream(key), round, 1, &vec![b'x'; (key + 1) * 37])).collect();
        let appends = frames.iter().map(|frame| append(store, frame));
        let outcomes = join_all(appends).await;
        for (frame, outcome) in frames.iter().zip(&outcomes) {
            run.sent.push(frame.clone());
            if outcome.is_ok() {
                run.acknowledged.push(frame.clone());
            }
        }
        if outcomes.iter().any(Result::is_err) {
            break;
        }
    }
    run
}

/// Appends to four streams, each for itself, so that groups fill while others are synced; until an append fails.
async fn race(store: &FileStore, rounds: u64) -> Run {
    let clients = (0..4).map(async |key| {
        let mut run = Run::default();
        for round in 0..rounds {
            let frame = frame(&stream(key), round, 1, &vec![b'x'; (key + 1) * 37]);
            run.sent.push(frame.clone());
            if append(store, &frame).await.is_err() {
                break;
            }
            run.acknowledged.push(frame);
        }
        run
    });
    join_all(clients).await.into_iter().fold(Run::default(), |all, one| Run {
        sent: [all.sent, one.sent].concat(),
        acknowledged: [all.acknowledged, one.acknowledged].concat(),
    })
}

/// Without it nothing is appended any more, so health, which asks for the head, must say so.
#[tokio::test]
async fn a_store_whose_writer_ended_does_not_answer_as_if_it_were_well() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    append(&store, &frame(&stream(0), 0, 1, b"one")).await.unwrap();
    assert_eq!(store.head().await.unwrap(), 1);
    disk.fail(Fault::Bug);
    let in_doubt = append(&store, &frame(&stream(0), 1, 1, b"two")).await;
    assert!(matches!(in_doubt, Err(AppendError::Unknown(_))), "{in_doubt:?}");
    // The answer comes a moment before the thread is gone.
    let deadline = Instant::now() + Duration::from_secs(10);
    let error = loop {
        match store.head().await {
            Err(error) => break error,
            Ok(_) => assert!(Instant::now() < deadline, "it looks well"),
        }
        tokio::task::yield_now().await;
    };
    assert!(error.to_string().contains("the writer of the log has ended"), "{error}");
}

/// The store opens, holds all that was acknowledged and nothing that was not sent, and goes on.
async fn must_recover(disk: &SimDisk, run: &Run, what: &str) {
    let store = open(disk).unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = frames(&store).await;
    for frame in &run.acknowledged {
        assert!(found.contains(frame), "{what}: an acknowledged commit is lost");
    }
    for frame in &found {
        assert!(run.sent.contains(frame), "{what}: there is a commit that nobody sent");
    }
    let version = store.index.version(&stream(0));
    let more = frame(&stream(0), version.get(), 2, b"more");
    append(&store, &more).await.unwrap_or_else(|error| panic!("{what}: {error}"));
    drop(store);
    let again = open(disk).unwrap_or_else(|error| panic!("{what}, opened again: {error}"));
    assert_eq!(frames(&again).await, [found, vec![more]].concat(), "{what}: opened again");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_a_power_cut_after_any_operation_loses_nothing_acknowledged() {
    let mut cuts = 0;
    for limit in 1.. {
        let disk = SimDisk::new();
        disk.limit(limit);
        let run = match open(&disk) {
            Ok(store) if limit % 2 == 0 => script(&store, 12).await,
            Ok(store) => race(&store, 12).await,
            Err(_) => Run::default(),
        };
        for cut in [Cut::Nothing, Cut::Everything, Cut::Some(limit as u64 * 7919)] {
            cuts += 1;
            let what = format!("cut after operation {limit}, which leaves {cut:?}");
            must_recover(&disk.after(cut), &run, &what).await;
        }
        if disk.operations() < limit {
            assert_eq!(run.acknowledged.len(), 48, "the script ran to its end");
            break;
        }
    }
    // How many operations there are depends on how many appends share a sync.
    assert!(cuts > 100, "only {cuts} cuts: the script is too short to say anything");
}

/// The same after a clean stop: what says that the log was closed must be gone before anything is added.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_power_cut_after_a_log_was_opened_again_loses_nothing_acknowledged() {
    let (closed, before) = closed_log().await;
    for limit in 1..30 {
        let disk = closed.copy();
        disk.limit(limit);
        let mut run = Run { sent: before.clone(), acknowledged: before.clone() };
        if let Ok(store) = open(&disk) {
            for version in 9.. {
                let next = frame(&stream(1), version, 1, b"next");
                run.sent.push(next.clone());
                match append(&store, &next).await {
                    Ok(_) => run.acknowledged.push(next),
                    Err(_) => break,
                }
            }
        }
        for cut in [Cut::Nothing, Cut::Everything, Cut::Some(limit as u64 * 31)] {
            must_recover(&disk.after(cut), &run, &format!("{limit} operations, {cut:?}")).await;
        }
    }
}

/// A second power cut, while the start after the first one is repairing the log.
#[tokio::test(flavor = "multi_thread")]
async fn p2_a_power_cut_during_recovery_loses_nothing_acknowledged() {
    let disk = SimDisk::new();
    disk.limit(60);
    let run = script(&open(&disk).unwrap(), 100).await;
    assert!(!run.acknowledged.is_empty() && run.acknowledged.len() < run.sent.len());
    for limit in 1..40 {
        for cut in [Cut::Nothing, Cut::Everything, Cut::Some(limit as u64)] {
            let first = disk.after(cut);
            first.limit(limit);
            drop(open(&first));
            let what = format!("{cut:?}, and again after {limit} operations");
            must_recover(&first.after(cut), &run, &what).await;
        }
    }
}

/// A log of three segments that was closed.
async fn closed_log() -> (SimDisk, Vec<Bytes>) {
    let disk = SimDisk::new();
    let run = script(&open(&disk).unwrap(), 9).await;
    assert_eq!(disk.list().unwrap(), ["00000001.log", "00000002.log", "00000003.log", "closed"]);
    (disk, run.acknowledged)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_failed_sync_acknowledges_nothing_and_is_never_tried_again_on_the_same_file() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    let first = frame(&stream(0), 0, 1, b"first");
    append(&store, &first).await.unwrap();
    disk.fail(Fault::Sync);
    let second = frame(&stream(0), 1, 1, b"second");
    let failed = append(&store, &second).await;
    assert!(matches!(failed, Err(AppendError::Unknown(_))), "{failed:?}");
    let refused = append(&store, &second).await;
    assert!(
        matches!(refused, Err(AppendError::Refused(ref e)) if e.is_unavailable()),
        "{refused:?}"
    );
    assert_eq!(
        frames(&store).await,
        std::slice::from_ref(&first),
        "reads go on, and see nothing that is in doubt"
    );
    disk.fail(Fault::None);
    let third = loop {
        match append(&store, &second).await {
            Err(AppendError::Refused(_)) => tokio::time::sleep(Duration::from_millis(5)).await,
            outcome => break outcome,
        }
    };
    third.expect("the store heals by itself");
    for cut in [Cut::Nothing, Cut::Everything, Cut::Some(3)] {
        let recovered = open(&disk.after(cut)).unwrap();
        assert_eq!(frames(&recovered).await, [first.clone(), second.clone()], "{cut:?}");
    }
}

/// The next segment is at hand when this one is full, and is gone when it was not needed.
#[tokio::test(flavor = "multi_thread")]
async fn the_next_segment_is_made_ahead_and_what_is_left_of_it_is_removed() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    let half = frame(&stream(0), 0, 1, &[b'x'; SEGMENT / 2]);
    append(&store, &half).await.unwrap();
    let deadline = std::time::Instant::now() + Duration::from_secs(10);
    while !disk.list().unwrap().contains(&"next.tmp".to_owned()) {
        assert!(std::time::Instant::now() < deadline, "the next segment is not made ahead");
        tokio::task::yield_now().await;
    }
    let crashed = disk.after(Cut::Everything);
    assert_eq!(frames(&open(&crashed).unwrap()).await, std::slice::from_ref(&half));
    drop(store);
    for disk in [disk, crashed] {
        assert_eq!(disk.list().unwrap(), ["00000001.log", "closed"]);
    }
}

/// The next segment may be on the disk although its making failed: nothing may follow in this one.
#[tokio::test(flavor = "multi_thread")]
async fn after_a_segment_could_not_be_begun_for_sure_the_last_one_takes_nothing_more() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    let first = frame(&stream(0), 0, 1, &[b'x'; SEGMENT / 2]);
    append(&store, &first).await.unwrap();
    disk.fail(Fault::SyncDirectory);
    let large = frame(&stream(1), 0, 1, &[b'x'; SEGMENT / 2]);
    append(&store, &large).await.unwrap_err();
    disk.fail(Fault::None);
    let small = frame(&stream(2), 0, 1, b"it would fit");
    while let Err(error) = append(&store, &small).await {
        assert!(matches!(error, AppendError::Refused(_)), "{error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    for cut in [Cut::Nothing, Cut::Everything] {
        let recovered = open(&disk.after(cut)).unwrap_or_else(|error| panic!("{cut:?}: {error}"));
        assert_eq!(frames(&recovered).await, [first.clone(), small.clone()], "{cut:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_appends_and_goes_on_when_there_is_room() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    disk.fail(Fault::Full);
    let run = script(&store, 12).await;
    assert!(run.acknowledged.len() < run.sent.len(), "the disk ran full");
    assert_eq!(frames(&store).await.len(), run.acknowledged.len(), "reads go on");
    let version = store.index.version(&stream(0));
    let next = frame(&stream(0), version.get(), 1, &[b'x'; 500]);
    let refused = append(&store, &next).await;
    assert!(
        matches!(refused, Err(AppendError::Refused(ref e)) if e.is_unavailable()),
        "{refused:?}"
    );
    disk.fail(Fault::None);
    while let Err(error) = append(&store, &next).await {
        assert!(matches!(error, AppendError::Refused(_)), "{error}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let recovered = open(&disk.after(Cut::Nothing)).unwrap();
    assert_eq!(frames(&recovered).await, [run.acknowledged, vec![next]].concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_written_long_ago_is_read_from_the_disk_and_checked() {
    let (disk, all) = closed_log().await;
    let store = open(&disk).unwrap();
    assert_eq!(frames(&store).await, all, "a store that was opened has nothing at hand");
    let one = store.read_stream(&stream(2), 3.into(), 2).await.unwrap();
    assert_eq!(one.len(), 2);
    assert_eq!(one[0].commit().unwrap().first_version, 3);
    disk.damage("00000001.log", |bytes| bytes[200] ^= 1);
    let error = store.read_log(Position::ZERO, usize::MAX).await.unwrap_err();
    assert!(!error.is_unavailable() && !error.to_string().contains(".log"), "{error}");
}

/// No hop to a thread that may block, for what is in the system's memory.
#[tokio::test(flavor = "multi_thread")]
async fn what_the_system_has_in_memory_is_read_at_once_and_checked() {
    let (disk, _) = closed_log().await;
    let store = open(&disk).unwrap();
    let stream = stream(2);
    let read = || store.read_stream(&stream, 3.into(), 2);
    let first = read().await.unwrap();
    disk.cache();
    assert_eq!(read().now_or_never().expect("it is at hand").unwrap(), first);
    for name in ["00000001.log", "00000002.log", "00000003.log"] {
        disk.damage(name, |bytes| bytes[60..].fill(1));
    }
    let error = read().now_or_never().expect("it is at hand").unwrap_err();
    assert!(!error.is_unavailable(), "{error}");
}

/// A file in the page cache is one that was just written.
#[cfg(target_os = "linux")]
#[test]
fn a_file_in_the_page_cache_is_read_without_waiting() {
    let directory = tempfile::TempDir::new().unwrap();
    let can_tell = matches!(file_system(directory.path()).as_str(), "btrfs" | "ext4" | "xfs");
    let disk = OsDisk::at(directory.path()).unwrap();
    let file = disk.create("file").unwrap();
    file.write_at(b"content", 0).unwrap();
    let mut bytes = [0; 4];
    if file.read_now(&mut bytes, 3) {
        assert_eq!(&bytes, b"tent");
    } else {
        assert!(!can_tell, "it is in memory");
    }
    assert!(!file.read_now(&mut bytes, 4), "the file ends before");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_is_too_large_is_refused() {
    let store = open(&SimDisk::new()).unwrap();
    let huge = frame(&stream(0), 0, 1, &vec![0; MAX_FRAME]);
    let refused = append(&store, &huge).await;
    assert!(matches!(refused, Err(AppendError::Refused(ref e)) if e.is_too_large()), "{refused:?}");
    let large = frame(&stream(0), 0, 1, &vec![0; SEGMENT * 3]);
    append(&store, &large).await.expect("one that is larger than a segment gets a larger one");
    assert_eq!(frames(&store).await, [large]);
}
