//! Where a Redis server is, and how to say so without its password.

use std::{fmt, fs, path::PathBuf};

use redis::{
    Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo, TlsCertificates,
    io::tcp::TcpSettings,
};

use crate::{
    log::{MAX_KEY, StoreError},
    store::{Durability, DurabilitySet},
};

/// Which Redis server, and which keys on it.
///
/// Its `Debug` shows no password, and nothing else of this module does either.
#[derive(Clone, PartialEq, Eq)]
pub struct RedisOptions {
    /// `host:port`, `redis://user:password@host:port/db`, `rediss://…` for TLS, or `unix:/path`.
    pub server: String,
    /// What all keys begin with, so that services can share a server: 1 to [`MAX_KEY`] characters
    /// of `A-Z a-z 0-9 _ -`.
    pub prefix: String,
    /// A file with the certificates in PEM that a server with `rediss://` is trusted by, in place of the public
    /// authorities.
    pub ca: Option<PathBuf>,
    /// What an acknowledged append must survive. While the server is set to less, it can't be opened, and appends are
    /// refused; so they are while it could delete events to make room.
    pub require_durability: DurabilitySet,
}

impl RedisOptions {
    /// The keys of `catga` on `server`.
    pub fn new(server: impl Into<String>) -> Self {
        Self {
            server: server.into(),
            prefix: "catga".to_owned(),
            ca: None,
            require_durability: Durability::Memory.into(),
        }
    }

    /// The server without user name and password, for people.
    pub fn address(&self) -> String {
        match self.connection_info() {
            Ok(info) => match info.addr() {
                ConnectionAddr::TcpTls { .. } => format!("rediss://{}", info.addr()),
                ConnectionAddr::Unix(_) => format!("unix:{}", info.addr()),
                _ => format!("redis://{}", info.addr()),
            },
            Err(_) => "an address that can't be read".to_owned(),
        }
    }

    /// The server as the client wants it.
    fn connection_info(&self) -> Result<ConnectionInfo, StoreError> {
        let server = self.server.trim();
        let has_scheme = server.contains("://") || server.starts_with("unix:");
        let url = if has_scheme { server.to_owned() } else { format!("redis://{server}") };
        let unreadable = || {
            // What the client says is left out: it can repeat parts of the text.
            StoreError::unusable(
                "the address is not host:port, redis://…, rediss://… or unix:/path",
            )
        };
        let info = url.as_str().into_connection_info().ok().filter(|_| is_whole(&url));
        let info = info.ok_or_else(unreadable)?;
        // A command waits for its answer, so nothing is gained by waiting to fill a packet.
        Ok(info.set_tcp_settings(TcpSettings::default().set_nodelay(true)))
    }

    /// What makes connections to the server.
    pub(super) fn client(&self) -> Result<Client, StoreError> {
        let info = self.connection_info()?;
        let is_tls = matches!(info.addr(), ConnectionAddr::TcpTls { .. });
        if is_tls {
            // Somebody else may have chosen the cryptography of this process already.
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let client = match &self.ca {
            None => Client::open(info),
            Some(_) if !is_tls => {
                return Err(StoreError::unusable("a CA goes with rediss:// only"));
            }
            Some(path) => {
                let pem = fs::read(path).map_err(|error| {
                    StoreError::unusable(format!("the file of the CA can't be read: {error}"))
                })?;
                let certificates = TlsCertificates { client_tls: None, root_cert: Some(pem) };
                Client::build_with_tls(info, certificates)
            }
        };
        client.map_err(|_| StoreError::unusable("the file of the CA holds no certificates in PEM"))
    }

    /// # Errors
    /// When the prefix could be read as something else in a key.
    pub(super) fn check_prefix(&self) -> Result<(), StoreError> {
        let is_plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        if (1..=MAX_KEY).contains(&self.prefix.len()) && self.prefix.bytes().all(is_plain) {
            return Ok(());
        }
        Err(StoreError::unusable("the prefix is not 1 to 64 of A-Z a-z 0-9 _ -"))
    }
}

/// Whether the host of a URL ends where the URL says. A password with `/`, `?` or `#` in it ends it too early, and its
/// begin is taken for a port.
fn is_whole(url: &str) -> bool {
    let after = url.split_once("://").map_or("", |(_, after)| after);
    let host = after.find(['/', '?', '#']).unwrap_or(after.len());
    url.starts_with("unix:") || !after[host..].contains('@')
}

impl fmt::Debug for RedisOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedisOptions")
            .field("server", &self.address())
            .field("prefix", &self.prefix)
            .field("ca", &self.ca)
            .field("require_durability", &self.require_durability)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shown_without_its_secrets() {
        for (server, shown) in [
            ("localhost:6379", "redis://localhost:6379"),
            ("localhost", "redis://localhost:6379"),
            ("[::1]:7000", "redis://::1:7000"),
            (" redis://10.0.0.1:1 ", "redis://10.0.0.1:1"),
            ("redis://:sEcReT@host:1/2", "redis://host:1"),
            ("user:sEcReT@host:1", "redis://host:1"),
            ("rediss://user:sEcReT@host", "rediss://host:6379"),
            ("unix:/run/redis.sock", "unix:/run/redis.sock"),
            ("unix:///run/redis.sock?pass=sEcReT", "unix:/run/redis.sock"),
            ("host:port:sEcReT", "an address that can't be read"),
            ("localhost:6379,password=sEcReT", "an address that can't be read"),
            ("redis://user:12/sEcReT@host:1", "an address that can't be read"),
            ("user:12?sEcReT@host", "an address that can't be read"),
            ("redis://user:12#sEcReT@host", "an address that can't be read"),
            ("http://sEcReT@host", "an address that can't be read"),
            ("", "an address that can't be read"),
        ] {
            let options = RedisOptions::new(server);
            assert_eq!(options.address(), shown, "{server}");
            assert!(!format!("{options:?}").contains("sEcReT"), "{server}");
            if let Err(error) = options.connection_info() {
                assert!(!error.to_string().contains("sEcReT"), "{server}: {error}");
            }
        }
    }

    #[test]
    fn a_prefix_is_plain() {
        let check = |prefix: &str| {
            RedisOptions { prefix: prefix.to_owned(), ..RedisOptions::new("h") }.check_prefix()
        };
        assert!(check("catga").is_ok() && check(&"x".repeat(64)).is_ok());
        for prefix in ["", "a b", "{a}", "a:b", "*", "ä", &"x".repeat(65)] {
            assert!(check(prefix).is_err(), "{prefix:?}");
        }
    }
}
