//! The relay of a cluster, and who has it when it stops on a node.

use catga::{
    log::{Position, Record},
    store::Transport,
};

use super::*;

/// A topic as one node sees it.
#[derive(Debug, Default)]
struct Topic {
    records: Arc<Mutex<Vec<Record>>>,
    /// It can't be read here any more.
    is_torn: AtomicBool,
}

impl Topic {
    fn check(&self) -> Result<(), StoreError> {
        match self.is_torn.load(Ordering::SeqCst) {
            true => Err(StoreError::corrupt("the topic is torn")),
            false => Ok(()),
        }
    }

    fn last(&self) -> Position {
        let records = self.records.lock().unwrap();
        records.last().map_or(Position::ZERO, |last| last.end().unwrap())
    }
}

impl Transport for Topic {
    fn read(
        &self,
        after: Position,
        limit: usize,
    ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
        Box::pin(async move {
            self.check()?;
            let records = self.records.lock().unwrap();
            let behind = records.iter().filter(|record| record.end().unwrap() > after);
            Ok(behind.take(limit).cloned().collect())
        })
    }

    fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
        Box::pin(async move {
            while self.last() <= after {
                self.check()?;
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            Ok(())
        })
    }

    fn end(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
        Box::pin(async move { self.check().map(|()| self.last()) })
    }

    fn publish<'a>(
        &'a self,
        after: Position,
        records: &'a [Record],
    ) -> BoxFuture<'a, Result<bool, StoreError>> {
        Box::pin(async move {
            self.check()?;
            let is_next = self.last() == after;
            if is_next {
                self.records.lock().unwrap().extend_from_slice(records);
            }
            Ok(is_next)
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_relay_that_stops_for_good_on_a_node_goes_on_at_another() {
    let cluster = Cluster::default();
    let records = Arc::<Mutex<Vec<Record>>>::default();
    let topics =
        ["a", "b"].map(|_| Arc::new(Topic { records: records.clone(), ..Topic::default() }));
    let mut nodes = Vec::new();
    for (node, topic) in ["a", "b"].into_iter().zip(&topics) {
        nodes.push(cluster.start_with_topic(node, topic.clone()).await);
    }
    let relays = |node: usize| nodes[node].catga.leases().iter().any(|work| work == "relay");
    until("one of them relays", async || relays(0) || relays(1)).await;
    let (first, second) = if relays(0) { (0, 1) } else { (1, 0) };
    cluster.note(&nodes[second]).await;
    cluster.all_seen(1).await;
    topics[first].is_torn.store(true, Ordering::SeqCst);
    // The commit wakes it.
    note_on(&nodes[second], "wake", "x").await;
    until("the other one relays", async || relays(second) && !relays(first)).await;
    let reason = nodes[first].catga.health().await.transport.unwrap_err();
    assert!(reason.contains("the topic is torn"), "{reason}");
    let head = nodes[second].catga.head().await.unwrap();
    until("all is in the topic", async || topics[second].last() == head).await;
    for node in nodes {
        node.catga.shutdown().await;
    }
}
