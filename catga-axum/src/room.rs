//! How many bytes of bodies and of answers are kept at once, over all connections, and who leaves when there are more.
//!
//! A limit of each body and of each answer is not enough: ten thousand clients that are slow to send, or to read, have ten
//! gigabytes kept for them.

use std::{
    cmp::Reverse,
    collections::HashMap,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    task::{Context, Poll, ready},
};

use axum::{
    BoxError,
    body::{Body, HttpBody},
    http::Method,
    response::{IntoResponse, Response},
};
use bytes::Bytes;
use hyper::body::{Frame, SizeHint};

use crate::{body::MAX_BODY, problem::Problem, refusals::MEMORY, timer::RequestTimer};

/// What takes no more than this is not counted: there is room for it on every connection, so that who sends and asks for
/// little is served whatever the others do.
const SMALL: usize = 16 << 10;

/// How many bytes there is room for beside that.
const MOST: usize = 256 << 20;

/// Room for what is kept for clients.
#[derive(Debug)]
pub(crate) struct Room {
    most: usize,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    /// In all, but for what is about to go.
    bytes: usize,
    next: u64,
    shares: HashMap<u64, Counted>,
}

#[derive(Debug)]
struct Counted {
    bytes: usize,
    timer: RequestTimer,
    /// Its connection was told to end, and its bytes count no more.
    is_leaving: bool,
}

impl Default for Room {
    fn default() -> Self {
        Self { most: MOST, kept: Mutex::default() }
    }
}

impl Room {
    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// Has those leave whose clients have been waited for longest, and for longer than that of `timer`, until there is room
    /// for `bytes` among `most`. Answers whether there is.
    fn make_room(&mut self, bytes: usize, most: usize, timer: &RequestTimer) -> bool {
        let own = timer.waited().unwrap_or_default();
        let waited = self.shares.values_mut().filter(|share| !share.is_leaving);
        let waited = waited.filter_map(|share| Some((share.timer.waited()?, share)));
        let mut waited: Vec<_> = waited.filter(|(time, _)| *time > own).collect();
        waited.sort_unstable_by_key(|(time, _)| Reverse(*time));
        // Some more than is needed, as to find them takes a look at all.
        let enough = most.saturating_sub(most / 32).saturating_sub(bytes);
        for (_, share) in waited {
            if self.bytes <= enough {
                break;
            }
            share.is_leaving = true;
            self.bytes -= share.bytes;
            share.timer.leave_for_memory();
        }
        self.bytes + bytes <= most
    }
}

/// What is kept for one request or one answer.
#[derive(Debug)]
pub(crate) struct Share {
    timer: RequestTimer,
    bytes: usize,
    /// What it is counted under.
    number: Option<u64>,
}

impl Share {
    pub(crate) fn new(timer: RequestTimer) -> Self {
        Self { timer, bytes: 0, number: None }
    }

    pub(crate) fn timer(&self) -> &RequestTimer {
        &self.timer
    }

    /// Takes so many bytes more. Answers whether there is room for them.
    pub(crate) fn grow(&mut self, bytes: usize) -> bool {
        let all = self.bytes + bytes;
        // What a handler reads piece by piece it does not keep.
        if all > SMALL && self.bytes < MAX_BODY {
            return self.count(all);
        }
        self.bytes = all;
        true
    }

    #[cold]
    fn count(&mut self, all: usize) -> bool {
        let room = self.timer.room();
        let mut kept = room.kept();
        let counted = self.number.map_or(0, |_| self.bytes);
        let more = all - counted;
        if kept.bytes + more > room.most && !kept.make_room(more, room.most, &self.timer) {
            return false;
        }
        let number = *self.number.get_or_insert(kept.next);
        kept.next = kept.next.max(number + 1);
        let timer = || self.timer.clone();
        let share = kept.shares.entry(number);
        let share =
            share.or_insert_with(|| Counted { bytes: 0, timer: timer(), is_leaving: false });
        share.bytes = all;
        if !share.is_leaving {
            kept.bytes += more;
        }
        self.bytes = all;
        true
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut kept = self.timer.room().kept();
        if let Some(Counted { bytes, is_leaving: false, .. }) = kept.shares.remove(&number) {
            kept.bytes -= bytes;
        }
    }
}

/// The answer to a request with `method`, counted for as long as its client has not read it.
pub(crate) fn counted(response: Response, method: &Method, timer: &RequestTimer) -> Response {
    let size = response.body().size_hint().exact();
    if size.is_some_and(|size| size <= SMALL as u64) {
        return response;
    }
    let mut share = Share::new(timer.clone());
    let has_room = share.grow(size.and_then(|size| usize::try_from(size).ok()).unwrap_or(0));
    // What a command did is done, and its client must hear of it.
    if !has_room && method == Method::GET {
        MEMORY.count();
        return Problem::too_much_kept().into_response();
    }
    // One without a known size is counted piece by piece.
    let whole = size.map(|_| Arc::new(share));
    response.map(|body| Body::new(CountedBody { body, whole, timer: timer.clone() }))
}

struct CountedBody {
    body: Body,
    whole: Option<Arc<Share>>,
    timer: RequestTimer,
}

