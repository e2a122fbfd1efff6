//! P2 by power cuts: what an acknowledged append is worth on each backend.
//!
//! Each test runs an unmodified server on a disk that forgets what was not synced. Two kinds of
//! settings are controls that must lose: if they lose nothing, the cut does not bite, and the tests that
//! pass say nothing.

mod nats;
mod redis;

use std::time::Duration;

use catga_tests::{
    crash::{Server, power_cuts},
    history::Verdict,
    load::Plan,
    power::{Cut, Metadata, PowerFs},
};

use self::{nats::Nats, redis::Redis};

const CUTS: [Cut; 4] = [Cut::Drop, Cut::Random(1), Cut::Drop, Cut::Random(2)];

fn plan() -> Plan {
    Plan { commits: usize::MAX, time: Duration::from_secs(8), ..Plan::default() }
}

/// The names of files are durable at once here, so what is lost is lost for want of an `fsync` of
/// bytes.
async fn cut(name: &str, mut server: impl Server, acked: usize, cuts: &[Cut]) -> Verdict {
    let disk = PowerFs::mount(Metadata::Durable);
    let verdict = power_cuts(&mut server, &disk, &plan(), acked, cuts).await;
    println!("{name}, {} cuts, {} syncs: {verdict}", cuts.len(), disk.counts().syncs);
    verdict
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_redis_appendfsync_always_loses_nothing() {
    let verdict = cut("redis always", Redis::new("always"), 500, &CUTS).await;
    verdict.expect_clean(2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_redis_appendfsync_everysec_loses() {
    let verdict = cut("redis everysec", Redis::new("everysec"), 1000, &[Cut::Drop; 3]).await;
    assert!(verdict.lost() > 0, "the power cut does not bite: {verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_nats_sync_always_loses_nothing() {
    let verdict = cut("nats 2.15.1 always", Nats::sync_always(), 500, &CUTS).await;
    verdict.expect_clean(2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_nats_2_9_loses() {
    let verdict = cut("nats 2.9 default", Nats::debian(), 1000, &[Cut::Drop]).await;
    assert!(verdict.lost() > 0, "the power cut does not bite: {verdict}");
}
