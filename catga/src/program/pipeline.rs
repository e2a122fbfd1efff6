//! What wraps every command, query and event on its way to its handler.
//!
//! From the outside in: a tracing span and the metrics, the program's own [`Behavior`]s in the
//! order they were added, the timeout (counted from the message's arrival), the command's own validation, and the
//! rerun after a conflict. Events are retried around all of this, one whole pass an attempt.

use std::{
    collections::HashMap,
    fmt,
    future::{Future, poll_fn},
    pin::{Pin, pin},
    sync::atomic::{AtomicBool, Ordering},
    task::Poll,
    time::Duration,
};

use foldhash::fast::RandomState;
use metrics::{Histogram, Label};
use tokio::time::{Instant, sleep_until};
use tracing::Instrument;

use crate::{
    model::{Error, ErrorKind, Metadata},
    program::{
        blocking::{BlockingWatch, is_too_long},
        registration::{Kind, Registration, catalogue},
        telemetry::HANDLE_SECONDS,
    },
    store::BoxFuture,
};

/// A layer around every handler, added with [`Builder::behavior`](crate::runtime::Builder::behavior).
///
/// ```
/// # use catga::{handler::Kind, pipeline::{Behavior, Call, Next}, store::BoxFuture};
/// struct ReadOnly;
///
/// impl Behavior for ReadOnly {
///     fn handle<'a>(&'a self, call: &'a Call<'a>, next: Next<'a>) -> BoxFuture<'a, Result<(), catga::Error>> {
///         Box::pin(async move {
///             if call.kind == Kind::CommandHandler {
///                 return Err(catga::ErrorKind::Handler("down for maintenance".into()).into());
///             }
///             next.run().await
///         })
///     }
/// }
/// ```
pub trait Behavior: Send + Sync + 'static {
    /// Does what it does around `next.run()`. Without running it, it must answer an error.
    fn handle<'a>(&'a self, call: &'a Call<'a>, next: Next<'a>)
    -> BoxFuture<'a, Result<(), Error>>;
}

/// The message that is being handled.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Call<'a> {
    /// Which kind of handler it goes to.
    pub kind: Kind,
    /// The name of the command or query, or of the event handler.
    pub name: &'static str,
    /// What travels with it.
    pub metadata: &'a Metadata,
    /// Whether its handler has room to block.
    pub(crate) may_block: bool,
}

/// The rest of the pipeline.
pub struct Next<'a> {
    call: &'a Call<'a>,
    rest: &'a [Box<dyn Behavior>],
    handler: BoxFuture<'a, Result<(), Error>>,
}

impl<'a> Next<'a> {
    /// Runs the rest of the pipeline, once.
    pub fn run(self) -> BoxFuture<'a, Result<(), Error>> {
        match self.rest.split_first() {
            Some((behavior, rest)) => behavior.handle(self.call, Next { rest, ..self }),
            None => self.handler,
        }
    }
}

impl fmt::Debug for Next<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Next").field("call", self.call).finish_non_exhaustive()
    }
}

/// How long each handler takes, and whether it blocks. The histograms are made when the program starts: to find one by its
/// labels each time costs more than a small handler does.
struct Timers {
    by_handler: HashMap<(Kind, &'static str), Timer, RandomState>,
}

struct Timer {
    outcomes: [Histogram; OUTCOMES.len()],
    blocking: BlockingWatch,
}

/// How a message can end, as the histograms say it.
const OUTCOMES: [&str; 3] = ["ok", "refused", "failed"];

impl Timers {
    /// Histograms for all handlers of the program, from the recorder that is installed now.
    fn new() -> Self {
        let kinds = [Kind::CommandHandler, Kind::QueryHandler, Kind::EventHandler];
        let handlers = catalogue().into_iter().filter(|r| kinds.contains(&r.kind));
        let timer = |r: &Registration| Timer {
            outcomes: OUTCOMES.map(|end| histogram(r.kind, r.name, end)),
            blocking: BlockingWatch::default(),
        };
        Self { by_handler: handlers.map(|r| ((r.kind, r.name), timer(r))).collect() }
    }

    /// Takes in the outcome. One reading of the clock says how long it took, and, when it was answered at its first poll, for
    /// how long it held its thread.
    fn record<T>(&self, run: &Run<'_>, outcome: &Result<T, Error>) {
        let outcome = match outcome {
            Ok(_) => 0,
            Err(error) => match error.kind() {
                ErrorKind::Handler(_)
                | ErrorKind::Invalid(_)
                | ErrorKind::VersionMismatch { .. }
                | ErrorKind::CommandIdReused => 1,
                _ => 2,
            },
        };
        let (call, elapsed) = (run.call, run.start.elapsed());
        if is_too_long(elapsed) && !run.has_waited.load(Ordering::Relaxed) {
            self.held(call, elapsed);
        }
        match self.by_handler.get(&(call.kind, call.name)) {
            Some(timer) => timer.outcomes[outcome].record(elapsed),
            None => histogram(call.kind, call.name, OUTCOMES[outcome]).record(elapsed),
        }
    }

