//! The command line.

use std::{fmt, net::IpAddr, path::PathBuf, time::Duration};

use catga::Durability;
use clap::{Args, Parser, Subcommand, ValueEnum};

/// An event-sourced order service: every change is an event in a log, and everything else is read from it.
#[derive(Debug, Parser)]
#[command(
    version,
    subcommand_precedence_over_arg = true,
    after_help = "\
Examples:
  order-system                       serve on http://127.0.0.1:5000, in memory
  order-system --port 0              serve on a free port; the first line says which
  order-system --persistence redis   keep the log on the Redis server at localhost:6379
  order-system check                 say what an answered command survives
  order-system handlers              list every command, query, event and handler

Exit codes: 0 stopped cleanly, 1 failed, 2 wrong usage, 130 stopped at once by a second Ctrl-C."
)]
pub struct Cli {
    /// What to do; serves when left out.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// How to serve.
    #[command(flatten)]
    pub serve: Serve,
}

/// What the program can do.
#[derive(Debug, Clone, Copy, Subcommand)]
pub enum Command {
    /// Serve the HTTP API (the default)
    Serve,
    /// List every command, query, event, event handler and projection, with its source line
    Handlers,
    /// Print the OpenAPI 3.1 document
    Openapi,
    /// Ask the store how durable it is, and print the settings that say so
    Check,
    /// Ask a running server on --host and --port whether it is ready; exit 1 when it is not
    Healthcheck,
}

/// The flags.
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// The address to listen on
    #[arg(
        long,
        global = true,
        env = "CATGA_HOST",
        default_value = "127.0.0.1",
        help_heading = "Server"
    )]
    pub host: IpAddr,
    /// The port to listen on; 0 takes a free one
    #[arg(
        long,
        global = true,
        env = "CATGA_PORT",
        default_value_t = 5000,
        help_heading = "Server"
    )]
    pub port: u16,
    /// How many seconds a shutdown waits for requests in flight
    #[arg(long, global = true, env = "CATGA_DRAIN_TIMEOUT", default_value = "10", value_parser = seconds, value_name = "SECONDS", help_heading = "Server")]
    pub drain_timeout: Duration,
    /// Where the log is.
    #[command(flatten)]
    pub backends: Backends,
    /// This node's name in the log [default: node- and six random digits]
    #[arg(long, global = true, env = "CATGA_NODE_ID", value_parser = name, help_heading = "Server")]
    pub node_id: Option<String>,
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
    /// Let the receipt of every order paid by this method fail, to see retries and dead letters
    #[arg(
        long,
        global = true,
        env = "CATGA_FAIL_RECEIPTS_FOR",
        value_name = "METHOD",
        help_heading = "Observability"
    )]
    pub fail_receipts_for: Option<String>,
}

/// The flags that say where the log is, and what brings events to event handlers.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Backends")]
pub struct Backends {
    /// What brings events to event handlers
    #[arg(long, global = true, env = "CATGA_TRANSPORT", value_parser = transport, default_value = "inmemory")]
    pub transport: Transport,
    /// Where the log is
    #[arg(long, global = true, env = "CATGA_PERSISTENCE", value_enum, default_value_t = Persistence::Inmemory)]
    pub persistence: Persistence,
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
    /// The certificates in PEM that a rediss:// server is trusted by, in place of the public authorities
    #[arg(long, global = true, env = "CATGA_REDIS_CA", value_name = "FILE")]
    pub redis_ca: Option<PathBuf>,
    /// What the keys on the Redis server begin with, so that services can share it
    #[arg(long, global = true, env = "CATGA_REDIS_PREFIX", default_value = "catga", value_parser = name, value_name = "PREFIX")]
    pub redis_prefix: String,
    /// Refuse to start when an acknowledged command survives less than this: memory, seconds, process-crash or
    /// power-loss
    #[arg(
        long,
        global = true,
        env = "CATGA_REQUIRE_DURABILITY",
        default_value = "memory",
        hide_default_value = true,
        value_name = "LEVEL"
    )]
    pub require_durability: Durability,
}

/// Where a server is. The text may hold a password, so it is not shown.
#[derive(Clone)]
pub struct ServerAddress(String);

impl ServerAddress {
    /// The text as it was given.
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl From<String> for ServerAddress {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for ServerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ServerAddress(..)")
    }
}

/// The transports there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Transport {
    /// Inside the process
    Inmemory,
}

/// The stores there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Persistence {
    /// In memory, gone with the process
    Inmemory,
    /// On the Redis server at --redis
    Redis,
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
        }
    }
}

impl Persistence {
    /// The flag's value.
    pub fn name(self) -> &'static str {
        match self {
            Self::Inmemory => "inmemory",
            Self::Redis => "redis",
        }
    }
}

fn transport(text: &str) -> Result<Transport, &'static str> {
    match text {
        "redis" | "nats" => {
            Err("not available yet; inmemory delivers from the log, on every store")
        }
        _ => Transport::from_str(text, false).map_err(|_| "inmemory is allowed"),
    }
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse() {
        Ok(seconds @ 0..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("0 to 3600 seconds are allowed".to_owned()),
    }
}

fn name(text: &str) -> Result<String, String> {
    match catga::StreamId::new("node", text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err("1 to 64 of A-Z a-z 0-9 _ - are allowed".to_owned()),
    }
}
