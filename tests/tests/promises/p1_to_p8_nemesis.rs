//! Three nodes and their servers under faults that overlap, drawn from a seed; the whole history is judged, and nothing may ever
//! be wrong without a word.
//!
//! `CATGA_SECONDS` says for how long (`just chaos --minutes N`), `CATGA_SEED` which faults.

use std::time::Duration;

use catga_tests::{
    backend::Backend,
    cluster::Cluster,
    eventually_within,
    history::Recorder,
    load::{Stop, http},
    nemesis::{
        mail::Mail,
        run::{Ended, Judged, run},
        silence::{Epoch, Evidence, PATIENCE},
        watch::{Watch, Word},
        witness::{Asked, Try, Witness},
    },
};
use tokio::time::Instant;

async fn nemesis(n: u64, log: Backend, topic: Option<Backend>) {
    let Ended { first, evidence } = run(n, log, topic).await;
    the_checks_see_what_they_are_for(first);
    silence_is_found(&evidence);
}

/// What is planted in a history, or in the effects, is found.
fn the_checks_see_what_they_are_for(Judged { mut history, log, effects }: Judged) {
    let (looks, counts) = (history.looks.len(), history.counts.len());
    let acked = history.check(&log).acked;
    assert!(looks > acked / 4 && counts > acked / 16, "{looks} {counts}");
    history.looks[looks / 2].commits += 2;
    history.counts[counts / 2].streams = 0;
    assert_eq!(history.check(&log).violations.len(), 2, "{}", history.check(&log));

    let (last, middle) = (effects.count() - 1, effects.count() / 2);
    let of = |n: usize| effects.changed(|all| all.truncate(n));
    assert!(!of(last / 2).violations(&log).is_empty(), "effects that are missing");
    let strange = effects.changed(|all| all[middle].0 = "nobody's".to_owned());
    assert!(!strange.violations(&log).is_empty(), "an effect of no event");
    let turned = effects.changed(|all| all.reverse());
    assert!(!turned.violations(&log).is_empty(), "effects out of order");
}

/// What is planted in a run is found when the nodes say that all is well, and only then.
fn silence_is_found(evidence: &Evidence) {
    let silent = |evidence: &Evidence| evidence.judge().silent.join(", ");
    let told = |mut evidence: Evidence, word: Word| {
        evidence.seen.samples.iter_mut().for_each(|sample| sample.word = word.clone());
        evidence
    };
    let sick = |name: &str| Word::Sick(vec![name.to_owned()]);
    let begun = evidence.epochs[0].span.0;

    let mut refusing = evidence.clone();
    refusing.tries = (0..15).map(|second| refused(begun + Duration::from_secs(second))).collect();
    for word in [Word::Healthy, sick("mail"), sick("deadLetters")] {
        let found = silent(&told(refusing.clone(), word));
        assert!(found.contains("commands are refused or not answered at node-0"), "{found}");
    }
    assert!(!silent(&told(refusing, sick("store"))).contains("commands are refused"));

    // An event is acknowledged, and nothing comes of it.
    let mut unhandled = evidence.clone();
    let order = unhandled.epochs[0].acks[0].order.clone();
    unhandled.letters.retain(|letter| letter.order != order);
    for word in [Word::Healthy, sick("readModels")] {
        let found = silent(&told(unhandled.clone(), word));
        assert!(found.contains("events are acknowledged and not handled"), "{found}");
    }
    assert!(!silent(&told(unhandled, sick("mail"))).contains("not handled"));

    let mut still = evidence.clone();
    still.seen.orders.iter_mut().for_each(|orders| orders.is = 0);
    assert!(silent(&told(still, Word::Healthy)).contains("a read model stands still"));

    let mut letters = evidence.clone();
    letters.seen.dead_letters.iter_mut().for_each(|letters| letters.is = 1);
    assert!(silent(&told(letters, Word::Healthy)).contains("there are dead letters"));

    let mut lines = evidence.clone();
    let letter = lines.letters[lines.letters.len() / 2].clone();
    let node = lines.nodes.iter().position(|name| *name == letter.node).expect("a node sent it");
    lines.deaf.push((node, (letter.at, letter.at + PATIENCE)));
    lines.seen.lost_lines.iter_mut().for_each(|lines| lines.is = 0);
    assert!(silent(&lines).contains("log lines are lost"), "{}", silent(&lines));
}

fn refused(begun: Instant) -> Try {
    let ended = begun + Duration::from_millis(100);
    Try { node: 0, asked: Asked::Command, begun, ended, problem: Some("planted".to_owned()) }
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_to_p8_hold_on_redis_whatever_dies() {
    nemesis(0, Backend::redis().await, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_to_p8_hold_on_nats_whatever_dies() {
    nemesis(1, Backend::nats_newest().await, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_to_p8_hold_with_the_transport_on_another_server_whatever_dies() {
    nemesis(2, Backend::redis().await, Some(Backend::nats_newest().await)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p1_to_p8_hold_on_three_nats_servers_whatever_dies() {
    nemesis(3, Backend::nats_cluster().await, None).await;
}

/// A node that leaves effects out and says that all is well.
#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_lies_is_found() {
    let (backend, mail) = (Backend::redis().await, Mail::start().await);
    let cluster = Cluster::start_chaos(&backend, 1, &[], &mail).await;
    cluster.settled().await;
    let (urls, begun, witness) = (cluster.urls(), Instant::now(), Witness::default());
    let watch = Watch::start(&urls);
    let load = async |name: &str| {
        let time = Duration::from_secs(30);
        let plan = http::Plan { clients: 2, orders: 20, time, name: name.to_owned() };
        http::send_seen(&urls, &plan, &Recorder::new(), &Stop::default(), &witness).await;
    };
    let evidence = || Evidence {
        tries: witness.tries(),
        epochs: vec![Epoch { span: (begun, Instant::now()), acks: witness.acks() }],
        letters: mail.letters(),
        deaf: Vec::new(),
        nodes: vec![cluster.nodes[0].name().to_owned()],
        seen: watch.seen(),
    };
    load("true").await;
    cluster.all_handled().await;
    cluster.nodes[0].tell("lie");
    load("lie").await;
    cluster.all_handled().await;
    let found = eventually_within(3 * PATIENCE, async || {
        let judgement = evidence().judge();
        if judgement.silent.is_empty() { Err(judgement.to_string()) } else { Ok(judgement) }
    })
    .await;
    assert_eq!(found.silent.len(), 1, "{:?}", found.silent);
    assert!(found.silent[0].contains("events are acknowledged and not handled"), "{found}");
}
