//! The stream that the dead letters of a handler on a partition are written to: `catga-parked-{partition}/{handler}`.
//!
//! It is part of the log, so every node knows all dead letters, and they survive what the log survives.
//!
//! A node that takes over a handler's partition from one that did not hand it over writes that into this stream first.
//! A paused node that wakes up would park under its old lease; it writes at the version it knows, and is refused.

use crate::{
    cluster::Held,
    log::{Position, StreamId},
    model::{DecodeError, Error, Event, Recorded},
    program::{Program, StreamEnd},
    react::{
        dead_letters::{DeadLetter, DeadLetters},
        parking_event::ParkingEvent,
    },
    read::Projection,
    store::{Appended, NotAppended},
};

/// A stream of dead letters, and where it ends as far as is known.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetterStream(StreamEnd);

impl DeadLetterStream {
    /// The stream of `handler`'s dead letters in a partition, at its begin.
    pub(crate) fn new(handler: &str, partition: u16) -> Result<Self, Error> {
        let stream = StreamId::new(&format!("catga-parked-{partition}"), handler)
            .map_err(|_| Error::misuse("an event handler's name can't be part of a stream's"))?;
        Ok(Self(StreamEnd::new(stream)))
    }

    /// Appends what the owner of the work does to its dead letters.
    ///
    /// # Errors
    /// When somebody else owns the work now: what this knows of the stream is older than the new owner's first event.
    pub(crate) async fn append(
        &mut self,
        program: &Program,
        held: &Held,
        event: &ParkingEvent,
    ) -> Result<Position, Error> {
        loop {
            if let Some(appended) = self.try_append(program, std::slice::from_ref(event)).await? {
                return Ok(appended.position);
            }
            // First the end, then the lease: a takeover in between moves the end.
            let mut end = self.clone();
            end.find_end(program).await?;
            held.check().await?;
            *self = end;
        }
    }

    /// Appends `events` as one commit at the end that this knows; `None` when the stream ends elsewhere.
    pub(crate) async fn try_append(
        &mut self,
        program: &Program,
        events: &[ParkingEvent],
    ) -> Result<Option<Appended>, Error> {
        let encoded = events.iter().map(|event| {
            let mut payload = Vec::new();
            event.encode(&mut payload).map(|ty| (ty, payload))
        });
        let encoded: Vec<_> = encoded.collect::<Result<_, _>>()?;
        if encoded.is_empty() {
            return Err(Error::misuse("there is nothing to append"));
        }
        let now = program.clock.now();
        match self.0.append(program.store(), &program.node, now, &encoded).await {
            Ok(appended) => Ok(Some(appended)),
            Err(NotAppended::Conflict) => Ok(None),
            Err(NotAppended::Refused(error)) => Err(error.into()),
            Err(NotAppended::Frame(error)) => Err(DecodeError::from(error).into()),
        }
    }

    /// Reads on to the end of the stream.
    pub(crate) async fn find_end(&mut self, program: &Program) -> Result<(), Error> {
        self.read(program, |_| {}).await
    }

    /// The dead letters in the stream, which is read to its end, and the position of what came last. The read models may
    /// not be there yet.
    pub(crate) async fn dead_letters(
        &mut self,
        program: &Program,
    ) -> Result<(Vec<DeadLetter>, Position), Error> {
        let (mut letters, mut end) = (DeadLetters::default(), Position::default());
        self.read(program, |event| {
            letters.apply(event);
            end = event.position;
        })
        .await?;
        Ok((letters.all(), end))
    }

