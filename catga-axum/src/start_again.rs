//! The end of a program that only a new start can help: its log lost its end, or another one took its place.

use std::{convert::Infallible, time::Duration};

use catga::{Catga, log::StoreError};
use tokio::time::interval;

/// How often it is looked for.
const LOOK: Duration = Duration::from_millis(250);

/// For how long the program says so to who probes it, and to clients, before it ends.
const SAYS_SO: Duration = Duration::from_secs(5);

/// Why the program ended by itself, so that whatever watches over it starts it again.
#[derive(Debug, thiserror::Error)]
#[error("it ends, to be started again: {0}")]
pub(crate) struct StartAgain(StoreError);

impl StartAgain {
    /// `EX_TEMPFAIL` of sysexits(3): what failed may succeed at the next try.
    pub(crate) const EXIT_CODE: u8 = 75;

    /// Returns once the program can't go on as it is, and has said so for a while.
    pub(crate) async fn when_needed(catga: &Catga) -> Self {
        let Err(error) = beyond_help(catga).await;
        tracing::error!(%error, in_seconds = SAYS_SO.as_secs(), "the program ends, to be started again");
        tokio::time::sleep(SAYS_SO).await;
        Self(error)
    }
}

async fn beyond_help(catga: &Catga) -> Result<Infallible, StoreError> {
    let mut look = interval(LOOK);
    loop {
        look.tick().await;
        catga.check()?;
    }
}
