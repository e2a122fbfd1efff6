//! The command line that every service has.
//!
//! The flags of a store are there when its feature of this crate is.

mod values;

#[cfg(any(feature = "redis", feature = "nats"))]
use std::fmt;
use std::{
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use catga::{log::Position, store::DurabilitySet};
use clap::{Args, Parser, Subcommand, ValueEnum};

pub use self::values::Allowed;
#[cfg(feature = "nats")]
use self::values::replicas;
use self::values::{durability, host, name, port, position, positive_seconds, reason, seconds};

/// The command line of a service: the flags and commands that every service has, and the flags `A` of its own.
#[derive(Debug, Clone, Parser)]
#[command(version, subcommand_precedence_over_arg = true)]
pub struct Cli<A: Args = NoArgs> {
    /// What to do; serves when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Serve,
    /// The service's own flags.
    #[command(flatten)]
    pub own: A,
}

/// No flags of a service's own.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct NoArgs {}

/// What `--from` takes.
const LOCATIONS: &str = "\
Where from: file:DIR, redis://…, rediss://…, unix:PATH, nats://… or tls://…, with #PREFIX behind a server whose \
prefix is not catga. Credentials and certificates are those of the other flags";

/// What the program can do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Serve the HTTP API (the default)
    Serve,
    /// List every command, query, event, event handler and projection, with its source line
    Handlers,
    /// Print the OpenAPI 3.1 document
    Openapi,
    /// Ask the store how durable it is, and print the settings that say so
    Check,
    /// Check every byte of the log below --data-dir, which must not be in use; exit 1 when it is damaged
    Verify,
    /// Copy the log of one store to another, which is empty or has a part of it from a copy before
    ///
    /// Everything stays as it is but the positions. The event handlers go on in the copy where they are. Stop the
    /// service first: what it adds meanwhile is left out.
    Copy {
        /// Where from
        #[arg(long, value_name = "STORE", long_help = LOCATIONS)]
        from: Location,
        /// Where to
        #[arg(long, value_name = "STORE")]
        to: Location,
    },
    /// Find the checkpoints of event handlers that a loss left behind the end of the log, and say where the handlers can go on
    ///
    /// Such a handler stops, as what it handled is not in the log any more. Nothing is changed without --apply. Stop the
    /// service first.
    Repair {
        /// Put the checkpoints back to where the handlers can go on
        #[arg(long)]
        apply: bool,
    },
    /// List the events that this program can't read, or go on without one of them
    ///
    /// An aggregate or a read model stops at such an event. Most often a program that reads it is the way out. Where nobody can
    /// read it any more, `skip POSITION --reason TEXT` writes into the log that programs go on without it, from their
    /// next start on. A program that can read it does so all the same.
    Skip {
        /// The position of the event to go on without; without one, all that can't be read are listed
        #[arg(requires = "reason", value_parser = position)]
        position: Option<Position>,
        /// Why, for those who read the log later
        #[arg(long, requires = "position", value_parser = reason, value_name = "TEXT")]
        reason: Option<String>,
    },
    /// Ask a running server whether it is ready; exit 1 when it is not. Without --host and --port it is the one
    /// that runs here
    Healthcheck,
}

/// The flags.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// The address to listen on, or a name of it, such as localhost
    #[arg(
        long,
        global = true,
        env = "CATGA_HOST",
        default_value = "127.0.0.1",
        value_parser = host,
        help_heading = "Server"
    )]
    pub host: String,
    /// The port to listen on; 0 takes a free one
    #[arg(
        long,
        global = true,
        env = "CATGA_PORT",
        default_value = "5000",
        value_parser = port,
        help_heading = "Server"
    )]
    pub port: u16,
    /// How many seconds a shutdown waits for requests in flight, and then for event handlers. Meanwhile,
    /// and for a second at least, new connections are served and /health/ready answers 503; with 0 it stops at once
    #[arg(long, global = true, env = "CATGA_DRAIN_TIMEOUT", default_value = "10", value_parser = seconds, value_name = "SECONDS", help_heading = "Server")]
    pub drain_timeout: Duration,
    /// How many seconds a connection stays open while no request is on it: 1 to 3600. A load balancer in front must close
    /// idle ones before, else requests are lost now and then
    #[arg(long, global = true, env = "CATGA_KEEP_ALIVE", default_value = "75", value_parser = positive_seconds, value_name = "SECONDS", help_heading = "Server")]
    pub keep_alive: Duration,
    /// Where the log is.
    #[command(flatten)]
    pub backends: Backends,
    /// This node's name in the log [default: node- and six random digits]
    #[arg(long, global = true, env = "CATGA_NODE_ID", value_parser = name, help_heading = "Server")]
    pub node_id: Option<String>,
    /// Be one of many nodes that share the store at --redis or --nats: each serves everything, and the event handlers'
    /// work is spread over them
    #[arg(long, global = true, env = "CATGA_CLUSTER", help_heading = "Cluster")]
    pub cluster: bool,
    /// How many seconds after its death a node's work is taken over, at most: 1 to 3600
    #[arg(long, global = true, env = "CATGA_LEASE", default_value = "5", value_parser = positive_seconds, value_name = "SECONDS", help_heading = "Cluster")]
    pub lease: Duration,
    /// Where this node is reached, as /cluster shows it [default: the address it listens on]
    #[arg(
        long,
        global = true,
        env = "CATGA_ADVERTISE",
        value_name = "ADDRESS",
        help_heading = "Cluster"
    )]
    pub advertise: Option<String>,
    /// How log lines look, on stderr
    #[arg(long, global = true, env = "CATGA_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text, help_heading = "Observability")]
    pub log_format: LogFormat,
    /// Which log lines are written: a level, or a list such as info,catga=debug
    #[arg(
        long,
        global = true,
        env = "CATGA_LOG",
        default_value = "info",
        value_name = "FILTER",
        help_heading = "Observability"
    )]
    pub log: String,
}

