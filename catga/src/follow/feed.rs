//! The topic as all runners of a node read it: the transport is asked once for those who are at the same place.

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
use tokio_util::task::AbortOnDropHandle;

use crate::{
    cluster::Checkpoint,
    follow::recent::{DecodedCommit, Lookup, PAGE, Page, Recent},
    log::Position,
    model::{DecodeError, Error},
    store::{PARTITIONS, Transport},
};

/// How long a runner is left alone while only other partitions have something.
const IDLE: Duration = Duration::from_millis(500);

/// At how many places of the topic those who are behind read at the same time.
const BEHIND: usize = 8;

/// Reads the topic for all runners.
///
/// Where the log is the topic, the tail reads it anyway, and hands on what it has read: [`TailPublisher`]. Otherwise, of all
/// who are at the end of what was read, the one that holds `ahead` asks the transport for everybody: it waits
/// there for what comes next, and wakes those whose partition has something. Once there is something for itself, the
/// next one takes over.
///
/// Runners that are behind what is kept of that, as those of a new handler are, go through the log side by side: one
/// reads a page, and the others find it there.
pub(crate) struct Feed {
    transport: Arc<dyn Transport>,
    recent: Mutex<Recent>,
    /// Up to where the tail has published what it read, plus one; 0 when it offers nothing.
    published: AtomicU64,
    ahead: tokio::sync::Mutex<()>,
    /// Held while somebody who is behind reads, by where: others who want the same wait for it.
    behind: [tokio::sync::Mutex<()>; BEHIND],
    /// Told that `recent` has more of a partition.
    risen: [Notify; PARTITIONS as usize],
}

impl Feed {
    pub(crate) fn new(transport: Arc<dyn Transport>) -> Self {
        let (recent, published, ahead, behind, risen) = Default::default();
        Self { transport, recent, published, ahead, behind, risen }
    }

    /// For the tail, which is at `after` and offers what it reads from there on.
    pub(crate) fn publisher(self: &Arc<Self>, after: Position) -> TailPublisher {
        self.published.store(after + 1, Ordering::Release);
        TailPublisher(self.clone())
    }

    /// Whether the tail will offer what follows `after`. Who is ahead of the tail reads for himself.
    fn is_published(&self, after: Position) -> bool {
        self.published.load(Ordering::Acquire) > after
    }

    /// The next commits of `partition` after `after`, as soon as there are any. When others went by meanwhile, a page
    /// without any comes with the next tick of `idle`, so that the checkpoint moves on.
    async fn next(
        &self,
        partition: u16,
        after: Position,
        idle: &mut Interval,
    ) -> Result<Page, Error> {
        let (mut is_due, mut passed) = (false, None::<Checkpoint>);
        loop {
            let from = passed.map_or(after, |passed| passed.position);
            // From here on nothing is missed.
            let risen = self.risen[usize::from(partition)].notified();
            let sight = self.recent().after(partition, from);
            let found = match sight {
                Lookup::Page(page) => Some(page),
                // Those ahead wait for what comes next: nothing of that is any use here.
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
                (None, Some(end)) if is_due => return Ok(Page { commits: Vec::new(), end }),
                (None, _) => {}
            }
        }
    }

    /// Reads on after `after`, far from the end of the topic, for all who are there.
    async fn catch_up(&self, partition: u16, after: Position) -> Result<Option<Page>, Error> {
        let place = after / PAGE as u64 % BEHIND as u64;
        let place = usize::try_from(place).expect("it is below BEHIND");
        let _turn = self.behind[place].lock().await;
        self.read(partition, after).await
    }

    /// Asks the transport, for everybody: what there is, or else, for a while, for what comes.
    async fn lead(&self, partition: u16, after: Position) -> Result<Option<Page>, Error> {
        let page = self.read(partition, after).await?;
        if page.is_none()
            && let Ok(waited) = timeout(IDLE, self.transport.wait(after)).await
        {
            waited?;
        }
        Ok(page)
    }

