//! order-system for the nemesis: the same service, and beside it an effect on a server outside, which shows what was handled
//! whatever happens to the log lines, and a projection that panics when told to.
//!
//! `CHAOS_MAIL` is the address of the effect's server. `CHAOS_DIRECTORY` is where it is told what to do, by files: while
//! `fuse` is there the next event makes the projection panic, once; while `lie` is there the effect is left out and said to be done.

use std::{
    fs, io, net::SocketAddr, path::PathBuf, process::ExitCode, sync::LazyLock, time::Duration,
};

use catga::{BoxError, DeliverySettings, prelude::*};
use catga_axum::query;
use order_system::domain::OrderEvent;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

/// How long the effect's server has to answer.
const PATIENCE: Duration = Duration::from_secs(1);

static DIRECTORY: LazyLock<PathBuf> = LazyLock::new(|| setting("CHAOS_DIRECTORY").into());

fn setting(name: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| panic!("{name} must be set"))
}

/// The effect's server.
struct Mail {
    address: SocketAddr,
    node: String,
}

impl Mail {
    async fn send(&self, letter: &str) -> io::Result<()> {
        let mut stream = TcpStream::connect(self.address).await?;
        stream.write_all(format!("{} {letter}\n", self.node).as_bytes()).await?;
        stream.read_u8().await?;
        Ok(())
    }
}

/// Mails everything that happens to orders.
#[event_handler(name = "mail")]
async fn send_mail(event: Recorded<OrderEvent>, mail: &State<Mail>) -> Result<(), BoxError> {
    if DIRECTORY.join("lie").exists() {
        return Ok(());
    }
    let (order, version) = (event.stream.key(), event.version.get());
    timeout(PATIENCE, mail.send(&format!("{order} {version}"))).await??;
    tracing::info!(order, version, "mailed");
    Ok(())
}

/// How many events there were.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Fused {
    events: u64,
}

/// Counts events until its fuse is lit.
#[projection]
impl Projection for Fused {
    type Event = OrderEvent;
    const NAME: &'static str = "fused";
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(100_000));

    fn apply(&mut self, _: &Recorded<OrderEvent>) {
        let is_lit = fs::remove_file(DIRECTORY.join("fuse")).is_ok();
        assert!(!is_lit, "the fuse was lit");
        self.events += 1;
    }
}

/// How many events there were.
#[catga::query(name = "chaos.fused")]
#[derive(JsonSchema)]
struct CountFused;

/// How many events there were.
#[derive(Debug, Serialize, JsonSchema)]
struct FusedCount {
    events: u64,
}

/// How many events there were, unless it panicked.
#[query_handler]
fn count_fused(_: CountFused, fused: &ReadModel<Fused>) -> FusedCount {
    FusedCount { events: fused.read().events }
}

/// Gives up, pauses and tries again within seconds, so that short runs see it.
fn delivery() -> DeliverySettings {
    DeliverySettings {
        attempts: 3,
        first_delay: Duration::from_millis(50),
        longest_delay: Duration::from_secs(1),
        retries: 8,
        retry_delay: Duration::from_secs(2),
        drain: Duration::from_secs(2),
        ..DeliverySettings::default()
    }
}

fn main() -> ExitCode {
    let app = order_system::app().setup(|builder, _| {
        let address = setting("CHAOS_MAIL").parse().expect("CHAOS_MAIL is an address");
        builder.state(Mail { address, node: setting("CHAOS_NODE") }).delivery(delivery())
    });
    catga_axum::main(app.get("/fused", query::<CountFused>()))
}