/// The flags that say where the log is, and what brings events to event handlers.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Backends")]
pub struct Backends {
    /// What brings events to event handlers
    ///
    /// With redis or nats the log is brought to a topic on that server, which other services can read too. When
    /// the log is on that server already, or with inmemory, they read the log itself, and nothing is copied.
    #[arg(long, global = true, env = "CATGA_TRANSPORT", value_enum, default_value_t = Transport::Inmemory)]
    pub transport: Transport,
    /// Where the log is
    #[arg(long, global = true, env = "CATGA_PERSISTENCE", value_enum, default_value_t = Persistence::Inmemory)]
    pub persistence: Persistence,
    /// The directory of --persistence file; it is made when it is not there
    #[arg(long, global = true, env = "CATGA_DATA_DIR", default_value = "data", value_name = "DIR")]
    pub data_dir: PathBuf,
    #[cfg(feature = "redis")]
    /// The Redis server: host:port, redis://user:password@host:port/db, rediss:// for TLS, or unix: and a path
    #[arg(
        long,
        global = true,
        env = "CATGA_REDIS",
        hide_env_values = true,
        default_value = "localhost:6379",
        value_name = "SERVER"
    )]
    pub redis: ServerAddress,
    #[cfg(feature = "redis")]
    /// The certificates in PEM that a rediss:// server is trusted by, in place of the public authorities
    #[arg(long, global = true, env = "CATGA_REDIS_CA", value_name = "FILE")]
    pub redis_ca: Option<PathBuf>,
    #[cfg(feature = "redis")]
    /// What the keys on the Redis server begin with, so that services can share it
    #[arg(long, global = true, env = "CATGA_REDIS_PREFIX", default_value = "catga", value_parser = name, value_name = "PREFIX")]
    pub redis_prefix: String,
    #[cfg(feature = "nats")]
    /// The NATS server: nats://user:password@host:port, or tls://; several of a cluster are separated by commas
    #[arg(
        long,
        global = true,
        env = "CATGA_NATS",
        hide_env_values = true,
        default_value = "nats://localhost:4222",
        value_name = "SERVER"
    )]
    pub nats: ServerAddress,
    #[cfg(feature = "nats")]
    /// The stream on the NATS server, and what its subjects begin with, so that services can share it
    #[arg(long, global = true, env = "CATGA_NATS_PREFIX", default_value = "catga", value_parser = name, value_name = "PREFIX")]
    pub nats_prefix: String,
    #[cfg(feature = "nats")]
    /// On how many servers of a NATS cluster each commit is kept: 1, 3 or 5
    #[arg(long, global = true, env = "CATGA_NATS_REPLICAS", default_value = "1", value_parser = replicas, value_name = "N")]
    pub nats_replicas: usize,
    #[cfg(feature = "nats")]
    /// The NATS server's HTTP monitoring, host:port, of several servers with commas; only this tells whether they sync before
    /// they answer
    #[arg(long, global = true, env = "CATGA_NATS_MONITOR", value_name = "ADDRESS")]
    pub nats_monitor: Option<String>,
    #[cfg(feature = "nats")]
    /// The file with the NATS user's JWT and key
    #[arg(long, global = true, env = "CATGA_NATS_CREDENTIALS", value_name = "FILE")]
    pub nats_credentials: Option<PathBuf>,
    #[cfg(feature = "nats")]
    /// The certificates in PEM that a tls:// server is trusted by, beside those of the system
    #[arg(long, global = true, env = "CATGA_NATS_CA", value_name = "FILE")]
    pub nats_ca: Option<PathBuf>,
    /// How many seconds a start waits for a Redis or NATS server that is not there yet, or still loads its data; with 0
    /// it ends at once
    #[arg(long, global = true, env = "CATGA_WAIT_FOR_STORE", default_value = "30", value_parser = seconds, value_name = "SECONDS")]
    pub wait_for_store: Duration,
    /// Refuse to start, and commands, when an acknowledged one survives less than this: memory, seconds, process-crash
    /// or power-loss; with server-loss behind a comma, when it is on one server only
    #[arg(
        long,
        global = true,
        env = "CATGA_REQUIRE_DURABILITY",
        default_value = "memory",
        value_parser = durability,
        hide_default_value = true,
        value_name = "LEVEL"
    )]
    pub require_durability: DurabilitySet,
}

