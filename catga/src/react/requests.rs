//! What an operator asks about dead letters, and of their handlers.

use std::{collections::BTreeMap, time::Duration};

use tokio::time::timeout;

use crate::{
    model::{Consistency, Error},
    program::Program,
    react::{
        dead_letter_stream::DeadLetterStream,
        dead_letters::{
            DeadLetter, DeadLetterFilter, DeadLetterPage, DeadLetterPlace, DeadLetterStatus,
            DeadLetters,
        },
        parking_event::{ParkingEvent, RetryRequested},
    },
    read::ReadModel,
    store::partition,
};

/// How long a drop waits for the handler to act on it.
const DROPPING: Duration = Duration::from_secs(1);

/// How many requests one commit holds.
const PAGE: usize = 256;

/// The dead letters that were parked before this call, unless `consistency` says otherwise.
pub(crate) async fn dead_letters(
    program: &Program,
    consistency: Consistency,
) -> Result<Vec<DeadLetter>, Error> {
    program.read_barrier(consistency).await?;
    Ok(read_model(program).read().all())
}

/// A page of them.
pub(crate) async fn dead_letter_page(
    program: &Program,
    filter: &DeadLetterFilter,
    after: Option<&DeadLetterPlace>,
    limit: usize,
    consistency: Consistency,
) -> Result<DeadLetterPage, Error> {
    program.read_barrier(consistency).await?;
    Ok(read_model(program).read().page(filter, after, limit))
}

/// How many dead letters each handler has, as far as this node's read models are.
pub(crate) fn dead_letter_counts(program: &Program) -> BTreeMap<String, usize> {
    read_model(program).read().counts()
}

fn read_model(program: &Program) -> &ReadModel<DeadLetters> {
    program.extensions.expect()
}

/// Asks the handler of dead letter `id` to act on it, wherever that handler runs; `None` when there is no such letter.
pub(crate) async fn request(
    program: &Program,
    id: &str,
    request: ParkingEvent,
) -> Result<Option<DeadLetter>, Error> {
    program.read_barrier(Consistency::Latest).await?;
    let Some(mut letter) = read_model(program).read().get(id).cloned() else { return Ok(None) };
    letter.status = match &request {
        ParkingEvent::Drop(_) => DeadLetterStatus::Dropping,
        _ => DeadLetterStatus::Retrying,
    };
    let mut stream = DeadLetterStream::new(&letter.handler, partition(&letter.stream))?;
    append(program, &mut stream, &[request]).await?;
    if letter.status == DeadLetterStatus::Dropping {
        // Mostly its handler has done that in a moment, and who asks for the dead letters next does not see it any more.
        let _ = timeout(DROPPING, is_gone(program, id)).await;
    }
    Ok(Some(letter))
}

/// Waits until there is no dead letter `id`.
async fn is_gone(program: &Program, id: &str) {
    let mut progress = program.progress.subscribe();
    while read_model(program).read().get(id).is_some() && progress.changed().await.is_ok() {}
}

/// Asks the handlers of all dead letters that `filter` takes to try them again; answers how many these are. Those that
/// somebody acted on already are left as they are.
pub(crate) async fn retry_all(
    program: &Program,
    filter: &DeadLetterFilter,
) -> Result<usize, Error> {
    let page = dead_letter_page(program, filter, None, usize::MAX, Consistency::Latest).await?;
    let mut requests = BTreeMap::<_, Vec<_>>::new();
    for letter in page.dead_letters.into_iter().filter(|letter| !letter.is_in_progress()) {
        let request = ParkingEvent::Retry(RetryRequested { letter: letter.id });
        let stream = (letter.handler, partition(&letter.stream));
        requests.entry(stream).or_default().push(request);
    }
    for ((handler, partition), requests) in &requests {
        let mut stream = DeadLetterStream::new(handler, *partition)?;
        for page in requests.chunks(PAGE) {
            append(program, &mut stream, page).await?;
        }
    }
    Ok(requests.values().map(Vec::len).sum())
}

/// Writes `requests` to the end of a handler's dead letters in a partition.
async fn append(
    program: &Program,
    stream: &mut DeadLetterStream,
    requests: &[ParkingEvent],
) -> Result<(), Error> {
    while stream.try_append(program, requests).await?.is_none() {
        stream.find_end(program).await?;
    }
    Ok(())
}