    /// Reads on after `after`, for everybody, unless who had the turn before just has; `None` when there is nothing.
    async fn read(&self, partition: u16, after: Position) -> Result<Option<Page>, Error> {
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
        Ok(Page::of(partition, page.iter()))
    }

    fn take_in(&self, after: Position, page: &[Arc<DecodedCommit>]) {
        self.recent().push(after, page);
        let mut has_risen = [false; PARTITIONS as usize];
        page.iter().for_each(|fed| has_risen[usize::from(fed.partition)] = true);
        let risen = self.risen.iter().zip(has_risen).filter(|(_, has_risen)| *has_risen);
        risen.for_each(|(risen, _)| risen.notify_waiters());
    }

    fn recent(&self) -> MutexGuard<'_, Recent> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A runner's place in the topic.
///
/// It reads in a task of its own: whatever else the runner has to do meanwhile neither ends a read nor keeps those
/// waiting who want the same. It is two pages ahead of the runner at most: one is handed over, one waits to be.
pub(crate) struct Reader {
    pages: mpsc::Receiver<Result<Page, Error>>,
    _task: AbortOnDropHandle<()>,
}

impl Reader {
    /// The commits of `partition` after `after`.
    pub(crate) fn new(feed: Arc<Feed>, partition: u16, mut after: Position) -> Self {
        let (sender, pages) = mpsc::channel(1);
        let task = tokio::spawn(async move {
            let mut idle = interval_at(Instant::now() + IDLE, IDLE);
            idle.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                let page = feed.next(partition, after, &mut idle).await;
                let end = page.as_ref().map(|page| page.end.position).ok();
                let (Ok(()), Some(end)) = (sender.send(page).await, end) else { return };
                after = end;
            }
        });
        Self { pages, _task: AbortOnDropHandle::new(task) }
    }

    /// The next commits, as soon as there are any, or where the topic has come to without any. After an error there is
    /// nothing more.
    pub(crate) async fn next(&mut self) -> Result<Page, Error> {
        self.pages
            .recv()
            .await
            .unwrap_or_else(|| Err(Error::misuse("the reader of the topic ended")))
    }
}

/// What the tail offers, for as long as it is there: then the runners read for themselves again.
pub(crate) struct TailPublisher(Arc<Feed>);

impl TailPublisher {
    /// The tail begins after `after`, with a snapshot. Who is behind reads for himself.
    pub(crate) fn begin(&self, after: Position) {
        self.0.recent().push(after, &[]);
        self.0.published.store(after + 1, Ordering::Release);
        self.0.risen.iter().for_each(Notify::notify_waiters);
    }

