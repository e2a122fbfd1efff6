use std::{
    pin::pin,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst},
};

use bytes::Bytes;
use futures_util::poll;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    cluster::{ClusterSettings, Membership, NodeWork, member},
    log::Clock,
    store::{KvEntry, MemoryKvStore},
};

const WORK: Work = Work::Handler { name: "h", partition: 3 };

fn checkpoint(position: u64) -> Checkpoint {
    Checkpoint { position: position.into(), event: Uuid::nil() }
}

#[tokio::test]
async fn under_an_old_epoch_nothing_is_written() {
    let kv: Arc<dyn KvStore> = Arc::new(MemoryKvStore::new());
    let mut held = Leases::alone(kv.clone(), LogId::new(1)).claim(WORK, false).await.unwrap();
    held.save(checkpoint(7)).await.unwrap();
    let mut next = Leases::alone(kv.clone(), LogId::new(1)).claim(WORK, false).await.unwrap();
    assert_eq!(next.checkpoint, Some(checkpoint(7)));
    assert!(held.check().await.is_err());
    assert!(held.save(checkpoint(8)).await.is_err());
    assert!(held.release(Some(checkpoint(9))).await.is_err());
    next.check().await.unwrap();
    next.save(checkpoint(10)).await.unwrap();
    next.release(None).await.unwrap();
    let last = Leases::alone(kv, LogId::new(1)).claim(WORK, false).await.unwrap();
    assert_eq!((last.checkpoint, last.is_taken_over), (Some(checkpoint(10)), false));
}

#[tokio::test]
async fn what_failed_is_left_to_the_node_whose_turn_has_come_meanwhile() {
    let kv: Arc<dyn KvStore> = Arc::new(MemoryKvStore::new());
    let (me, log) = (Some(Uuid::new_v4()), LogId::new(1));
    let (views, view) = watch::channel(View { me, members: Vec::new() });
    let leases = Leases::new(kv.clone(), log, view, Duration::from_secs(5));
    let mut held = leases.claim(WORK, false).await.unwrap();
    held.save(checkpoint(7)).await.unwrap();
    // Its runner fails, and can't say so: the store is away.
    drop(held);
    let other = member("other", &["h"]);
    views.send_replace(View { me, members: vec![other] });
    let mut waiting = pin!(leases.claim(WORK, false));
    assert!(poll!(&mut waiting).is_pending());
    let claim = Claim::decode(&kv.get(&WORK.key()).await.unwrap().unwrap().value).unwrap();
    assert_eq!((claim.owner, claim.checkpoint), (None, Some(checkpoint(7))));
    views.send_replace(View { me, members: Vec::new() });
    assert_eq!(waiting.await.unwrap().checkpoint, Some(checkpoint(7)));
}

#[tokio::test]
async fn a_write_that_nobody_waited_for_keeps_no_work() {
    let kv: Arc<dyn KvStore> = Arc::new(MemoryKvStore::new());
    for (late, done, left) in [(7, Some(9), 9), (11, Some(10), 11), (12, None, 12)] {
        let held = Leases::alone(kv.clone(), LogId::new(1)).claim(WORK, false).await.unwrap();
        let (owner, log) = (Some(held.run), Some(held.log));
        let claim = Claim { owner, checkpoint: Some(checkpoint(late)), log };
        held.put(claim).await.unwrap().expect("it is this node's");
        held.release(done.map(checkpoint)).await.unwrap();
        let next = Leases::alone(kv.clone(), LogId::new(1)).claim(WORK, false).await.unwrap();
        assert_eq!((next.checkpoint, next.is_taken_over), (Some(checkpoint(left)), false));
        next.release(None).await.unwrap();
    }
}

/// Values that can't be reached for so many reads.
#[derive(Default)]
struct Away(MemoryKvStore, AtomicUsize);

impl KvStore for Away {
    fn get<'a>(&'a self, key: &'a str) -> BoxFuture<'a, Result<Option<KvEntry>, StoreError>> {
        Box::pin(async move {
            match self.1.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) {
                Ok(_) => Err(StoreError::unavailable("it is away")),
                Err(_) => self.0.get(key).await,
            }
        })
    }

    fn put<'a>(
        &'a self,
        key: &'a str,
        value: Bytes,
        expected: u64,
        ttl: Option<Duration>,
    ) -> BoxFuture<'a, Result<Option<u64>, StoreError>> {
        self.0.put(key, value, expected, ttl)
    }

    fn delete<'a>(
        &'a self,
        key: &'a str,
        expected: u64,
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        self.0.delete(key, expected)
    }
}

#[tokio::test(start_paused = true)]
async fn what_stopped_is_given_back_when_the_store_is_there_again() {
    for work in [WORK, Work::Relay] {
        let kv = Arc::new(Away::default());
        let leases = Leases::alone(kv.clone(), LogId::new(1));
        let _held = leases.claim(work, false).await.unwrap();
        kv.1.store(9, SeqCst);
        leases.give_back(work, false).await;
        let next = Leases::alone(kv, LogId::new(1)).claim(work, false).await.unwrap();
        assert!(!next.is_taken_over, "{work}");
    }
}

/// The clock is not a real one: it goes on when everybody waits.
#[tokio::test(start_paused = true)]
async fn work_is_taken_from_a_node_that_owns_it_and_does_not_say_that_it_does_it() {
    let lease = Duration::from_secs(5);
    let kv: Arc<dyn KvStore> = Arc::new(MemoryKvStore::new());
    let settings = || ClusterSettings { address: String::new(), version: String::new(), lease };
    let join = async |node| {
        let handlers = vec!["h".to_owned()];
        Membership::join(kv.clone(), settings(), Clock::system(), node, handlers).await.unwrap()
    };
    let (mut owner, mut next) = (join("b").await, join("a").await);
    let (owners_view, mut view) = (owner.view(), next.view());
    let leases = Leases::new(kv.clone(), LogId::new(1), view.clone(), lease);
    let (stop, does_it) = (CancellationToken::new(), Arc::new(AtomicBool::new(true)));
    let (end, says) = (stop.clone(), does_it.clone());
    let nodes = tokio::spawn(async move {
        let work = || {
            let held = says.load(SeqCst).then(|| WORK.to_string());
            NodeWork { held: held.into_iter().collect(), ..NodeWork::default() }
        };
        tokio::join!(owner.run(&end, work), next.run(&end, NodeWork::default));
    });
    wait_for(&mut view, |view| view.members.len() == 2).await;
    assert!(view.borrow().gives(&WORK));
    let claim = Claim { owner: owners_view.borrow().me, ..Claim::default() };
    kv.put(&WORK.key(), claim.encode(), 0, None).await.unwrap().unwrap();
    sleep(lease).await;
    let mut claiming = pin!(leases.claim(WORK, false));
    assert!(timeout(3 * lease, &mut claiming).await.is_err(), "it says that it does it");
    does_it.store(false, SeqCst);
    let held = timeout(2 * lease, claiming).await.unwrap().unwrap();
    assert!(held.is_taken_over);
    stop.cancel();
    nodes.await.unwrap();
}
