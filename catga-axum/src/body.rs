//! The body of a request, on its way here.

use std::{
    pin::{Pin, pin},
    task::{Context, Poll},
    time::Duration,
};

use axum::{BoxError, body::HttpBody, http::HeaderMap, http::header};
use bytes::Bytes;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Frame, Incoming, SizeHint};

use crate::{
    problem::Problem,
    refusals::{LARGE_BODY, MEMORY, SLOW_BODY},
    room::{NoRoom, Share},
    timer::RequestTimer,
};

/// The largest body, in bytes.
pub(crate) const MAX_BODY: usize = 1 << 20;

/// How long a body may take to arrive, before what has arrived gives it more time.
const TIME: Duration = Duration::from_secs(15);

/// How many bytes give it a second more.
const PACE: u64 = 16 << 10;

/// How long a body may take in all.
const MOST_TIME: Duration = Duration::from_secs(60);

/// A request's body, which has to arrive in time and at a pace.
pub(crate) struct TimedBody {
    body: Incoming,
    /// What of it has come, which is kept until there is an answer.
    share: Share,
    /// Made when the body has to be waited for.
    wait: Option<Wait>,
    has_ended: bool,
}

struct Wait {
    /// When it began.
    begin: Duration,
    /// How many bytes have come since.
    bytes: u64,
}

impl Wait {
    fn due(&self) -> Duration {
        let more = Duration::from_millis(self.bytes * 1000 / PACE);
        self.begin + (TIME + more).min(MOST_TIME)
    }
}

impl TimedBody {
    pub(crate) fn new(body: Incoming, timer: RequestTimer) -> Self {
        Self { body, share: Share::new(timer), wait: None, has_ended: false }
    }
}

/// The body did not arrive in time.
#[derive(Debug, thiserror::Error)]
#[error("the body did not arrive in time")]
struct Late;

impl HttpBody for TimedBody {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let Self { body, share, wait, has_ended } = self.get_mut();
        let Poll::Ready(frame) = Pin::new(body).poll_frame(cx) else {
            let timer = share.timer();
            let wait = wait.get_or_insert_with(|| Wait { begin: timer.begin_wait(), bytes: 0 });
            return match timer.is_over(wait.due()) {
                true => Poll::Ready(Some(Err(Late.into()))),
                false => Poll::Pending,
            };
        };
        *has_ended = frame.is_none();
        if *has_ended && wait.take().is_some() {
            share.timer().end_wait();
        }
        let data = frame.as_ref().and_then(|frame| frame.as_ref().ok()?.data_ref());
        let bytes = data.map_or(0, Bytes::len);
        if let Some(wait) = wait {
            wait.bytes += bytes as u64;
        }
        if !share.grow(bytes) {
            return Poll::Ready(Some(Err(NoRoom.into())));
        }
        Poll::Ready(frame.map(|frame| frame.map_err(Into::into)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TimedBody {
    fn drop(&mut self) {
        if self.wait.is_some() {
            self.share.timer().end_wait();
        }
        if !self.has_ended && !self.body.is_end_stream() {
            self.share.timer().leave_unread();
        }
    }
}

/// All of a body, as soon as it is here. One that says that it is too large is refused before it is.
pub(crate) async fn read<B>(headers: &HeaderMap, body: B) -> Result<Bytes, Problem>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>>,
{
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    if length.and_then(|length| length.parse::<usize>().ok()).is_some_and(|n| n > MAX_BODY) {
        return Err(too_large());
    }
    match gather(Limited::new(body, MAX_BODY)).await {
        Ok(body) => Ok(body),
        Err(error) if error.is::<LengthLimitError>() => Err(too_large()),
        Err(error) if error.is::<NoRoom>() => {
            MEMORY.count();
            Err(Problem::too_much_kept().closing())
        }
        Err(error) if error.is::<Late>() => {
            SLOW_BODY.count();
            Err(Problem::bad_request("the body did not arrive in time").closing())
        }
        Err(_) => Err(Problem::bad_request("the body ended early")),
    }
}

/// The bytes of a body. Those that come in many pieces are put together at once: a piece of one byte takes forty.
async fn gather(body: impl HttpBody<Data = Bytes, Error = BoxError>) -> Result<Bytes, BoxError> {
    let mut body = pin!(body);
    let (mut first, mut all) = (Bytes::new(), Vec::new());
    while let Some(frame) = body.frame().await {
        let Ok(piece) = frame?.into_data() else { continue };
        if first.is_empty() && all.is_empty() {
            first = piece;
            continue;
        }
        if all.is_empty() {
            all.extend_from_slice(&std::mem::take(&mut first));
        }
        // A quarter more each time, not twice as much: many may be kept.
        if all.capacity() - all.len() < piece.len() {
            all.reserve_exact(piece.len().max(all.len() / 4));
        }
        all.extend_from_slice(&piece);
    }
    Ok(if all.is_empty() { first } else { all.into() })
}

fn too_large() -> Problem {
    LARGE_BODY.count();
    Problem::payload_too_large(MAX_BODY).closing()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_time_by_what_has_arrived() {
        let begin = Duration::from_secs(100);
        let due = |bytes| (Wait { begin, bytes }.due() - begin).as_secs();
        assert_eq!((due(0), due(PACE - 1), due(5 * PACE)), (15, 15, 20));
        assert_eq!(due(MAX_BODY as u64), 60);
    }
}
