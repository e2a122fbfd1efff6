//! Three nodes and their store under faults that overlap, drawn from a seed, and the whole history judged.
//!
//! `CATGA_SECONDS` says for how long (`just chaos --minutes N`), `CATGA_SEED` which faults.

use std::{collections::BTreeMap, time::Duration};

use catga_tests::{
    backend::Backend,
    cluster::{Cluster, LEASE, Node},
    dice::Dice,
    history::Recorder,
    load::{Stop, http},
};
use reqwest::Client;
use tokio::time::{Instant, sleep};

/// What can happen to a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Fault {
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
}

const FAULTS: [Fault; 5] =
    [Fault::Kill, Fault::Pause, Fault::Restart, Fault::CutOff, Fault::Unreachable];

async fn bite(node: &mut Node, fault: Fault, time: Duration) {
    let beyond_lease = LEASE + time;
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
            node.clients.set(catga_tests::proxy::Mode::BlackHole);
            sleep(time).await;
            node.clients.set(catga_tests::proxy::Mode::Pass);
        }
    }
}

/// How often each thing happened.
type Counts = BTreeMap<String, usize>;

fn setting(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

/// The faults, and the judgement, on three nodes with their log in `backend`, and their transport there too or on
/// another server.
async fn nemesis(mut backend: Backend, mut transport: Option<Backend>) {
    let time = Duration::from_secs(setting("CATGA_SECONDS", 45));
    let seed = setting("CATGA_SEED", 4);
    let mut dice = Dice::new(seed);
    let flags = transport.as_ref().map(Backend::transport_flags).unwrap_or_default();
    let flags: Vec<_> = flags.iter().map(String::as_str).collect();
    let mut cluster = Cluster::start(&backend, 3, &flags).await;
    cluster.settled().await;
    let urls = cluster.urls();
    let (recorder, stop) = (Recorder::new(), Stop::default());
    let limit = time + Duration::from_secs(120);
    let plan = http::Plan { clients: 8, orders: 1_000_000, time: limit, name: "k".to_owned() };
    let (mut bitten, mut servers) = (Counts::new(), Counts::new());
    let faults = async {
        let end = Instant::now() + time;
        let mut acknowledged = 0;
        while Instant::now() < end {
            // A fault without load says nothing.
            let deadline = Instant::now() + Duration::from_secs(30);
            while recorder.acked() < acknowledged + 50 {
                assert!(Instant::now() < deadline, "void: no load; seed {seed}");
                sleep(Duration::from_millis(5)).await;
            }
            let first = dice.index(3);
            let kinds = [(); 2].map(|()| FAULTS[dice.index(FAULTS.len())]);
            let times = [(); 2].map(|()| Duration::from_millis(200 + dice.below(1500)));
            let (is_double, is_store, is_transport) =
                (dice.coin(), dice.below(3) == 0, dice.coin());
            cluster.nodes.rotate_left(first);
            let [one, two, ..] = &mut cluster.nodes[..] else { unreachable!("there are three") };
            *bitten.entry(format!("{:?}", kinds[0])).or_default() += 1;
            let other = async {
                if is_double {
                    *bitten.entry(format!("{:?}", kinds[1])).or_default() += 1;
                    bite(two, kinds[1], times[1]).await;
                }
            };
            let server = async {
                if !is_store {
                    return;
                }
                sleep(times[1] / 2).await;
                let (name, server) = match &mut transport {
                    Some(transport) if is_transport => ("TransportCrash", transport),
                    _ => ("StoreCrash", &mut backend),
                };
                server.crash().await;
                *servers.entry(name.to_owned()).or_default() += 1;
            };
            tokio::join!(bite(one, kinds[0], times[0]), other, server);
            acknowledged = recorder.acked();
        }
        cluster.settled().await;
        stop.now();
    };
    let (_, ()) = tokio::join!(http::send(&urls, &plan, &recorder, &stop), faults);
    cluster.all_handled().await;

    let client = Client::new();
    let log = http::final_log(&client, &urls[0]).await;
    let orders = http::orders(&client, &urls[0]).await;
    for url in &urls[1..] {
        assert_eq!(http::orders(&client, url).await, orders, "I13: nodes differ; seed {seed}");
    }
    let mut history = recorder.history();
    let verdict = history.check(&log);
    let effects = cluster.effects();
    println!(
        "{}, seed {seed}, {} s: {bitten:?} {servers:?}: {verdict}; {} effects, {} of them again",
        [backend.flags(), flags.iter().map(ToString::to_string).collect()].concat().join(" "),
        time.as_secs(),
        effects.count(),
        effects.repeats()
    );
    verdict.expect_clean(50 * bitten.values().sum::<usize>() / 2);
    assert_eq!(effects.violations(&log), [""; 0], "P7; seed {seed}");

    // The reads were there, and the checker sees what they are there for.
    let (looks, counts) = (history.looks.len(), history.counts.len());
    assert!(looks > verdict.acked / 4 && counts > verdict.acked / 16, "{looks} {counts}");
    history.looks[looks / 2].commits += 2;
    history.counts[counts / 2].streams = 0;
    assert_eq!(history.check(&log).violations.len(), 2, "{}", history.check(&log));
    // The check of the effects sees what it is there for.
    let (last, middle) = (effects.count() - 1, effects.count() / 2);
    let of = |n: usize| effects.changed(|all| all.truncate(n));
    assert!(!of(last / 2).violations(&log).is_empty(), "effects that are missing");
    let strange = effects.changed(|all| all[middle].0 = "nobody's".to_owned());
    assert!(!strange.violations(&log).is_empty(), "an effect of no event");
    let turned = effects.changed(|all| all.reverse());
    assert!(!turned.violations(&log).is_empty(), "effects out of order");
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_to_p8_hold_on_redis_whatever_dies() {
    nemesis(Backend::redis().await, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_to_p8_hold_on_nats_whatever_dies() {
    nemesis(Backend::nats_newest().await, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_to_p8_hold_with_the_transport_on_another_server_whatever_dies() {
    nemesis(Backend::redis().await, Some(Backend::nats_newest().await)).await;
}
