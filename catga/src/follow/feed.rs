//! Reads the topic once for all runners of a node that are at the same position.

use std::{
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, Interval, MissedTickBehavior, interval_at, timeout},
};
use tokio_util::task::{AbortOnDropHandle, TaskTracker};

use crate::{
    cluster::Checkpoint,
    follow::recent::{DecodedCommit, FeedPage, Lookup, PAGE, RecentCommits},
    log::{Position, StoreError},
    model::{DecodeError, Error},
    store::{PARTITIONS, Transport, guarded},
};

/// How long a runner hears nothing while only other partitions get commits.
const IDLE: Duration = Duration::from_millis(500);

/// How many runners that are behind may read at the same time, each at another position.
const BEHIND: usize = 8;

/// Reads the topic for all runners.
///
/// Where the log is the topic, the tail reads it anyway and publishes what it has read: [`TailPublisher`]. Otherwise one
/// of the runners at the end of what was read holds `ahead` and asks the transport for all of them: it waits for the
/// next commits and wakes the runners of their partitions. Once it has commits of its own, the next runner takes over.
///
/// Runners that are behind the commits kept here, such as those of a new handler, go through the log side by side: one
/// reads a page, and the others find it in `recent`.
pub(crate) struct Feed {
    transport: Arc<dyn Transport>,
    recent: Mutex<RecentCommits>,
    /// The last position that the tail has published, plus one; 0 when there is no tail publisher.
    published: AtomicU64,
    ahead: tokio::sync::Mutex<()>,
    /// Held while a runner that is behind reads, by position: others that want the same page wait for it.
    behind: [tokio::sync::Mutex<()>; BEHIND],
    /// Notified when `recent` has more commits of a partition.
    risen: [Notify; PARTITIONS as usize],
    /// The tasks of the readers.
    readers: TaskTracker,
}

impl Feed {
    /// `readers` tracks the tasks of the readers: a task that is aborted lets go of the store a moment later, and a
    /// shutdown waits for that.
    pub(crate) fn new(transport: Arc<dyn Transport>, readers: TaskTracker) -> Self {
        let (recent, published, ahead, behind, risen) = Default::default();
        Self { transport, recent, published, ahead, behind, risen, readers }
    }

    /// The publisher for the tail, which is at `after` and publishes what it reads from there on.
    pub(crate) fn publisher(self: &Arc<Self>, after: Position) -> TailPublisher {
        self.published.store(after.next().get(), Ordering::Release);
        TailPublisher(self.clone())
    }

    /// Whether the tail will publish what follows `after`. Runners ahead of the tail read directly.
    fn is_published(&self, after: Position) -> bool {
        self.published.load(Ordering::Acquire) > after.get()
    }

    /// The next commits of `partition` after `after`, as soon as there are any. If only other partitions got commits,
    /// answers an empty page at the next tick of `idle`, so that the checkpoint moves on.
    async fn next(
        &self,
        partition: u16,
        after: Position,
        idle: &mut Interval,
    ) -> Result<FeedPage, Error> {
        let (mut is_due, mut passed) = (false, None::<Checkpoint>);
        loop {
            let from = passed.map_or(after, |passed| passed.position);
            // Subscribed before the lookup, so that no notification is missed.
            let risen = self.risen[usize::from(partition)].notified();
            let sight = self.recent().after(partition, from);
            let found = match sight {
                Lookup::Page(page) => Some(page),
                // Runners ahead wait for new commits, which are of no use here.
                Lookup::Behind => self.catch_up(partition, from).await?,
                Lookup::End if is_due && passed.is_some() => None,
                Lookup::End => tokio::select! {
                    biased;
                    _ = idle.tick() => {
                        is_due = true;
                        None
                    }
                    () = risen => None,
                    _turn = self.ahead.lock(), if !self.is_published(from) => {
                        self.lead(partition, from).await?
                    }
                },
            };
            match (found, passed) {
                (Some(page), _) if !page.commits.is_empty() => return Ok(page),
                (Some(page), _) => passed = Some(page.end),
                (None, Some(end)) if is_due => return Ok(FeedPage { commits: Vec::new(), end }),
                (None, _) => {}
            }
        }
    }

    /// Reads the page after `after`, far from the end of the topic, for all runners at that position.
    async fn catch_up(&self, partition: u16, after: Position) -> Result<Option<FeedPage>, Error> {
        let place = after.get() / PAGE as u64 % BEHIND as u64;
        let place = usize::try_from(place).expect("it is below BEHIND");
        let _turn = self.behind[place].lock().await;
        self.read(partition, after).await
    }

    /// Asks the transport for all runners: reads what is there, or else waits a while for new commits.
    async fn lead(&self, partition: u16, after: Position) -> Result<Option<FeedPage>, Error> {
        let page = self.read(partition, after).await?;
        if page.is_none()
            && let Ok(waited) = timeout(IDLE, self.transport.wait(after)).await
        {
            waited?;
        }
        Ok(page)
    }