#[cfg(any(feature = "redis", feature = "nats"))]
/// Where a server is. The text may hold a password, so it is not shown.
#[derive(Clone)]
pub struct ServerAddress(String);

#[cfg(any(feature = "redis", feature = "nats"))]
impl ServerAddress {
    /// The text as it was given.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

#[cfg(any(feature = "redis", feature = "nats"))]
impl From<String> for ServerAddress {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[cfg(any(feature = "redis", feature = "nats"))]
impl fmt::Debug for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerAddress(..)")
    }
}

/// The transports there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// The log itself
    Inmemory,
    #[cfg(feature = "redis")]
    /// A topic on the Redis server at --redis
    Redis,
    #[cfg(feature = "nats")]
    /// A topic in JetStream, on the NATS server at --nats
    Nats,
}

/// The stores there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Persistence {
    /// In memory, gone with the process
    Inmemory,
    /// In files below --data-dir, for one machine; survives a power cut
    File,
    #[cfg(feature = "redis")]
    /// On the Redis server at --redis
    Redis,
    #[cfg(feature = "nats")]
    /// In JetStream, on the NATS server at --nats
    Nats,
}

/// A store with its address.
#[derive(Debug, Clone)]
pub enum Location {
    /// In a directory.
    File(PathBuf),
    #[cfg(feature = "redis")]
    /// On a Redis server, below a prefix.
    Redis(ServerAddress, String),
    #[cfg(feature = "nats")]
    /// On a NATS server, below a prefix.
    Nats(ServerAddress, String),
}

impl Location {
    /// The directory of a log in files.
    pub(crate) fn directory(&self) -> Option<&Path> {
        match self {
            Self::File(directory) => Some(directory),
            #[cfg(any(feature = "redis", feature = "nats"))]
            _ => None,
        }
    }

    /// The name of the store, as `--persistence` has it.
    pub(crate) fn store(&self) -> &'static str {
        match self {
            Self::File(_) => "file",
            #[cfg(feature = "redis")]
            Self::Redis(..) => "redis",
            #[cfg(feature = "nats")]
            Self::Nats(..) => "nats",
        }
    }
}

impl FromStr for Location {
    type Err = Allowed;

    fn from_str(text: &str) -> Result<Self, Allowed> {
        #[cfg(any(feature = "redis", feature = "nats"))]
        let (server, prefix) = text.split_once('#').unwrap_or((text, "catga"));
        #[cfg(any(feature = "redis", feature = "nats"))]
        let at = || ServerAddress(server.to_owned());
        match text.split_once(':') {
            Some(("file", directory)) if !directory.is_empty() => Ok(Self::File(directory.into())),
            #[cfg(feature = "redis")]
            Some(("redis" | "rediss" | "unix", _)) => Ok(Self::Redis(at(), name(prefix)?)),
            #[cfg(feature = "nats")]
            Some(("nats" | "tls", _)) => Ok(Self::Nats(at(), name(prefix)?)),
            _ => Err(Allowed(
                "file:DIR, redis://…, rediss://…, unix:PATH, nats://… and tls://… are allowed; \
                 #PREFIX may follow a server",
            )),
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people
    Text,
    /// For programs: one JSON object a line
    Json,
}

impl Transport {
    /// The flag's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inmemory => "inmemory",
            #[cfg(feature = "redis")]
            Self::Redis => "redis",
            #[cfg(feature = "nats")]
            Self::Nats => "nats",
        }
    }
}

impl Persistence {
    /// The flag's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inmemory => "inmemory",
            Self::File => "file",
            #[cfg(feature = "redis")]
            Self::Redis => "redis",
            #[cfg(feature = "nats")]
            Self::Nats => "nats",
        }
    }
}