    /// Takes in for how long a handler held its thread.
    #[cold]
    fn held(&self, call: &Call<'_>, time: Duration) {
        if call.may_block || !is_too_long(time) {
            return;
        }
        if let Some(timer) = self.by_handler.get(&(call.kind, call.name)) {
            timer.blocking.held(call.kind, call.name, time);
        }
    }
}

fn histogram(kind: Kind, name: &'static str, outcome: &'static str) -> Histogram {
    let labels = ["kind", "name", "outcome"].into_iter().zip([kind.label(), name, outcome]);
    let labels: Vec<_> = labels.map(|(label, value)| Label::new(label, value)).collect();
    metrics::histogram!(HANDLE_SECONDS, labels)
}

/// What every message passes on its way to its handler.
pub(crate) struct Pipeline {
    behaviors: Vec<Box<dyn Behavior>>,
    timers: Timers,
}

impl Pipeline {
    /// A pipeline with the program's own behaviors, from the outside in.
    pub(crate) fn new(behaviors: Vec<Box<dyn Behavior>>) -> Self {
        Self { behaviors, timers: Timers::new() }
    }

    /// Runs `handler` inside the whole pipeline, for `limit` at most.
    ///
    /// Its caller pins it, and it is moved no more: the state of a handler is some hundred bytes, and each layer around it
    /// would copy it once.
    pub(crate) async fn run<T: Send>(
        &self,
        call: &Call<'_>,
        limit: Duration,
        handler: Pin<&mut (impl Future<Output = Result<T, Error>> + Send)>,
    ) -> Result<T, Error> {
        let span = tracing::debug_span!("handle", kind = %call.kind, name = call.name);
        let run = Run { call, limit, start: Instant::now(), has_waited: AtomicBool::new(false) };
        let handler = self.within(&run, handler);
        let outcome = async {
            if self.behaviors.is_empty() {
                handler.await
            } else {
                let outcome = wrap(&self.behaviors, call, handler).await;
                // What they waited for is not the handler's.
                run.has_waited.store(true, Ordering::Relaxed);
                outcome
            }
        };
        let outcome = pin!(outcome).instrument(span).await;
        self.timers.record(&run, &outcome);
        outcome
    }

    /// Runs `handler` for as long as it may take. What is answered at its first poll costs nothing here: no timer, no clock.
    #[inline]
    async fn within<T: Send>(
        &self,
        run: &Run<'_>,
        mut handler: Pin<&mut (impl Future<Output = Result<T, Error>> + Send)>,
    ) -> Result<T, Error> {
        let first = poll_fn(|cx| Poll::Ready(handler.as_mut().poll(cx))).await;
        if let Poll::Ready(outcome) = first {
            return outcome;
        }
        run.has_waited.store(true, Ordering::Relaxed);
        Box::pin(self.wait(run, handler)).await
    }

    /// Goes on with `handler`, which was polled once, and looks at how long it holds its thread.
    async fn wait<T>(
        &self,
        run: &Run<'_>,
        mut handler: Pin<&mut impl Future<Output = Result<T, Error>>>,
    ) -> Result<T, Error> {
        self.timers.held(run.call, run.start.elapsed());
        let (mut timer, mut is_first) = (pin!(sleep_until(run.start + run.limit)), true);
        poll_fn(move |cx| {
            if !std::mem::take(&mut is_first) {
                let begun = Instant::now();
                let poll = handler.as_mut().poll(cx);
                self.timers.held(run.call, begun.elapsed());
                if poll.is_ready() {
                    return poll;
                }
            }
            timer.as_mut().poll(cx).map(|()| Err(ErrorKind::Timeout.into()))
        })
        .await
    }
}

/// A message on its way. Futures borrow it: each that had these would be larger, and moving it would take longer.
struct Run<'a> {
    call: &'a Call<'a>,
    start: Instant,
    limit: Duration,
    /// Whether it was not answered at its first poll.
    has_waited: AtomicBool,
}

/// Runs `handler` inside the program's own behaviors, which see neither its type nor its answer.
async fn wrap<T: Send>(
    behaviors: &[Box<dyn Behavior>],
    call: &Call<'_>,
    handler: impl Future<Output = Result<T, Error>> + Send,
) -> Result<T, Error> {
    let mut answer = None;
    let handler = async {
        answer = Some(handler.await?);
        Ok(())
    };
    Next { call, rest: behaviors, handler: Box::pin(handler) }.run().await?;
    answer.ok_or_else(|| Error::misuse("a behavior answered Ok without running the handler"))
}
