//! What can happen to a node.

use std::time::Duration;

use reqwest::Client;
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::{log_pipe::Reader, slow};
use crate::{
    cluster::{LEASE, Node},
    eventually_within,
    proxy::Mode,
};

/// How long it takes at most until a fault shows, while others may be there too.
const SHOWN: Duration = Duration::from_secs(30);

/// What can happen to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// It is killed, and started again after a while.
    Kill,
    /// It stands still for longer than the lease.
    Pause,
    /// It is stopped and started as in an upgrade.
    Restart,
    /// No byte passes between it and the store, for longer than the lease.
    CutOff,
    /// No byte passes between it and its clients.
    Unreachable,
    /// Nobody drains the pipe that its log lines go to.
    LogUnread,
    /// The reader of its log lines is gone for a while.
    LogReaderGone,
    /// The disk that its log lines go to is full.
    LogDiskFull,
    /// Its clock jumps, and stays there.
    ClockJump,
    /// A projection of it panics once; a new start heals that.
    ProjectionPanic,
    /// Clients send half a body, and read neither feeds nor pages.
    SlowClients,
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Kill,
        Self::Pause,
        Self::Restart,
        Self::CutOff,
        Self::Unreachable,
        Self::LogUnread,
        Self::LogReaderGone,
        Self::LogDiskFull,
        Self::ClockJump,
        Self::ProjectionPanic,
        Self::SlowClients,
    ];

    /// Whether log lines are lost while it lasts.
    pub fn loses_lines(self) -> bool {
        matches!(self, Self::LogReaderGone | Self::LogDiskFull)
    }
}

/// A fault as it was drawn.
#[derive(Debug, Clone, Copy)]
pub struct Bite {
    /// Which.
    pub fault: Fault,
    /// For how long, beyond the lease where that says something.
    pub time: Duration,
    /// Where the clock jumps to, if it does.
    pub seconds: i64,
}

/// Since when and until when something was.
pub type Span = (Instant, Instant);

/// Lets it happen, and ends it. Answers when it was.
///
/// # Panics
/// When the node does not show what it must.
pub async fn bite(node: &mut Node, Bite { fault, time, seconds }: Bite) -> Span {
    let beyond_lease = LEASE + time;
    let mut begun = Instant::now();
    match fault {
        Fault::Kill => {
            node.kill().await;
            sleep(time).await;
            node.start().await;
        }
        Fault::Pause => {
            node.pause().await;
            sleep(beyond_lease).await;
            node.resume().await;
        }
        Fault::Restart => {
            node.terminate().await;
            node.start().await;
        }
        Fault::CutOff => {
            node.cut_off(true);
            sleep(beyond_lease).await;
            node.cut_off(false);
        }
        Fault::Unreachable => {
            node.clients.set(Mode::BlackHole);
            sleep(time).await;
            node.clients.set(Mode::Pass);
        }
        Fault::LogUnread | Fault::LogReaderGone => {
            let is_gone = fault == Fault::LogReaderGone;
            node.log_meets(if is_gone { Reader::IsGone } else { Reader::StandsStill });
            sleep(beyond_lease).await;
            let ended = Instant::now();
            node.log_meets(Reader::Reads);
            return (begun, ended);
        }
        Fault::LogDiskFull => {
            node.fill_log_disk(true);
            node.terminate().await;
            node.start().await;
            begun = Instant::now();
            sleep(beyond_lease).await;
            let ended = Instant::now();
            node.fill_log_disk(false);
            node.terminate().await;
            node.start().await;
            return (begun, ended);
        }
        Fault::ClockJump => {
            node.set_clock(seconds);
            has_jumped(node, seconds).await;
            sleep(time).await;
        }
        Fault::ProjectionPanic => {
            node.tell("fuse");
            projection_is_out(node).await;
            sleep(time).await;
            node.terminate().await;
            node.start().await;
        }
        Fault::SlowClients => {
            slow::clients(node.clients.address(), 60, beyond_lease).await;
        }
    }
    (begun, Instant::now())
}

/// Waits until the node's clock differs by so many seconds from the others'.
async fn has_jumped(node: &Node, seconds: i64) {
    let http = patient_client();
    eventually_within(SHOWN, async || {
        let offset = node.clock_offset(&http).await?;
        if (offset - seconds).abs() < 10 {
            Ok(())
        } else {
            Err(format!("{offset} s, not {seconds}"))
        }
    })
    .await;
}

/// Waits until the projection has panicked: health says so, and its queries are refused at once.
async fn projection_is_out(node: &Node) {
    let (http, url) = (patient_client(), node.url());
    eventually_within(SHOWN, async || {
        let health = http.get(format!("{url}/health")).send().await.map_err(|e| e.to_string())?;
        let (status, health) = (health.status(), health.json::<Value>().await.unwrap_or_default());
        let reason = health["checks"]["readModels"]["reason"].as_str().unwrap_or_default();
        let is_said =
            status == 503 && reason.contains("fused") && reason.contains("the fuse was lit");
        if is_said { Ok(()) } else { Err(format!("{}: {health}", node.name())) }
    })
    .await;
    // The store may be away just now, and what waits for it is no wait for the projection.
    eventually_within(SHOWN, async || {
        let begun = Instant::now();
        let query = http.get(format!("{url}/fused?consistency=eventual")).send().await;
        let (status, took) = (query.map_err(|e| e.to_string())?.status(), begun.elapsed());
        let is_refused = status.is_server_error() && took < Duration::from_secs(1);
        if is_refused { Ok(()) } else { Err(format!("{status} after {took:?}")) }
    })
    .await;
}

fn patient_client() -> Client {
    Client::builder().timeout(Duration::from_secs(6)).build().expect("plain settings")
}