/// A piece of an answer. Whoever writes it keeps it until all of it is written.
struct Piece {
    bytes: Bytes,
    _share: Arc<Share>,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// There is no room for what comes next.
#[derive(Debug, thiserror::Error)]
#[error("too much is kept for clients that are slow to send or to read")]
pub(crate) struct NoRoom;

impl HttpBody for CountedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { body, whole, timer } = self.get_mut();
        let Some(frame) = ready!(Pin::new(body).poll_frame(cx)) else { return Poll::Ready(None) };
        let bytes = match frame?.into_data() {
            Ok(bytes) if whole.is_none() && bytes.len() <= SMALL => Frame::data(bytes),
            Ok(bytes) => {
                let _share = match whole {
                    Some(share) => share.clone(),
                    None => {
                        let mut share = Share::new(timer.clone());
                        if !share.grow(bytes.len()) {
                            MEMORY.count();
                            return Poll::Ready(Some(Err(NoRoom.into())));
                        }
                        Arc::new(share)
                    }
                };
                Frame::data(Bytes::from_owner(Piece { bytes, _share }))
            }
            Err(trailers) => trailers,
        };
        Poll::Ready(Some(Ok(bytes)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::http::StatusCode;
    use http_body_util::BodyExt;

    use super::*;

    const HALF: usize = 512 << 10;

    fn room_for(most: usize) -> Arc<Room> {
        Arc::new(Room { most, ..Room::default() })
    }

    fn timer(room: &Arc<Room>) -> RequestTimer {
        RequestTimer::new(Duration::from_secs(9), room.clone())
    }

    #[test]
    fn what_is_small_needs_no_room() {
        let room = room_for(0);
        let mut share = Share::new(timer(&room));
        assert!(share.grow(SMALL / 2) && share.grow(SMALL / 2));
        assert!(!share.grow(1));
    }

    #[test]
    fn what_is_kept_is_bounded_and_room_is_given_back() {
        let room = room_for(2 * HALF);
        let mut shares: Vec<_> = (0..3).map(|_| Share::new(timer(&room))).collect();
        assert!(shares[0].grow(HALF) && shares[1].grow(HALF / 2) && shares[1].grow(HALF / 2));
        assert!(!shares[2].grow(HALF), "all of it is worked on");
        drop(shares.remove(0));
        assert!(shares[1].grow(HALF));
        assert_eq!(room.kept().bytes, 2 * HALF);
        drop(shares);
        let kept = room.kept();
        assert_eq!((kept.bytes, kept.shares.len()), (0, 0));
    }

    #[test]
    fn who_has_been_waited_for_longest_leaves() {
        let room = room_for(4 * HALF);
        let mut shares: Vec<_> = (0..4).map(|_| Share::new(timer(&room))).collect();
        for share in &mut shares[1..] {
            share.timer.begin_wait();
            std::thread::sleep(Duration::from_millis(2));
        }
        assert!(shares.iter_mut().all(|share| share.grow(HALF)));
        let mut latest = Share::new(timer(&room));
        latest.timer.begin_wait();
        assert!(latest.grow(HALF));
        let leaving = |share: &Share| room.kept().shares[&share.number.unwrap()].is_leaving;
        assert!(leaving(&shares[1]) && !leaving(&shares[3]), "it came last");
        assert!(!leaving(&shares[0]), "it is worked on");
        // Who has been waited for longest makes nobody else leave.
        let last = shares.pop().unwrap();
        drop(shares);
        drop(latest);
        let mut working = Share::new(timer(&room));
        assert!(working.grow(3 * HALF) && !leaving(&last));
        std::thread::sleep(Duration::from_millis(2));
        let mut new = Share::new(timer(&room));
        new.timer.begin_wait();
        assert!(new.grow(SMALL + 1) && leaving(&last));
    }

    #[tokio::test]
    async fn an_answer_counts_until_it_is_written() {
        let room = room_for(2 * HALF);
        let timer = timer(&room);
        let answer = |size| Response::new(Body::from(vec![b'x'; size]));
        let small = counted(answer(SMALL), &Method::GET, &timer);
        assert_eq!(room.kept().bytes, 0);
        let mut large = counted(answer(HALF), &Method::GET, &timer);
        assert_eq!(large.body().size_hint().exact(), Some(HALF as u64));
        let frame = large.body_mut().frame().await.unwrap().unwrap();
        drop(large);
        assert_eq!((room.kept().bytes, frame.data_ref().unwrap().len()), (HALF, HALF));
        let refused = counted(answer(2 * HALF), &Method::GET, &timer);
        assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);
        let done = counted(answer(2 * HALF), &Method::POST, &timer);
        assert_eq!(done.status(), StatusCode::OK, "a command is done");
        assert_eq!(done.into_body().collect().await.unwrap().to_bytes().len(), 2 * HALF);
        drop(frame);
        assert_eq!(room.kept().bytes, 0);
        assert_eq!(small.into_body().collect().await.unwrap().to_bytes().len(), SMALL);
    }

    #[tokio::test]
    async fn a_stream_counts_piece_by_piece() {
        let room = room_for(HALF);
        let pieces = [1, HALF, HALF].map(|size| Ok::<_, BoxError>(vec![b'x'; size]));
        let stream = Body::from_stream(futures_util::stream::iter(pieces));
        let mut feed = counted(Response::new(stream), &Method::GET, &timer(&room)).into_body();
        feed.frame().await.unwrap().unwrap();
        let piece = feed.frame().await.unwrap().unwrap();
        assert_eq!(room.kept().bytes, HALF);
        assert!(feed.frame().await.unwrap().is_err(), "nobody has read the one before");
        drop(piece);
        assert_eq!(room.kept().bytes, 0);
    }
}