    /// Reads on to the end of the stream, and gives each event to `each`.
    async fn read(
        &mut self,
        program: &Program,
        mut each: impl FnMut(&Recorded<ParkingEvent>),
    ) -> Result<(), Error> {
        loop {
            let page = self.0.next_page(program.store()).await?;
            let Some(last) = page.last() else { return Ok(()) };
            for record in &page {
                Recorded::read(record)?.iter().for_each(&mut each);
            }
            self.0.pass(last).map_err(DecodeError::from)?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio_util::task::TaskTracker;

    use super::*;
    use crate::{
        cluster::{Leases, Work},
        log::{Clock, LogId, Timestamp},
        program::{Extensions, Pipeline, ReadProgress},
        react::parking_event::{HandlerTaken, StreamReleased},
        store::{KvStore, MemoryKvStore, MemoryStore},
    };

    const WORK: Work = Work::Handler { name: "h", partition: 3 };

    fn program(kv: &Arc<dyn KvStore>) -> Program {
        Program {
            store: Arc::new(MemoryStore::new()),
            kv: kv.clone(),
            clock: Clock::system(),
            node: "test".to_owned(),
            extensions: Extensions::default(),
            pipeline: Pipeline::new(Vec::new()),
            skipped: Arc::default(),
            progress: ReadProgress::new(),
            timeout: Duration::from_secs(5),
            tasks: TaskTracker::new(),
        }
    }

    /// Two nodes that don't know of one another, as a paused one and the one that took over.
    async fn takeover(kv: &Arc<dyn KvStore>) -> (Held, Held) {
        let first = Leases::alone(kv.clone(), LogId::new(1)).claim(WORK, false).await.unwrap();
        assert!(!first.is_taken_over);
        let second = Leases::alone(kv.clone(), LogId::new(1)).claim(WORK, false).await.unwrap();
        assert!(second.is_taken_over);
        (first, second)
    }

    #[tokio::test]
    async fn under_an_old_epoch_nothing_is_parked() {
        let kv: Arc<dyn KvStore> = Arc::new(MemoryKvStore::new());
        let program = program(&kv);
        let released = |stream: &str| {
            let (handler, stream) = ("h".to_owned(), stream.to_owned());
            ParkingEvent::Released(StreamReleased { handler, stream })
        };
        let (first, second) = takeover(&kv).await;
        let stream = || DeadLetterStream::new("h", 3).unwrap();
        // The first writes for as long as the second has not begun: the second sees its dead letters.
        let mut old = stream();
        old.append(&program, &first, &released("a/1")).await.unwrap();
        let (handler, node) = ("h".to_owned(), "second".to_owned());
        let taken = ParkingEvent::Taken(HandlerTaken { handler, partition: 3, node });
        let mut new = stream();
        new.append(&program, &second, &taken).await.unwrap();
        assert!(old.append(&program, &first, &released("a/2")).await.is_err());
        assert!(old.append(&program, &first, &released("a/2")).await.is_err());
        // Somebody else's requests do not stop the owner.
        let mut other = stream();
        other.append(&program, &second, &released("a/3")).await.unwrap();
        new.append(&program, &second, &released("a/4")).await.unwrap();
        let (letters, end) = stream().dead_letters(&program).await.unwrap();
        assert!(letters.is_empty());
        assert_eq!((end, program.store().head().await.unwrap()), (4.into(), 4.into()));
    }
    #[tokio::test]
    async fn a_clock_that_is_behind_records_nothing_earlier_than_what_is_there() {
        let kv: Arc<dyn KvStore> = Arc::new(MemoryKvStore::new());
        let held = Leases::alone(kv.clone(), LogId::new(1)).claim(WORK, false).await.unwrap();
        let mut program = program(&kv);
        let (handler, stream) = ("h".to_owned(), "a/1".to_owned());
        let released = ParkingEvent::Released(StreamReleased { handler, stream });
        let mut first = DeadLetterStream::new("h", 3).unwrap();
        let mut second = first.clone();
        for (clock, writer) in [(9, &mut first), (5, &mut second)] {
            program.clock = Clock::manual(Timestamp::from_micros(clock));
            for _ in 0..2 {
                writer.append(&program, &held, &released).await.unwrap();
            }
        }
        let stream = DeadLetterStream::new("h", 3).unwrap();
        let log = stream.0.next_page(program.store()).await.unwrap();
        let times: Vec<_> = log.iter().map(|r| r.commit().unwrap().time.as_micros()).collect();
        assert_eq!(times, [9; 4]);
    }
}
