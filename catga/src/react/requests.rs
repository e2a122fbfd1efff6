//! What an operator asks about dead letters, and of their handlers.

use crate::{
    model::{Consistency, Error},
    program::Program,
    react::{
        dead_letter_stream::DeadLetterStream,
        dead_letters::{DeadLetter, DeadLetterStatus, DeadLetters},
        parking_event::ParkingEvent,
    },
    read::ReadModel,
    store::partition,
};

/// The dead letters that were parked before this call, unless `consistency` says otherwise.
pub(crate) async fn dead_letters(
    program: &Program,
    consistency: Consistency,
) -> Result<Vec<DeadLetter>, Error> {
    program.read_barrier(consistency).await?;
    Ok(program.extensions.expect::<ReadModel<DeadLetters>>().read().all())
}

/// Asks the handler of dead letter `id` to act on it, wherever that handler runs; `None` when there is no such letter.
pub(crate) async fn request(
    program: &Program,
    id: &str,
    request: ParkingEvent,
) -> Result<Option<DeadLetter>, Error> {
    let letters = dead_letters(program, Consistency::Latest).await?;
    let Some(mut letter) = letters.into_iter().find(|letter| letter.id == id) else {
        return Ok(None);
    };
    letter.status = match &request {
        ParkingEvent::Drop(_) => DeadLetterStatus::Dropping,
        _ => DeadLetterStatus::Retrying,
    };
    let mut stream = DeadLetterStream::new(&letter.handler, partition(&letter.stream))?;
    while stream.try_append(program, &request).await?.is_none() {
        stream.find_end(program).await?;
    }
    Ok(Some(letter))
}