    /// Takes in what the tail has read after `after`.
    pub(crate) fn push(&self, after: Position, page: &[Arc<DecodedCommit>]) {
        let Some(end) = page.last().map(|fed| fed.last.position) else { return };
        self.0.take_in(after, page);
        self.0.published.store(end + 1, Ordering::Release);
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

    /// A log that is not read at once, and counts how often it is.
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

    fn feds(records: &[Record]) -> Vec<Arc<DecodedCommit>> {
        records.iter().map(|record| Arc::new(DecodedCommit::new(record).unwrap())).collect()
    }

    async fn commits(store: &MemoryStore, count: u64) -> Vec<Record> {
        let stream = StreamId::new("test", "a").unwrap();
        for version in store.head().await.unwrap()..count {
            let event = EventFrame { id: Uuid::nil(), name: "Tested", schema: 1, payload: &[] };
            testing::append(store, &testing::commit(&stream, version, [event]), 0).await.unwrap();
        }
        store.read_log(0, 1000).await.unwrap()
    }

    #[tokio::test]
    async fn what_the_tail_offers_is_not_read_again_and_without_the_tail_it_goes_on() {
        let store = Arc::new(MemoryStore::default());
        let records = commits(&store, 9).await;
        let log = Arc::new(Counted(InMemoryTransport::new(store.clone()), AtomicU64::new(0)));
        let feed = Arc::new(Feed::new(log.clone()));
        let partition = partition_of("test/a");
        let next = async |after| {
            let mut idle = interval_at(Instant::now() + IDLE, IDLE);
            let page = timeout(Duration::from_secs(10), feed.next(partition, after, &mut idle));
            let page = page.await.expect("it does not wait for the tail").unwrap();
            let positions = page.commits.iter().map(|fed| fed.last.position);
            (positions.collect::<Vec<_>>(), log.1.load(Ordering::SeqCst))
        };
        let publisher = feed.publisher(0);
        // Who waits is woken by the offer.
        let (page, ()) = tokio::join!(next(0), async { publisher.push(0, &feds(&records[0..3])) });
        assert_eq!(page, (vec![1, 2, 3], 0));
        // Who is ahead of the tail does not wait for it.
        assert_eq!(next(5).await, (vec![6, 7, 8, 9], 1));
        publisher.push(3, &feds(&records[3..8]));
        assert_eq!(next(3).await, (vec![4, 5, 6, 7, 8], 1));
        assert_eq!(next(8).await, (vec![9], 1));
        // The tail comes to where others have been, with a page that goes on behind it.
        let more = commits(&store, 12).await.split_off(8);
        publisher.push(8, &feds(&more));
        assert_eq!(next(9).await, (vec![10, 11, 12], 1));
        drop(publisher);
        commits(&store, 13).await;
        assert_eq!(next(12).await, (vec![13], 2));
    }

    #[tokio::test]
    async fn who_is_behind_where_the_tail_begins_reads_for_himself() {
        let store = Arc::new(MemoryStore::default());
        let records = commits(&store, 9).await;
        let log = Arc::new(Counted(InMemoryTransport::new(store.clone()), AtomicU64::new(0)));
        let feed = Arc::new(Feed::new(log.clone()));
        let next = async |after| {
            let mut idle = interval_at(Instant::now() + IDLE, IDLE);
            let page = feed.next(partition_of("test/a"), after, &mut idle).await.unwrap();
            page.commits.iter().map(|fed| fed.last.position).collect::<Vec<_>>()
        };
        let publisher = feed.publisher(0);
        // Who waits already is told.
        let (page, ()) = tokio::join!(next(0), async { publisher.begin(6) });
        assert_eq!(page, (1..=9).collect::<Vec<_>>());
        assert_eq!(next(4).await, [5, 6, 7, 8, 9]);
        let read = log.1.load(Ordering::SeqCst);
        publisher.push(6, &feds(&records[6..]));
        assert_eq!(next(6).await, [7, 8, 9]);
        assert_eq!(log.1.load(Ordering::SeqCst), read);
    }

    #[tokio::test]
    async fn those_who_are_far_behind_read_together() {
        let store = Arc::new(MemoryStore::default());
        let records = commits(&store, 9).await;
        let log = Arc::new(Counted(InMemoryTransport::new(store.clone()), AtomicU64::new(0)));
        let feed = Arc::new(Feed::new(log.clone()));
        let publisher = feed.publisher(0);
        publisher.begin(6);
        let next = async |after| {
            let mut idle = interval_at(Instant::now() + IDLE, IDLE);
            let page = feed.next(partition_of("test/a"), after, &mut idle).await.unwrap();
            page.end.position
        };
        assert_eq!(join_all((0..8).map(|_| next(0))).await, [9; 8]);
        assert_eq!(log.1.load(Ordering::SeqCst), 1);
        // Those a little further on too, and when the tail comes there nothing is read any more.
        assert_eq!(join_all((0..8).map(next)).await, [9; 8]);
        publisher.push(6, &feds(&records[6..]));
        assert_eq!((next(8).await, log.1.load(Ordering::SeqCst)), (9, 1));
    }
}
