//! Where a NATS server is, and how to say so without its password.

use std::{
    fmt, io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_nats::{Client, ConnectErrorKind, ConnectOptions, Event, ReconnectToServer, ServerAddr};
use tokio::sync::watch;

use crate::{
    log::{MAX_KEY, StoreError},
    store::{Durability, DurabilitySet},
};

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// How long an answer may take. After that it is not known what became of a request.
pub(super) const REQUEST_TIMEOUT: Duration = Duration::from_secs(3);

/// The longest wait between two attempts to connect again: an outage ends at most so much later for us.
const RECONNECT: Duration = Duration::from_millis(250);

/// Which NATS server, and which streams on it.
///
/// Its `Debug` shows no password, and nothing else of this module does either.
#[derive(Clone, PartialEq, Eq)]
pub struct NatsOptions {
    /// `nats://user:password@host:port` or `tls://…`, or a token in place of both; several of one cluster are
    /// separated by commas, and know the same user. What a URL can't hold as it is comes percent-encoded.
    pub server: String,
    /// The name of the stream that holds the log, and what all subjects begin with, so that services can share a
    /// server: 1 to [`MAX_KEY`] characters of `A-Z a-z 0-9 _ -`.
    pub prefix: String,
    /// On how many servers of a cluster each commit is kept; 1, 3 or 5.
    pub replicas: usize,
    /// The file with the user's JWT and key, as `nsc` makes it.
    pub credentials: Option<PathBuf>,
    /// Certificates in PEM that the server is trusted by, beside those of the system.
    pub ca: Option<PathBuf>,
    /// `host:port` of the server's HTTP monitoring, which alone tells how it syncs; of several servers, separated by commas.
    pub monitor: Option<String>,
    /// What an acknowledged append must survive. While the server keeps less, or is not known to keep as much, it can't
    /// be opened, and appends are refused; so they are while the stream has another configuration.
    pub require_durability: DurabilitySet,
}

impl NatsOptions {
    /// The stream `catga` on `server`, kept once.
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            prefix: "catga".to_owned(),
            replicas: 1,
            credentials: None,
            ca: None,
            monitor: None,
            require_durability: Durability::Memory.into(),
        }
    }

    /// The servers without user names and passwords, for people.
    pub fn address(&self) -> String {
        let shown = |server: ServerAddr| {
            format!("{}://{}:{}", server.scheme(), server.host(), server.port())
        };
        match self.servers() {
            Ok(servers) => servers.addresses.into_iter().map(shown).collect::<Vec<_>>().join(","),
            Err(_) => "an address that can't be read".to_owned(),
        }
    }

    fn servers(&self) -> Result<Servers, StoreError> {
        let servers = self.server.split(',').map(split).collect::<Option<Vec<_>>>();
        let (addresses, logins): (Vec<_>, Vec<_>) = servers
            .ok_or_else(|| {
                // What the client says is left out: it can repeat parts of the text.
                StoreError::unusable(
                    "the address is not nats://host:port or tls://host:port, with a percent-encoded user:password@ before the host",
                )
            })?
            .into_iter()
            .unzip();
        let mut logins = logins.into_iter().flatten();
        let login = logins.next();
        if logins.any(|other| Some(other) != login) {
            return Err(StoreError::unusable("the addresses name different users"));
        }
        Ok(Servers { addresses, login })
    }

    /// What connects to it.
    pub(super) async fn connector(&self) -> Result<Connector, StoreError> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if !(1..=MAX_KEY).contains(&self.prefix.len()) || !self.prefix.bytes().all(is_plain) {
            return Err(StoreError::unusable("the prefix is not 1 to 64 of A-Z a-z 0-9 _ -"));
        }
        let Servers { addresses, login } = self.servers()?;
        let (losses, lost) = watch::channel(0);
        let losses = Arc::new(losses);
        let mut options = ConnectOptions::new()
            .name("catga")
            .connection_timeout(CONNECT_TIMEOUT)
            .request_timeout(Some(REQUEST_TIMEOUT))
            .ping_interval(Duration::from_secs(5))
            .max_reconnects(None)
            .reconnect_delay_callback(|attempts| {
                let doublings = u32::try_from(attempts.min(5)).unwrap_or(5);
                (Duration::from_millis(5) * 2_u32.pow(doublings)).min(RECONNECT)
            })
            .event_callback(move |event| {
                let losses = losses.clone();
                async move {
                    if matches!(event, Event::Disconnected) {
                        losses.send_modify(|losses| *losses += 1);
                    }
                    log(&event);
                }
            });
        // Never to the one that was lost or left: it may look as well as the others.
        let turns = Arc::new(AtomicUsize::new(0));
        options = options.reconnect_to_server_callback(move |servers, _| {
            let turn = turns.fetch_add(1, Ordering::Relaxed);
            let next = servers.get(turn % servers.len().max(1)).map(|server| server.addr.clone());
            // At first any of them, in an order of chance.
            let next = next.filter(|_| turn > 0 && servers.len() > 1);
            async move { next.map(|addr| ReconnectToServer { addr, delay: None }) }
        });
        options = match login {
            Some(Login::User { name, password }) => options.user_and_password(name, password),
            Some(Login::Token(token)) => options.token(token),
            None => options,
        };
        if let Some(file) = &self.credentials {
            options = options.credentials_file(file).await.map_err(|error| {
                let file = file.display();
                StoreError::unusable(format!("the credentials {file} can't be used: {error}"))
            })?;
        }
        if let Some(file) = &self.ca {
            options = options.add_root_certificates(file.clone());
        }
        Ok(Connector { options, addresses, lost })
    }
}

