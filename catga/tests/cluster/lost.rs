//! Nodes that die, or that the others give up while they are paused.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn p7_what_a_dead_node_worked_on_is_taken_over_within_the_lease_time() {
    let cluster = Cluster::default();
    let (a, b) = (cluster.start("a").await, cluster.start("b").await);
    a.has(4).await;
    b.has(4).await;
    cluster.note(&a).await;
    cluster.all_seen(1).await;
    b.cut_off();
    let dead = Instant::now();
    a.has(8).await;
    let took = dead.elapsed();
    assert!((LEASE * 2 / 5..=LEASE * 3).contains(&took), "taken over after {took:?}");
    assert!(b.catga.leases().is_empty(), "it has given itself up before that");
    assert_eq!(b.catga.health().await.is_member, Some(false));
    assert!(a.catga.health().await.is_member.unwrap());
    cluster.note(&a).await;
    cluster.all_seen(2).await;
    assert_eq!(a.catga.members().unwrap().len(), 1);

    // It comes back as a new member, and gets its share again.
    b.cord.is_cut.store(false, Ordering::SeqCst);
    b.has(4).await;
    a.has(4).await;
    cluster.note(&b).await;
    cluster.all_seen(3).await;
    for node in [a, b] {
        node.catga.shutdown().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_was_given_up_parks_nothing_and_moves_no_checkpoint() {
    let cluster = Cluster::default();
    let (a, b) = (cluster.start("a").await, cluster.start("b").await);
    a.has(4).await;
    b.has(4).await;
    // All that b works on is in its hands, and would be parked.
    *cluster.world.broken.lock().unwrap() = Some("bad".to_owned());
    let held = b.pace.forget_permits(64);
    for page in pages() {
        note_on(&a, &page, "bad").await;
    }
    until("what a has is parked", async || {
        note_well(&a).await;
        let letters = a.catga.dead_letters(Consistency::Latest).await.unwrap();
        letters.len() >= 8
            && a.catga.health().await.handlers.iter().all(|h| !h.is_here || h.position >= 32)
    })
    .await;
    b.cut_off();
    *cluster.world.broken.lock().unwrap() = None;
    a.has(8).await;
    cluster.note(&a).await;
    let taken = async || {
        let log = cluster.store.read_log(0.into(), 100_000).await.unwrap();
        let events = log.iter().flat_map(|record| record.commit().unwrap().events);
        let mut counts = HashMap::<_, usize>::new();
        events.for_each(|event| *counts.entry(event.name.to_owned()).or_default() += 1);
        counts
    };
    assert_eq!(taken().await["catga.HandlerTaken"], 4);
    let parked = taken().await["catga.EventParked"];
    let letters = a.catga.dead_letters(Consistency::Latest).await.unwrap();
    assert_eq!(letters.len(), parked);

    // It wakes up, with the store in reach, and goes on where it was.
    *cluster.world.broken.lock().unwrap() = Some("bad".to_owned());
    b.pace.add_permits(held);
    b.cord.is_cut.store(false, Ordering::SeqCst);
    b.has(4).await;
    *cluster.world.broken.lock().unwrap() = None;
    assert_eq!(taken().await["catga.EventParked"], parked, "P8: only its owner parks");
    for letter in letters {
        a.catga.retry_dead_letter(&letter.id).await.unwrap();
    }
    cluster.all_seen(2).await;
    until("nothing is parked", async || {
        a.catga.dead_letters(Consistency::Latest).await.unwrap().is_empty()
    })
    .await;
    for node in [a, b] {
        node.catga.shutdown().await;
    }
}
