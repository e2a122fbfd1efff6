//! What is synced together, with a writer that has no thread of its own, so that a test says when what is written.

use std::{thread, time::Duration};

use tokio::sync::oneshot;

use super::*;

fn writer(disk: &SimDisk) -> Writer {
    Writer::open(Arc::new(disk.clone()), recovery::read(disk).unwrap(), SEGMENT).unwrap()
}

type Answer = oneshot::Receiver<Result<Appended, AppendError>>;

/// Hands in a commit of one event.
fn hand_in(writer: &Writer, key: usize, version: Version, frame: &Bytes) -> Answer {
    let stream = stream(key);
    let append = Append { stream: &stream, version, token: 0, events: 1, frame: frame.clone() };
    writer.pending.add(&append).unwrap()
}

/// Of a group in doubt nothing may come back once another one was written in its place.
#[test]
fn what_is_in_doubt_does_not_come_back_behind_what_was_written_later() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    let frames: Vec<_> = (0..3).map(|key| frame(&stream(key), 0, 1, b"of one size")).collect();
    disk.fail(Fault::Sync);
    let mut answers = [0, 1].map(|key| hand_in(&writer, key, 0, &frames[key]));
    let group = writer.pending.next(Duration::ZERO).unwrap();
    writer.write(group);
    for answer in &mut answers {
        assert!(matches!(answer.try_recv(), Ok(Err(AppendError::Unknown(_)))));
    }
    disk.fail(Fault::None);
    writer.end_pause();
    let mut third = hand_in(&writer, 2, 0, &frames[2]);
    let group = writer.pending.next(Duration::ZERO).unwrap();
    writer.write(group);
    assert!(third.try_recv().unwrap().is_ok());
    for cut in [Cut::Nothing, Cut::Everything] {
        let found = recovery::read(&disk.after(cut)).unwrap();
        assert_eq!(found.index.of_log(0, usize::MAX).len(), 1, "{cut:?}");
        assert_eq!(found.index.version(&stream(2)), 1);
    }
}

/// A group fills while the one before it is on its way to the disk: it rests on it, and nobody sees or hears of either
/// before it is synced.
#[test]
fn p1_what_is_not_synced_counts_for_what_comes_next_and_is_seen_by_nobody() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    let commit = |version| frame(&stream(0), version, 1, b"of a stream");
    let mut first = hand_in(&writer, 0, 0, &commit(0));
    let group = writer.pending.next(Duration::ZERO).unwrap();
    let mut second = hand_in(&writer, 0, 1, &commit(1));
    let mut conflict = hand_in(&writer, 0, 1, &commit(1));
    assert_eq!(writer.index.version(&stream(0)), 0);
    writer.write(group);
    assert_eq!(first.try_recv().unwrap().unwrap().position, 1);
    assert_eq!(writer.index.version(&stream(0)), 1);
    assert!(second.try_recv().is_err() && conflict.try_recv().is_err(), "they wait for a sync");
    let group = writer.pending.next(Duration::ZERO).unwrap();
    writer.write(group);
    assert_eq!(second.try_recv().unwrap().unwrap().position, 2);
    let outcome = conflict.try_recv().unwrap();
    assert!(matches!(outcome, Err(AppendError::Conflict { actual: 2 })), "{outcome:?}");
}

/// An append that conflicts with what is on its way to the disk is told so only when that is there, also when
/// nothing else waits.
#[test]
fn p1_a_conflict_with_what_is_not_synced_is_told_when_it_is() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    let _first = hand_in(&writer, 0, 0, &frame(&stream(0), 0, 1, b"first"));
    let group = writer.pending.next(Duration::ZERO).unwrap();
    let mut conflict = hand_in(&writer, 0, 0, &frame(&stream(0), 0, 1, b"second"));
    writer.write(group);
    let group = writer.pending.next(Duration::ZERO).unwrap();
    let operations = disk.operations();
    writer.write(group);
    assert_eq!(disk.operations(), operations, "there was nothing to write");
    let outcome = conflict.try_recv().unwrap();
    assert!(matches!(outcome, Err(AppendError::Conflict { actual: 1 })), "{outcome:?}");
}

/// When a sync fails, so does all that rests on it: what is in the next group, and what was refused for its sake.
#[test]
fn p1_what_waits_behind_a_group_in_doubt_is_refused() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    let commit = |version| frame(&stream(0), version, 1, b"of a stream");
    let mut first = hand_in(&writer, 0, 0, &commit(0));
    let group = writer.pending.next(Duration::ZERO).unwrap();
    let mut second = hand_in(&writer, 0, 1, &commit(1));
    let mut conflict = hand_in(&writer, 0, 0, &commit(0));
    disk.fail(Fault::Sync);
    writer.write(group);
    assert!(matches!(first.try_recv(), Ok(Err(AppendError::Unknown(_)))));
    for answer in [&mut second, &mut conflict] {
        assert!(matches!(answer.try_recv(), Ok(Err(AppendError::Refused(_)))));
    }
    disk.fail(Fault::None);
    writer.end_pause();
    let again = commit(0);
    let mut again_answer = hand_in(&writer, 0, 0, &again);
    let group = writer.pending.next(Duration::ZERO).unwrap();
    writer.write(group);
    assert_eq!(again_answer.try_recv().unwrap().unwrap().position, 1);
    drop(writer);
    let found = recovery::read(&disk.after(Cut::Nothing)).unwrap();
    assert_eq!(found.index.of_log(0, usize::MAX).len(), 1);
    assert_eq!(found.index.version(&stream(0)), 1);
}

/// Those who were answered together come again one by one, and share a sync again.
#[test]
fn a_group_waits_for_as_many_as_were_answered_before_it() {
    let disk = SimDisk::new();
    let mut writer = writer(&disk);
    let come = |writer: &Writer, key| hand_in(writer, key, 0, &frame(&stream(key), 0, 1, b"one"));
    let _first = [0, 1].map(|key| come(&writer, key));
    let group = writer.pending.next(Duration::ZERO).unwrap();
    writer.write(group);
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

/// Without a thread that writes, who waits gets to know it.
#[tokio::test(flavor = "multi_thread")]
async fn when_the_writer_ends_what_waits_is_in_doubt_and_what_comes_is_refused() {
    let disk = SimDisk::new();
    let writer = writer(&disk);
    let commit = frame(&stream(0), 0, 1, b"first");
    let waits = hand_in(&writer, 0, 0, &commit);
    let pending = writer.pending.clone();
    drop(writer);
    waits.await.unwrap_err();
    let stream = stream(0);
    let append = Append { stream: &stream, version: 0, token: 0, events: 1, frame: commit };
    let refused = pending.hand_in(&append).await;
    assert!(matches!(refused, Err(AppendError::Refused(_))), "{refused:?}");
}
