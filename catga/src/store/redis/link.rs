//! The connection that all commands share, made anew when it breaks.
//!
//! The client's own `ConnectionManager` is not used: it can't say whether a command that failed was
//! sent, which decides between "refused" and "not known" (P3), and it stays broken for good once a
//! server answers a reconnect with anything but an I/O error ("max number of clients reached").

use std::{
    error::Error,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use redis::{
    AsyncConnectionConfig, Client, ErrorKind, RedisError, RedisResult, ServerErrorKind,
    aio::MultiplexedConnection,
};
use tokio::time::{Instant, sleep};

use super::server::Server;
use crate::{
    log::StoreError,
    store::{
        Backoff, DurabilityReport, DurabilitySet,
        guard::{ASK_EVERY, DurabilityGuard},
    },
};

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
    /// The server would keep less of it than it must: it was not sent.
    NotKept(StoreError),
}

pub(super) struct Link {
    client: Client,
    /// Told of the server before a connection to it is there for commands.
    guard: DurabilityGuard,
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
    pub(super) fn new(
        client: Client,
        name: &'static str,
        require_durability: DurabilitySet,
    ) -> Self {
        let guard = DurabilityGuard::new(name, require_durability);
        Self { client, guard, live: Mutex::default(), outage: tokio::sync::Mutex::default() }
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
        self.call_if(|_| Ok(()), command).await
    }

    /// As [`call`](Self::call), for what must be kept once it is acknowledged.
    pub(super) async fn write<T, F>(
        &self,
        command: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        self.call_if(|guard| guard.check().map_err(CallError::NotKept), command).await
    }

    /// Runs `command` if `check` allows it on the connection that there is then: what is known before is about the server of
    /// the connection before.
    async fn call_if<T, F>(
        &self,
        check: impl FnOnce(&DurabilityGuard) -> Result<(), CallError>,
        command: impl FnOnce(MultiplexedConnection) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = RedisResult<T>>,
    {
        let (connection, generation) = self.connection().await.map_err(CallError::NotSent)?;
        check(&self.guard)?;
        self.end(generation, command(connection).await)
    }

    fn end<T>(&self, generation: u64, outcome: RedisResult<T>) -> Result<T, CallError> {
        outcome.map_err(|error| {
            if is_broken(&error) {
                self.give_up(generation);
            }
            CallError::Failed(error)
        })
    }

    /// How the server is set now.
    ///
    /// # Errors
    /// When it does not answer, or is none that can be used.
    pub(super) async fn open(&self) -> Result<(), StoreError> {
        let server = self.ask().await.map_err(|error| error.in_full())?;
        server.check()?;
        self.guard.check()
    }

    /// What an acknowledged append survives now.
    pub(super) async fn durability(&self) -> Result<DurabilityReport, CallError> {
        let report = self.ask().await?.durability();
        Ok(DurabilityReport { refusal: self.guard.refusal(), ..report })
    }

    /// Keeps an eye on how the server is set, for as long as the store is open.
    pub(super) async fn watch(&self) {
        loop {
            sleep(ASK_EVERY).await;
            // Where nobody answers there is nothing to learn, and the next connection is asked first.
            let _ = self.ask().await;
        }
    }

    /// Asks the server how it is set.
    async fn ask(&self) -> Result<Server, CallError> {
        let (mut connection, generation) = self.connection().await.map_err(CallError::NotSent)?;
        let server = self.end(generation, Server::ask(&mut connection).await)?;
        // An answer that was on its way for longer than its connection was there is about another server, maybe.
        let live = self.live();
        if live.generation == generation && live.connection.is_some() {
            server.tell(&self.guard);
        }
        Ok(server)
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
        match self.connect_checked().await {
            Ok((connection, server)) => {
                *outage = None;
                let mut live = self.live();
                server.tell(&self.guard);
                Ok(live.set(connection))
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

    /// A connection, and the server that it is to.
    async fn connect_checked(&self) -> RedisResult<(MultiplexedConnection, Server)> {
        let mut connection = self.connect(RESPONSE_TIMEOUT).await?;
        let server = Server::ask(&mut connection).await?;
        Ok((connection, server))
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

/// Whether a server that is being opened may yet come to answer otherwise, with nothing changed by anybody: it is not
/// there yet, or still starts.
fn may_heal(error: &RedisError) -> bool {
    use io::ErrorKind::{InvalidData, InvalidInput, PermissionDenied};
    match error.kind() {
        // A certificate that is not trusted is invalid data.
        ErrorKind::Io => {
            let source =
                error.source().and_then(|e| e.downcast_ref::<Arc<dyn Error + Send + Sync>>());
            let io = source.and_then(|e| e.downcast_ref::<io::Error>());
            !io.is_some_and(|io| matches!(io.kind(), InvalidData | InvalidInput | PermissionDenied))
        }
        ErrorKind::Server(_) | ErrorKind::Extension => {
            matches!(
                error.code(),
                Some("LOADING" | "BUSY" | "MASTERDOWN" | "CLUSTERDOWN" | "TRYAGAIN")
            )
        }
        _ => false,
    }
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
        let error = match self {
            Self::NotKept(error) => return error.clone(),
            Self::NotSent(error) | Self::Failed(error) => error,
        };
        let explained = explain(error);
        let text = match error.kind() {
            ErrorKind::Io | ErrorKind::Client => format!("{explained}: {error}"),
            _ => explained,
        };
        if may_heal(error) { StoreError::unavailable(text) } else { StoreError::unusable(text) }
    }

    /// Whether nothing was written: the command was not sent, or the server answers so before it runs a
    /// script. Any other answer may come from a proxy that lost the real one.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::NotSent(_) | Self::NotKept(_) => true,
            Self::Failed(error) => error.code().is_some_and(|code| REFUSALS.contains(&code)),
        }
    }
}

impl From<CallError> for StoreError {
    fn from(error: CallError) -> Self {
        match error {
            CallError::NotKept(error) => error,
            CallError::NotSent(error) | CallError::Failed(error) => {
                Self::unavailable(format!("Redis: {}", explain(&error)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_heals_by_itself_is_waited_for() {
        use io::ErrorKind::{ConnectionRefused, InvalidData, NotFound, TimedOut};
        for (kind, heals) in
            [(ConnectionRefused, true), (NotFound, true), (TimedOut, true), (InvalidData, false)]
        {
            assert_eq!(may_heal(&io::Error::from(kind).into()), heals, "{kind}");
        }
        let lookup = io::Error::other("failed to lookup address information");
        assert!(may_heal(&lookup.into()), "a container's name is known once it runs");
        let server = ServerErrorKind::BusyLoading;
        assert!(may_heal(&RedisError::from((ErrorKind::Server(server), "loading"))));
        assert!(!may_heal(&RedisError::from((ErrorKind::AuthenticationFailed, "wrong password"))));
        let no_permission = ErrorKind::Server(ServerErrorKind::NoPerm);
        assert!(!may_heal(&RedisError::from((no_permission, "no permission"))));
    }
}