/// Makes connections that differ in nothing.
pub(super) struct Connector {
    options: ConnectOptions,
    addresses: Vec<ServerAddr>,
    /// Changes whenever any of the connections is lost: what one was told by then may be about a log that the server lost
    /// since, whichever of them notices first.
    pub(super) lost: watch::Receiver<u64>,
}

impl Connector {
    pub(super) async fn connect(&self) -> Result<Client, StoreError> {
        self.options.clone().connect(self.addresses.clone()).await.map_err(|error| {
            // The kind says what is wrong; the rest of the text could show the address.
            let io =
                std::error::Error::source(&error).and_then(|e| e.downcast_ref::<std::io::Error>());
            let text = match io {
                Some(io) => format!("{}: {}", error.kind(), io.kind()),
                None => error.kind().to_string(),
            };
            match may_heal(error.kind(), io) {
                true => StoreError::unavailable(text),
                false => StoreError::unusable(text),
            }
        })
    }
}

/// Whether a server that can't be connected to may yet come to answer otherwise, with nothing changed by anybody.
fn may_heal(kind: ConnectErrorKind, io: Option<&io::Error>) -> bool {
    match kind {
        ConnectErrorKind::Dns | ConnectErrorKind::TimedOut => true,
        // A certificate that is not trusted is invalid data.
        ConnectErrorKind::Io => io.is_none_or(|io| io.kind() != io::ErrorKind::InvalidData),
        _ => false,
    }
}

/// Where to connect, and who asks. The client takes no login from an address, and writes addresses to its log: so
/// these hold none.
struct Servers {
    addresses: Vec<ServerAddr>,
    login: Option<Login>,
}

#[derive(PartialEq, Eq)]
enum Login {
    User { name: String, password: String },
    Token(String),
}

/// The address in `text` and the login in it, apart; `None` when it is no address of a NATS server.
fn split(text: &str) -> Option<(ServerAddr, Option<Login>)> {
    let server: ServerAddr = text.trim().parse().ok()?;
    let login = match (server.username(), server.password()) {
        (None, None) => None,
        (Some(token), None) => Some(Login::Token(decoded(token)?)),
        (name, Some(password)) => Some(Login::User {
            name: decoded(name.unwrap_or_default())?,
            password: decoded(password)?,
        }),
    };
    let is_known = matches!(server.scheme(), "nats" | "tls") && !server.host().is_empty();
    let mut url = server.into_inner();
    // What follows the host means nothing, and may be the rest of a password.
    let ends = matches!(url.path(), "" | "/") && url.query().is_none() && url.fragment().is_none();
    if !is_known || !ends {
        return None;
    }
    url.set_username("").ok()?;
    url.set_password(None).ok()?;
    Some((ServerAddr::from_url(url).ok()?, login))
}

/// What the percent-encoded `text` stands for.
fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut encoded = text.bytes();
    while let Some(byte) = encoded.next() {
        bytes.push(if byte == b'%' {
            let mut digit = || char::from(encoded.next()?).to_digit(16);
            u8::try_from(digit()? * 16 + digit()?).ok()?
        } else {
            byte
        });
    }
    String::from_utf8(bytes).ok()
}

fn log(event: &Event) {
    match event {
        Event::Connected => tracing::info!("NATS is connected"),
        Event::Disconnected => tracing::warn!("NATS is disconnected"),
        // Other events may hold addresses.
        _ => tracing::debug!("NATS says something about its connection"),
    }
}

impl fmt::Debug for NatsOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NatsOptions")
            .field("server", &self.address())
            .field("prefix", &self.prefix)
            .field("replicas", &self.replicas)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (server, shown) in [
            ("nats://localhost:4222", "nats://localhost:4222"),
            ("localhost", "nats://localhost:4222"),
            ("nats://user:sEcReT@host:1", "nats://host:1"),
            ("nats://sEcReT@host", "nats://host:4222"),
            ("tls://u:sEcReT@a:1, tls://u:sEcReT@b:2", "tls://a:1,tls://b:2"),
            ("http://sEcReT@host", "an address that can't be read"),
            ("nats://host:sEcReT", "an address that can't be read"),
            ("nats://user:12#sEcReT@host", "an address that can't be read"),
            ("nats://user:sEc%ReT@host", "an address that can't be read"),
            ("nats://a:sEcReT@host,nats://b:sEcReT@host", "an address that can't be read"),
            ("", "an address that can't be read"),
        ] {
            let options = NatsOptions::new(server);
            assert_eq!(options.address(), shown, "{server}");
            assert!(!format!("{options:?}").contains("sEcReT"), "{server}");
            match options.servers() {
                Ok(Servers { addresses, .. }) => {
                    let logged = format!("{addresses:?}");
                    assert!(!logged.contains("sEcReT"), "{server}: {logged}");
                }
                Err(error) => {
                    assert!(!error.to_string().contains("sEcReT"), "{server}: {error}");
                }
            }
        }
    }
}
