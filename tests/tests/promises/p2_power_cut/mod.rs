//! P2 by power cuts: what an acknowledged append is worth on each backend.
//!
//! Each test runs an unmodified server on a disk that forgets what was not synced. Two kinds of
//! settings are controls that must lose: if they lose nothing, the cut does not bite, and the tests that
//! pass say nothing.

mod file;
mod naive;
mod nats;
mod redis;

use std::time::Duration;

use catga_tests::{
    crash::{Fault, Round, Server, power_cuts},
    history::Verdict,
    load::Plan,
    nats::Version,
    power::{Cut, Metadata, PowerFs},
};

use self::{
    file::Files,
    naive::{Care, Naive},
    nats::Nats,
    redis::Redis,
};

fn plan() -> Plan {
    Plan { commits: usize::MAX, time: Duration::from_secs(60), ..Plan::default() }
}

/// Cuts of each kind, each after so many acknowledged appends.
fn cuts(acked: usize) -> Vec<Round> {
    let cuts = [Cut::Drop, Cut::Random(1), Cut::Drop, Cut::Random(2)];
    cuts.map(|cut| Round::cut(acked, cut)).into()
}

/// The disk fails under the load, and then the power.
fn after(fault: Fault) -> Vec<Round> {
    [Cut::Drop, Cut::Random(3)].map(|cut| Round { acked: 300, fault, cut }).into()
}

/// Runs a log in this process on a disk that is strict about names too.
async fn run_here(name: &str, mut server: impl Server, rounds: &[Round]) -> Verdict {
    let disk = PowerFs::mount(Metadata::UntilSynced);
    // More than a page a commit: what is lost of one page is saved by the next write to it.
    let plan = Plan { payload: 5000, ..plan() };
    let verdict = power_cuts(&mut server, &disk, &plan, rounds).await;
    println!("{name}, {} cuts, {:?}: {verdict}", rounds.len(), disk.counts());
    verdict
}

/// Runs a server whose folders are durable at once, so that what is lost is lost for want of an
/// `fsync` of bytes.
async fn run(name: &str, server: impl Server, rounds: &[Round]) -> Verdict {
    run_plan(name, server, rounds, &plan()).await
}

async fn run_plan(name: &str, mut server: impl Server, rounds: &[Round], plan: &Plan) -> Verdict {
    let disk = PowerFs::mount(Metadata::Durable);
    let verdict = power_cuts(&mut server, &disk, plan, rounds).await;
    println!("{name}, {} cuts, {:?}: {verdict}", rounds.len(), disk.counts());
    verdict
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_redis_appendfsync_always_loses_nothing() {
    let verdict = run("redis always", Redis::new("always"), &cuts(500)).await;
    verdict.expect_clean(2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_redis_appendfsync_always_acknowledges_nothing_that_the_disk_refused() {
    let syncs = after(Fault::FailSyncs(1));
    run("redis always, EIO", Redis::new("always"), &syncs).await.expect_clean(600);
    let full = after(Fault::Fill(10_000));
    run("redis always, full", Redis::new("always"), &full).await.expect_clean(600);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_redis_appendfsync_everysec_loses() {
    let rounds = [Round::cut(1000, Cut::Drop); 3];
    let verdict = run("redis everysec", Redis::new("everysec"), &rounds).await;
    assert!(verdict.lost() > 0, "the power cut does not bite: {verdict}");
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_nats_sync_always_loses_nothing() {
    let verdict = run("nats newest always", Nats::sync_always(), &cuts(500)).await;
    verdict.expect_clean(2000);
}

/// So many writers that their commits share syncs.
#[tokio::test(flavor = "multi_thread")]
async fn p2_nats_commits_that_share_a_sync_are_not_lost() {
    let many = Plan { writers: 64, streams: 400, ..plan() };
    let mut rounds = cuts(2000);
    rounds.extend([Cut::Drop, Cut::Random(4)].map(|cut| Round {
        acked: 1000,
        fault: Fault::FailSyncs(1),
        cut,
    }));
    let verdict = run_plan("nats newest always, many", Nats::sync_always(), &rounds, &many).await;
    verdict.forgive_dirty_reads().expect_clean(8000);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_nats_sync_always_acknowledges_nothing_that_the_disk_refused() {
    let syncs = after(Fault::FailSyncs(1));
    // A nats-server gives to readers what it has written before the sync: one that then fails
    // leaves what was seen, and never promised, to the next power cut.
    let verdict = run("nats newest always, EIO", Nats::sync_always(), &syncs).await;
    verdict.forgive_dirty_reads().expect_clean(600);
    let full = after(Fault::Fill(10_000));
    let verdict = run("nats newest always, full", Nats::sync_always(), &full).await;
    verdict.forgive_dirty_reads().expect_clean(600);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_nats_out_of_the_box_loses() {
    for version in Version::ALL {
        let rounds = [Round::cut(1000, Cut::Drop)];
        let name = format!("nats {version:?} default");
        let verdict = run(&name, Nats::default_of(version), &rounds).await;
        assert!(verdict.lost() > 0, "the power cut does not bite: {verdict}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_files_lose_nothing() {
    let mut rounds = cuts(500);
    rounds.extend((10..20).map(|seed| Round::cut(100, Cut::Random(seed))));
    run_here("file", Files, &rounds).await.expect_clean(2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn p2_files_acknowledge_nothing_that_the_disk_refused() {
    run_here("file, EIO", Files, &after(Fault::FailSyncs(1))).await.expect_clean(600);
    run_here("file, full", Files, &after(Fault::Fill(10_000))).await.expect_clean(600);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_log_done_right_loses_nothing() {
    let mut rounds = cuts(300);
    rounds.extend((10..20).map(|seed| Round::cut(50, Cut::Random(seed))));
    rounds.extend(after(Fault::FailSyncs(1)));
    rounds.extend(after(Fault::Fill(10_000)));
    run_here("done right", Naive(Care::Full), &rounds).await.expect_clean(2000);
}

#[tokio::test(flavor = "multi_thread")]
async fn control_a_log_done_wrong_loses() {
    let cut = [Round::cut(300, Cut::Drop)];
    for (care, rounds) in [
        (Care::NoSync, &cut[..]),
        (Care::NoFolderSync, &cut[..]),
        (Care::SyncsAgain, &after(Fault::FailSyncs(1))[..1]),
    ] {
        let verdict = run_here(&format!("{care:?}"), Naive(care), rounds).await;
        assert!(verdict.lost() > 0, "{care:?} is not found: {verdict}");
    }
}
