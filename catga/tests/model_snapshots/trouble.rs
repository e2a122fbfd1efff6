//! What can happen to snapshots, and to those who write them.

use super::*;

#[tokio::test]
async fn what_is_lost_damaged_or_foreign_costs_a_replay_and_is_replaced() {
    let world = World::default();
    let catga = world.start().await;
    grow(&catga).await;
    count_up(&catga, 3000).await;
    world.settle(&catga).await;
    catga.shutdown().await;
    let check = async |what: &str| {
        let head = world.log.head().await.unwrap();
        let (sums, read) = world.restart().await;
        assert_eq!(sums, world.replayed().await, "{what}");
        assert!(read as u64 >= head.get(), "{what}: it can't have been used");
        world.check_restart().await;
    };
    world.check_restart().await;
    assert!(world.values.parts().await.len() > 2);
    for at in 0..4 {
        // The format, and the build that wrote it.
        world.values.replace(MANIFEST, |bytes| bytes[at] ^= 1).await;
        check("a foreign manifest").await;
    }
    world.values.replace(MANIFEST, Vec::clear).await;
    check("an empty manifest").await;
    world.values.delete(MANIFEST).await;
    check("no manifest").await;
    world.values.delete(&world.values.parts().await[1]).await;
    check("a part is lost").await;
    world.values.replace(&world.values.parts().await[1], |bytes| bytes[0] ^= 1).await;
    check("a part is another one").await;
}

#[tokio::test]
async fn p2_a_snapshot_of_a_log_that_lost_its_end_is_not_used() {
    let world = World::default();
    world.run(2000).await;
    for left in [0, 1500, 1999] {
        let rewound = World { values: world.values.clone(), ..World::default() };
        for record in world.log.read_log(0.into(), 2000).await.unwrap().iter().take(left) {
            testing::append(&*rewound.log, &record.commit().unwrap(), 0).await.unwrap();
        }
        // The checkpoints are of the log as it was, and the handlers say so; the read models need not.
        let catga = rewound.start().await;
        count_up(&catga, 700).await;
        let sums = catga.query(GetSums).await.unwrap();
        assert_eq!(sums, rewound.replayed().await, "with {left} left");
        std::mem::forget(catga);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_nodes_that_write_at_once_one_leaves_a_snapshot() {
    let world = World::default();
    let nodes = [world.start().await, world.start().await, world.start().await];
    grow(&nodes[0]).await;
    let count = |node: &Catga| {
        let node = node.clone();
        tokio::spawn(async move { count_up(&node, 3000).await })
    };
    for counting in nodes.iter().map(count).collect::<Vec<_>>() {
        counting.await.unwrap();
    }
    for node in &nodes {
        node.query(GetSums).await.unwrap();
    }
    let [a, b, c] = &nodes;
    tokio::join!(a.shutdown(), b.shutdown(), c.shutdown());
    // One that was paused may have overwritten parts of the last one: then the first start replays.
    assert_eq!(world.restart().await.0, world.replayed().await);
    let before = world.values.get(MANIFEST).await.unwrap();
    assert!(before.is_some());
    assert_eq!(world.restart().await.0, world.replayed().await);
}

#[tokio::test]
async fn what_a_crash_leaves_is_cleared_away() {
    let world = World::default();
    for writes in [0, 1, 2, 3, 4, usize::MAX] {
        let catga = world.start().await;
        grow(&catga).await;
        world.values.writes.store(writes, Relaxed);
        count_up(&catga, 2500).await;
        world.settle(&catga).await;
        catga.shutdown().await;
        // Nobody else waits for the one that crashed.
        if world.values.present().await.contains(&"read-models/writer".to_owned()) {
            world.values.delete("read-models/writer").await;
        }
        world.values.writes.store(usize::MAX, Relaxed);
        assert_eq!(world.restart().await.0, world.replayed().await, "after {writes} writes");
    }
    world.check_restart().await;
    let parts = world.values.parts().await;
    let place = &parts[0][..SNAPSHOT.len() + 2];
    assert!(parts.len() == 3 && parts.iter().all(|part| part.starts_with(place)), "{parts:?}");
}

#[tokio::test(start_paused = true)]
async fn a_write_that_takes_for_ever_keeps_nothing_up() {
    let world = World::default();
    world.values.hangs.store(true, Relaxed);
    world.values.writes.store(1, Relaxed);
    let catga = world.start().await;
    count_up(&catga, 5000).await;
    assert_eq!(catga.query(GetSums).await.unwrap(), world.replayed().await);
    let begin = Instant::now();
    catga.shutdown().await;
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}