    /// Reads the page after `after` for all runners, unless the runner before has just read it; `None` when there is none.
    async fn read(&self, partition: u16, after: Position) -> Result<Option<FeedPage>, Error> {
        let sight = self.recent().after(partition, after);
        if let Lookup::Page(page) = sight {
            return Ok(Some(page));
        }
        let page = self.transport.read(after, PAGE).await?;
        let page = page
            .iter()
            .map(|record| Ok(Arc::new(DecodedCommit::new(record)?)))
            .collect::<Result<Vec<_>, DecodeError>>()?;
        self.take_in(after, &page);
        Ok(FeedPage::of(partition, page.iter()))
    }

    fn take_in(&self, after: Position, page: &[Arc<DecodedCommit>]) {
        self.recent().push(after, page);
        let mut has_risen = [false; PARTITIONS as usize];
        page.iter().for_each(|commit| has_risen[usize::from(commit.partition)] = true);
        let risen = self.risen.iter().zip(has_risen).filter(|(_, has_risen)| *has_risen);
        risen.for_each(|(risen, _)| risen.notify_waiters());
    }

    fn recent(&self) -> MutexGuard<'_, RecentCommits> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A runner's position in the topic.
///
/// It reads in a task of its own, so that whatever else the runner does neither cancels a read nor delays other runners
/// that want the same page. It is at most two pages ahead of the runner: one in the channel, one waiting to be sent.
pub(crate) struct TopicReader {
    pages: mpsc::Receiver<Result<FeedPage, Error>>,
    _task: AbortOnDropHandle<()>,
}

impl TopicReader {
    /// The commits of `partition` after `after`.
    pub(crate) fn new(feed: Arc<Feed>, partition: u16, mut after: Position) -> Self {
        let (sender, pages) = mpsc::channel(1);
        let readers = feed.readers.clone();
        let reading = async move {
            let mut idle = interval_at(Instant::now() + IDLE, IDLE);
            idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let page = feed.next(partition, after, &mut idle).await;
                let end = page.as_ref().map(|page| page.end.position).ok();
                let (Ok(()), Some(end)) = (sender.send(page).await, end) else { return };
                after = end;
            }
        };
        let task = readers.spawn(async move {
            // Its runner notices, and begins anew.
            let _ = guarded("reader of the topic", reading).await;
        });
        Self { pages, _task: AbortOnDropHandle::new(task) }
    }

    /// The next commits as soon as there are any, or an empty page that says how far the topic has come. After an error
    /// the reader has ended.
    pub(crate) async fn next(&mut self) -> Result<FeedPage, Error> {
        self.pages
            .recv()
            .await
            .unwrap_or_else(|| Err(StoreError::unavailable("the reader of the topic ended").into()))
    }
}

/// Hands what the tail reads to the runners. Once it is dropped, they read directly again.
pub(crate) struct TailPublisher(Arc<Feed>);

impl TailPublisher {
    /// The tail begins after `after`, with a snapshot. Runners behind that read directly.
    pub(crate) fn begin(&self, after: Position) {
        self.0.recent().push(after, &[]);
        self.0.published.store(after.next().get(), Ordering::Release);
        self.0.risen.iter().for_each(Notify::notify_waiters);
    }

    /// Takes in what the tail has read after `after`.
    pub(crate) fn push(&self, after: Position, page: &[Arc<DecodedCommit>]) {
        let Some(end) = page.last().map(|commit| commit.last.position) else { return };
        self.0.take_in(after, page);
        self.0.published.store(end.next().get(), Ordering::Release);
    }
}

impl Drop for TailPublisher {
    fn drop(&mut self) {
        self.0.published.store(0, Ordering::Release);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use tokio::task::yield_now;
    use uuid::Uuid;

    use super::*;
    use crate::{
        log::{EventFrame, Record, StoreError, StreamId},
        store::{BoxFuture, EventStore, InMemoryTransport, MemoryStore, partition_of},
        testing,
    };

    /// A log that yields before each read, and counts the reads.
    struct Counted(InMemoryTransport, AtomicU64);

    impl Transport for Counted {
        fn read(
            &self,
            after: Position,
            limit: usize,
        ) -> BoxFuture<'_, Result<Vec<Record>, StoreError>> {
            self.1.fetch_add(1, Ordering::SeqCst);
            Box::pin(async move {
                yield_now().await;
                self.0.read(after, limit).await
            })
        }

        fn wait(&self, after: Position) -> BoxFuture<'_, Result<(), StoreError>> {
            self.0.wait(after)
        }

