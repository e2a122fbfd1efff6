//! The connection that all commands share, made anew when it breaks.
//!
//! The client's own `ConnectionManager` is not used: it can't say whether a command that failed was
//! sent, which decides between "refused" and "not known" (P3), and it stays broken for good once a
//! server answers a reconnect with anything but an I/O error ("max number of clients reached").

use std::{
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, ServerErrorKind,
    aio::MultiplexedConnection,
};
use tokio::time::Instant;

use crate::{log::StoreError, store::Backoff};

/// How long making a connection may take.
pub(super) const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a command waits for its answer. Afterwards it is not known how it ended.
pub(super) const RESPONSE_TIMEOUT: Duration = Duration::from_secs(3);

/// The time between attempts to connect, at first and at most.
pub(super) const RECONNECT: (Duration, Duration) =
    (Duration::from_millis(10), Duration::from_millis(250));

/// The errors that Redis checks for before it runs a script.
const REFUSALS: [&str; 16] = [
    "ASK",
    "BUSY",
    "CLUSTERDOWN",
    "CROSSSLOT",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "MOVED",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "NOSCRIPT",
    "OOM",
    "READONLY",
    "TRYAGAIN",
    "WRONGTYPE",
];

/// Why a command has no answer.
#[derive(Debug)]
pub(super) enum CallError {
    /// There was no connection: the command was not sent.
    NotSent(RedisError),
    /// It was sent, and this came instead of an answer, or was the answer.
    Failed(RedisError),
}

pub(super) struct Link {
    client: Client,
    live: Mutex<Live>,
    /// Held by who connects; the others wait for the outcome.
    outage: tokio::sync::Mutex<Option<Outage>>,
}

#[derive(Default)]
struct Live {
    connection: Option<MultiplexedConnection>,
    /// Counts the connections, so that each is given up once.
    generation: u64,
}

/// What is known of a server that can't be reached.
struct Outage {
    backoff: Backoff,
    next_attempt: Instant,
    cause: RedisError,
}

impl Link {
    pub(super) fn new(client: Client) -> Self {
        Self { client, live: Mutex::default(), outage: tokio::sync::Mutex::default() }
    }

    /// A connection of the caller's own, for commands that block.
    pub(super) async fn connect(
        &self,
        response_timeout: Duration,
    ) -> RedisResult<MultiplexedConnection> {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(CONNECT_TIMEOUT))
            .set_response_timeout(Some(response_timeout));
        self.client.get_multiplexed_async_connection_with_config(&config).await
    }

    /// Runs `command` on the shared connection.
    pub(super) async fn call<T, F>(
        &self,
        command: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (connection, generation) = self.connection().await.map_err(CallError::NotSent)?;
        command(connection).await.map_err(|error| {
            if is_broken(&error) {
                self.give_up(generation);
            }
            CallError::Failed(error)
        })
    }

    async fn connection(&self) -> RedisResult<(MultiplexedConnection, u64)> {
        if let Some(live) = self.live().get() {
            return Ok(live);
        }
        let mut outage = self.outage.lock().await;
        if let Some(live) = self.live().get() {
            return Ok(live);
        }
        if let Some(outage) = outage.as_ref().filter(|o| Instant::now() < o.next_attempt) {
            return Err(outage.cause.clone());
        }
        match self.connect(RESPONSE_TIMEOUT).await {
            Ok(connection) => {
                *outage = None;
                Ok(self.live().set(connection))
            }
            Err(cause) => {
                let mut backoff = outage
                    .take()
                    .map_or_else(|| Backoff::new(RECONNECT.0, RECONNECT.1), |o| o.backoff);
                let next_attempt = Instant::now() + backoff.next_delay();
                *outage = Some(Outage { backoff, next_attempt, cause: cause.clone() });
                Err(cause)
            }
        }
    }

    fn give_up(&self, generation: u64) {
        let mut live = self.live();
        if live.generation == generation {
            live.connection = None;
        }
    }

    fn live(&self) -> MutexGuard<'_, Live> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Live {
    fn get(&self) -> Option<(MultiplexedConnection, u64)> {
        Some((self.connection.clone()?, self.generation))
    }

    fn set(&mut self, connection: MultiplexedConnection) -> (MultiplexedConnection, u64) {
        self.generation += 1;
        self.connection = Some(connection.clone());
        (connection, self.generation)
    }
}

/// Whether a new connection may do better. One that did not answer in time may be dead without knowing it,
/// and behind the address of a server that became a replica there may be another one now.
fn is_broken(error: &RedisError) -> bool {
    use ErrorKind::{AuthenticationFailed, Io, Parse, Server};
    matches!(error.kind(), Io | Parse | AuthenticationFailed | Server(ServerErrorKind::ReadOnly))
}

/// What went wrong, safe to show: a server's own text can repeat what it was sent, and an I/O error's can
/// hold an address.
pub(super) fn explain(error: &RedisError) -> String {
    match error.kind() {
        ErrorKind::AuthenticationFailed => "it refuses the user name or password".to_owned(),
        ErrorKind::Io if error.is_connection_refusal() => "it can't be reached".to_owned(),
        ErrorKind::Io if error.is_timeout() => "it did not answer in time".to_owned(),
        ErrorKind::Io => "there is no connection".to_owned(),
        ErrorKind::Client => "the connection can't be made".to_owned(),
        _ => match error.code() {
            Some("OOM") => "it is out of memory (OOM)".to_owned(),
            Some("READONLY") => "it is a read-only replica (READONLY)".to_owned(),
            Some("LOADING") => "it is still loading its data (LOADING)".to_owned(),
            Some("MISCONF") => "it can't write to its disk (MISCONF)".to_owned(),
            Some("NOAUTH") => "it wants a password (NOAUTH)".to_owned(),
            Some("NOPERM") => "the user lacks a permission (NOPERM)".to_owned(),
            Some("MOVED") => "another node of the cluster has the keys (MOVED)".to_owned(),
            Some(code) => format!("it answered {code}"),
            None => "its answer can't be understood".to_owned(),
        },
    }
}

impl CallError {
    /// For who starts the program, with what the client itself says: it may hold the address, not the password.
    pub(super) fn in_full(&self) -> StoreError {
        let error = self.error();
        let explained = explain(error);
        StoreError::unavailable(match error.kind() {
            ErrorKind::Io | ErrorKind::Client => format!("{explained}: {error}"),
            _ => explained,
        })
    }

    fn error(&self) -> &RedisError {
        match self {
            Self::NotSent(error) | Self::Failed(error) => error,
        }
    }

    /// Whether nothing was written: the command was not sent, or the server answers so before it runs a
    /// script. Any other answer may come from a proxy that lost the real one.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::NotSent(_) => true,
            Self::Failed(error) => error.code().is_some_and(|code| REFUSALS.contains(&code)),
        }
    }
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        Self::unavailable(format!("Redis: {}", explain(error.error())))
    }
}
