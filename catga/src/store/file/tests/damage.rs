//! Files that are not as they were written.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn every_flipped_byte_of_a_closed_log_is_found_and_named() {
    let (disk, _) = closed_log().await;
    for name in disk.list().unwrap() {
        for at in 0..disk.bytes(&name).len() {
            let copy = disk.copy();
            copy.damage(&name, |bytes| bytes[at] ^= 1 << (at % 8));
            let Err(error) = recovery::read(&copy) else {
                panic!("byte {at} of {name} was changed, and nobody saw it");
            };
            assert!(error.to_string().contains(&name), "byte {at} of {name}: {error}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_log_that_is_cut_short_or_mixed_up_is_refused() {
    let (disk, _) = closed_log().await;
    for name in disk.list().unwrap() {
        for length in 0..disk.bytes(&name).len() {
            let copy = disk.copy();
            copy.damage(&name, |bytes| bytes.truncate(length));
            assert!(recovery::read(&copy).is_err(), "{name} was cut to {length} bytes");
        }
        if name != "closed" {
            let copy = disk.copy();
            copy.remove(&name).unwrap();
            assert!(recovery::read(&copy).is_err(), "{name} was removed");
        }
    }
    let (first, second) = (disk.bytes("00000001.log"), disk.bytes("00000002.log"));
    let copy = disk.copy();
    copy.damage("00000001.log", |bytes| *bytes = second.clone());
    copy.damage("00000002.log", |bytes| *bytes = first);
    assert!(recovery::read(&copy).is_err(), "two segments were swapped");
    let (other, _) = closed_log().await;
    let copy = disk.copy();
    copy.damage("00000003.log", |bytes| *bytes = other.bytes("00000003.log"));
    assert!(recovery::read(&copy).is_err(), "a segment of another log was put in");
}

/// After a crash only the last write can't be told from one that was interrupted.
#[tokio::test(flavor = "multi_thread")]
async fn a_flipped_byte_of_a_log_left_by_a_crash_is_never_read_as_data() {
    let (disk, all) = closed_log().await;
    disk.remove("closed").unwrap();
    let mut refused = 0;
    for name in ["00000001.log", "00000002.log", "00000003.log"] {
        for at in 0..SEGMENT {
            let copy = disk.copy();
            copy.damage(name, |bytes| bytes[at] ^= 1 << (at % 8));
            match recovery::read(&copy) {
                Ok(found) => {
                    let kept = found.index.of_log(0.into(), usize::MAX).len();
                    assert!(
                        kept >= all.len() - 4,
                        "byte {at} of {name}: more than the last write is gone"
                    );
                }
                Err(_) => refused += 1,
            }
        }
    }
    assert!(refused > 2 * SEGMENT, "most bytes are synced, and damage to them must stop the start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_later_format_is_refused_by_its_number() {
    let (disk, _) = closed_log().await;
    disk.damage("00000002.log", |bytes| bytes[8] = 7);
    let error = recovery::read(&disk).err().unwrap();
    assert!(matches!(error, FileError::Format { format: 7, .. }), "{error}");
}

/// Whoever stores the bytes of a record inside an event must not be able to stop the next start.
#[tokio::test(flavor = "multi_thread")]
async fn a_record_inside_a_commit_is_not_taken_for_one() {
    let disk = SimDisk::new();
    let store = open(&disk).unwrap();
    let mut inner = Vec::new();
    let inside = frame(&stream(9), 0, 1, b"inside");
    Stored { synced: 100, position: 3.into(), frame: &inside }.encode(&Uuid::nil(), &mut inner);
    append(&store, &frame(&stream(0), 0, 1, b"first")).await.unwrap();
    let second = frame(&stream(0), 1, 1, &inner);
    append(&store, &second).await.unwrap();
    drop(store);
    disk.remove("closed").unwrap();
    let name = "00000001.log";
    let end = disk.bytes(name).iter().rposition(|&byte| byte != 0).unwrap();
    // The last commit is torn just before the inner record.
    disk.damage(name, |bytes| bytes[end - inner.len() - 8] ^= 1);
    assert_eq!(frames(&open(&disk).unwrap()).await.len(), 1);
}
