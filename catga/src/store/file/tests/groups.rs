//! What is synced together, with a writer that has no thread of its own, so that a test says when what is written.

use std::{
    thread,
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

use super::{super::pending::SyncGroup, *};

fn writer(disk: &SimDisk) -> LogWriter {
    LogWriter::open(Arc::new(disk.clone()), recovery::read(disk).unwrap(), SEGMENT).unwrap()
}

type Answer = oneshot::Receiver<Result<Appended, AppendError>>;

/// Hands in a commit of one event.
fn hand_in(writer: &LogWriter, key: usize, version: u64, payload: &[u8]) -> Answer {
    let stream = stream(key);
    let frame = frame(&stream, version, 1, payload);
    let append = Append { stream: &stream, version: version.into(), token: 0, events: 1, frame };
    writer.pending.add(&append).unwrap()
}

/// Takes what waits, without waiting for more.
fn next(writer: &LogWriter) -> SyncGroup {
    writer.pending.next(Duration::ZERO).unwrap()
}

fn write_next(writer: &mut LogWriter) {
    let group = next(writer);
    writer.write(group);
}

/// A commit on its way to the disk, and what came meanwhile: the next one of its stream, and what conflicts with either.
fn under_way(disk: &SimDisk) -> (LogWriter, SyncGroup, [Answer; 4]) {
    let writer = writer(disk);
    let come = |version| hand_in(&writer, 0, version, b"of a stream");
    let first = come(0);
    let group = next(&writer);
    let answers = [first, come(1), come(0), come(1)];
    (writer, group, answers)
}

/// Of a group in doubt nothing may come back once another one was written in its place.
#[test]
fn what_is_in_doubt_does_not_come_back_behind_what_was_written_later() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    disk.fail(Fault::Sync);
    let mut answers = [0, 1].map(|key| hand_in(&writer, key, 0, b"of one size"));
    write_next(&mut writer);
    for answer in &mut answers {
        assert!(matches!(answer.try_recv(), Ok(Err(AppendError::Unknown(_)))));
    }
    disk.fail(Fault::None);
    writer.end_pause();
    let mut third = hand_in(&writer, 2, 0, b"of one size");
    write_next(&mut writer);
    assert!(third.try_recv().unwrap().is_ok());
    for cut in [Cut::Nothing, Cut::Everything] {
        let found = recovery::read(&disk.after(cut)).unwrap();
        assert_eq!(found.index.of_log(0.into(), usize::MAX).len(), 1, "{cut:?}");
        assert_eq!(found.index.version(&stream(2)), 1);
    }
}

/// A group fills while the one before it is on its way to the disk: it rests on it, and nobody sees or hears of either
/// before it is synced.
#[test]
fn p1_what_is_not_synced_counts_for_what_comes_next_and_is_seen_by_nobody() {
    let (mut writer, group, [mut first, mut behind @ ..]) = under_way(&SimDisk::new());
    assert_eq!(writer.index.version(&stream(0)), 0);
    writer.write(group);
    assert_eq!(first.try_recv().unwrap().unwrap().position, 1);
    assert_eq!(writer.index.version(&stream(0)), 1);
    assert!(behind.iter_mut().all(|answer| answer.try_recv().is_err()), "they wait for a sync");
    write_next(&mut writer);
    let [second, conflicts @ ..] = behind.map(|mut answer| answer.try_recv().unwrap());
    assert_eq!(second.unwrap().position, 2);
    for outcome in conflicts {
        assert!(
            matches!(outcome, Err(AppendError::Conflict { actual }) if actual == 2),
            "{outcome:?}"
        );
    }
}

/// An append that conflicts with what is on its way to the disk is told so only when that is there, also when
/// nothing else waits.
#[test]
fn p1_a_conflict_with_what_is_not_synced_is_told_when_it_is() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    let _first = hand_in(&writer, 0, 0, b"first");
    let group = next(&writer);
    let mut conflict = hand_in(&writer, 0, 0, b"second");
    writer.write(group);
    let operations = disk.operations();
    write_next(&mut writer);
    assert_eq!(disk.operations(), operations, "there was nothing to write");
    let outcome = conflict.try_recv().unwrap();
    assert!(matches!(outcome, Err(AppendError::Conflict { actual }) if actual == 1), "{outcome:?}");
}

/// When a sync fails, so does all that rests on it: what is in the next group, and what was refused for its sake.
#[test]
fn p1_what_waits_behind_a_group_in_doubt_is_refused() {
    let disk = SimDisk::new();
    let (mut writer, group, [mut first, mut behind @ ..]) = under_way(&disk);
    disk.fail(Fault::Sync);
    writer.write(group);
    assert!(matches!(first.try_recv(), Ok(Err(AppendError::Unknown(_)))));
    for answer in &mut behind {
        assert!(matches!(answer.try_recv(), Ok(Err(AppendError::Refused(_)))));
    }
    disk.fail(Fault::None);
    writer.end_pause();
    let mut again = hand_in(&writer, 0, 0, b"of a stream");
    write_next(&mut writer);
    assert_eq!(again.try_recv().unwrap().unwrap().position, 1);
    drop(writer);
    let found = recovery::read(&disk.after(Cut::Nothing)).unwrap();
    assert_eq!(found.index.of_log(0.into(), usize::MAX).len(), 1);
    assert_eq!(found.index.version(&stream(0)), 1);
}

/// Those who were answered together come again one by one, and share a sync again.
#[test]
fn a_group_waits_for_as_many_as_were_answered_before_it() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    let come = |writer: &LogWriter, key| hand_in(writer, key, 0, b"one");
    let _first = [0, 1].map(|key| come(&writer, key));
    write_next(&mut writer);
    let group = thread::scope(|scope| {
        let _second = come(&writer, 2);
        scope.spawn(|| come(&writer, 3));
        writer.pending.next(Duration::from_secs(60)).unwrap()
    });
    assert_eq!(group.commits.len(), 2);
    writer.write(group);
    // Who does not come is not waited for.
    let _third = come(&writer, 4);
    let group = writer.pending.next(Duration::from_millis(1)).unwrap();
    assert_eq!(group.commits.len(), 1);
}

/// One that takes no more has nobody to wait for.
#[test]
fn a_group_goes_at_once_when_another_one_begins_behind_it() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    let _first = [0, 1].map(|key| hand_in(&writer, key, 0, b"one"));
    write_next(&mut writer);
    let group = thread::scope(|scope| {
        let _second = hand_in(&writer, 2, 0, b"one");
        scope.spawn(|| {
            let begin = Instant::now();
            while !writer.pending.is_waited_for() {
                assert!(begin.elapsed() < Duration::from_secs(5), "it does not wait");
                thread::yield_now();
            }
            let _third = hand_in(&writer, 3, 0, &[b'x'; SEGMENT]);
            assert!(!writer.pending.is_waited_for(), "it waits for more, which go elsewhere");
        });
        writer.pending.next(Duration::from_secs(60)).unwrap()
    });
    assert_eq!(group.commits.len(), 1);
}

/// Without a thread that writes, who waits gets to know it.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_writer_ends_what_waits_is_in_doubt_and_what_comes_is_refused() {
    let disk = SimDisk::new();
    let writer = writer(&disk);
    let waits = hand_in(&writer, 0, 0, b"first");
    let pending = writer.pending.clone();
    drop(writer);
    waits.await.unwrap_err();
    let stream = stream(0);
    let frame = frame(&stream, 0, 1, b"second");
    let append = Append { stream: &stream, version: 0.into(), token: 0, events: 1, frame };
    let refused = pending.hand_in(&append).await;
    assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
}