        fn end(&self) -> BoxFuture<'_, Result<Position, StoreError>> {
            self.0.end()
        }

        fn publish<'a>(
            &'a self,
            after: Position,
            records: &'a [Record],
        ) -> BoxFuture<'a, Result<bool, StoreError>> {
            self.0.publish(after, records)
        }
    }

    fn decoded(records: &[Record]) -> Vec<Arc<DecodedCommit>> {
        records.iter().map(|record| Arc::new(DecodedCommit::new(record).unwrap())).collect()
    }

    async fn commits(store: &MemoryStore, count: u64) -> Vec<Record> {
        let stream = StreamId::new("test", "a").unwrap();
        for version in store.head().await.unwrap().get()..count {
            let event = EventFrame { id: Uuid::nil(), name: "Tested", schema: 1, payload: &[] };
            testing::append(store, &testing::commit(&stream, version.into(), [event]), 0)
                .await
                .unwrap();
        }
        store.read_log(Position::ZERO, 1000).await.unwrap()
    }

    #[tokio::test]
    async fn what_the_tail_publishes_is_not_read_again_and_without_the_tail_reading_goes_on() {
        let store = Arc::new(MemoryStore::default());
        let records = commits(&store, 9).await;
        let log = Arc::new(Counted(InMemoryTransport::new(store.clone()), AtomicU64::new(0)));
        let feed = Arc::new(Feed::new(log.clone(), TaskTracker::new()));
        let partition = partition_of("test/a");
        let next = async |after: u64| {
            let mut idle = interval_at(Instant::now() + IDLE, IDLE);
            let page =
                timeout(Duration::from_secs(10), feed.next(partition, after.into(), &mut idle));
            let page = page.await.expect("it does not wait for the tail").unwrap();
            let positions = page.commits.iter().map(|commit| commit.last.position.get());
            (positions.collect::<Vec<_>>(), log.1.load(Ordering::SeqCst))
        };
        let publisher = feed.publisher(Position::ZERO);
        // Publishing wakes a runner that waits.
        let (page, ()) = tokio::join!(next(0), async {
            publisher.push(Position::ZERO, &decoded(&records[0..3]));
        });
        assert_eq!(page, (vec![1, 2, 3], 0));
        // A runner ahead of the tail does not wait for it.
        assert_eq!(next(5).await, (vec![6, 7, 8, 9], 1));
        publisher.push(3.into(), &decoded(&records[3..8]));
        assert_eq!(next(3).await, (vec![4, 5, 6, 7, 8], 1));
        assert_eq!(next(8).await, (vec![9], 1));
        // The tail reaches what a runner has read, with a page that ends behind it.
        let more = commits(&store, 12).await.split_off(8);
        publisher.push(8.into(), &decoded(&more));
        assert_eq!(next(9).await, (vec![10, 11, 12], 1));
        drop(publisher);
        commits(&store, 13).await;
        assert_eq!(next(12).await, (vec![13], 2));
    }

    #[tokio::test]
    async fn runners_behind_where_the_tail_begins_read_directly() {
        let store = Arc::new(MemoryStore::default());
        let records = commits(&store, 9).await;
        let log = Arc::new(Counted(InMemoryTransport::new(store.clone()), AtomicU64::new(0)));
        let feed = Arc::new(Feed::new(log.clone(), TaskTracker::new()));
        let next = async |after: u64| {
            let mut idle = interval_at(Instant::now() + IDLE, IDLE);
            let page = feed.next(partition_of("test/a"), after.into(), &mut idle).await.unwrap();
            page.commits.iter().map(|commit| commit.last.position.get()).collect::<Vec<_>>()
        };
        let publisher = feed.publisher(Position::ZERO);
        // A runner that already waits is woken.
        let (page, ()) = tokio::join!(next(0), async { publisher.begin(6.into()) });
        assert_eq!(page, (1..=9).collect::<Vec<_>>());
        assert_eq!(next(4).await, [5, 6, 7, 8, 9]);
        let read = log.1.load(Ordering::SeqCst);
        publisher.push(6.into(), &decoded(&records[6..]));
        assert_eq!(next(6).await, [7, 8, 9]);
        assert_eq!(log.1.load(Ordering::SeqCst), read);
    }

    #[tokio::test]
    async fn runners_far_behind_read_together() {
        let store = Arc::new(MemoryStore::default());
        let records = commits(&store, 9).await;
        let log = Arc::new(Counted(InMemoryTransport::new(store.clone()), AtomicU64::new(0)));
        let feed = Arc::new(Feed::new(log.clone(), TaskTracker::new()));
        let publisher = feed.publisher(Position::ZERO);
        publisher.begin(6.into());
        let next = async |after: u64| {
            let mut idle = interval_at(Instant::now() + IDLE, IDLE);
            let page = feed.next(partition_of("test/a"), after.into(), &mut idle).await.unwrap();
            page.end.position.get()
        };
        assert_eq!(join_all((0..8).map(|_| next(0))).await, [9; 8]);
        assert_eq!(log.1.load(Ordering::SeqCst), 1);
        // So do those a little further on, and once the tail gets there nothing is read again.
        assert_eq!(join_all((0..8).map(next)).await, [9; 8]);
        publisher.push(6.into(), &decoded(&records[6..]));
        assert_eq!((next(8).await, log.1.load(Ordering::SeqCst)), (9, 1));
    }
}
