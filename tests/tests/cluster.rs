//! Three nodes as people run them: none is missed when it is gone.

use std::time::Duration;

use catga_tests::{
    Server,
    backend::Backend,
    binary,
    cluster::{Cluster, LEASE},
    eventually,
    history::Recorder,
    load::{Stop, http},
    order,
};
use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::time::{Instant, sleep};

/// The longest time between two successes of a client that asks the next node when one does not answer.
async fn longest_gap(urls: &[String], stop: &Stop) -> Duration {
    let http = Client::builder().timeout(Duration::from_secs(1)).build().unwrap();
    let (mut last, mut longest, mut turn) = (Instant::now(), Duration::ZERO, 0);
    while !stop.is_now() {
        let node = &urls[turn % urls.len()];
        let sent = http.post(format!("{node}/orders")).json(&order("gap")).send().await;
        if sent.is_ok_and(|answer| answer.status() == StatusCode::CREATED) {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
        turn += 1;
        sleep(Duration::from_millis(2)).await;
    }
    longest
}

/// Waits until `n` nodes are left and work on everything, as node 0 sees it. Answers how long that took.
async fn taken_over(cluster: &Cluster, n: usize) -> Duration {
    let (http, url, begin) = (Client::new(), cluster.nodes[0].url(), Instant::now());
    eventually(async || {
        let answer = http.get(format!("{url}/cluster")).send().await.map_err(|e| e.to_string())?;
        let cluster: Value = answer.json().await.unwrap();
        let nodes = cluster["nodes"].as_array().unwrap();
        let leases: usize = nodes.iter().map(|n| n["leases"].as_array().unwrap().len()).sum();
        if nodes.len() == n && leases == 16 { Ok(()) } else { Err(cluster.to_string()) }
    })
    .await;
    begin.elapsed()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_is_not_missed() {
    let backend = Backend::redis().await;
    let mut cluster = Cluster::start(&backend, 3, &[]).await;
    cluster.settled().await;
    let (urls, stop) = (cluster.urls(), Stop::default());
    let trouble = async {
        // What the survivors tell is one beat old.
        cluster.nodes[2].kill().await;
        let killed = taken_over(&cluster, 2).await;
        // How long it takes is printed: a busy machine may be late.
        assert!(killed <= 3 * LEASE, "taken over {killed:?} after a kill");
        cluster.nodes[1].terminate().await;
        let left = taken_over(&cluster, 1).await;
        assert!(left <= LEASE, "taken over {left:?} after a stop");
        println!("lease {LEASE:?}: taken over {killed:?} after a kill, {left:?} after a stop");
        stop.now();
    };
    let (gap, ()) = tokio::join!(longest_gap(&urls, &stop), trouble);
    println!("longest gap seen by a client that goes on to the next node: {gap:?}");
    assert!(gap < 2 * LEASE, "nobody waits for the lease: {gap:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rolling_restart_fails_no_request_that_is_sent_again_once() {
    let backend = Backend::redis().await;
    let mut cluster = Cluster::start(&backend, 3, &[]).await;
    cluster.settled().await;
    let (urls, recorder, stop) = (cluster.urls(), Recorder::new(), Stop::default());
    let time = Duration::from_secs(60);
    let plan = http::Plan { clients: 8, orders: 100_000, time, name: "roll".to_owned() };
    let restarts = async {
        for node in &mut cluster.nodes {
            node.terminate().await;
            node.start().await;
        }
        cluster.settled().await;
        // A busy machine sends few while the nodes start.
        eventually(|| async {
            let acked = recorder.acked();
            if acked > 300 { Ok(()) } else { Err(format!("{acked} commands")) }
        })
        .await;
        stop.now();
    };
    let (answered, ()) = tokio::join!(http::send(&urls, &plan, &recorder, &stop), restarts);
    assert!(answered.len() > 300, "void: {} commands", answered.len());
    let worst = answered.iter().map(|command| command.tries).max();
    println!("{} commands over three restarts, sent at most {worst:?} times", answered.len());
    assert!(worst <= Some(2), "a command was sent {worst:?} times");
    cluster.all_handled().await;
    let log = http::final_log(&Client::new(), &urls[0]).await;
    recorder.history().check(&log).expect_clean(300);
    assert_eq!(cluster.effects().violations(&log), [""; 0], "P7");
    assert_eq!(cluster.effects().repeats(), 0, "a node that is stopped hands over");
}

async fn refused(flags: &[&str]) -> String {
    let output = tokio::process::Command::new(binary())
        .args(flags)
        .args(["--cluster", "--port", "0", "--lease", "1"])
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(15), output).await.unwrap().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(output.stdout.is_empty(), "nothing is announced");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_needs_a_store_that_is_shared_and_names_that_are_not() {
    for persistence in ["inmemory", "file"] {
        let text = refused(&["--persistence", persistence]).await;
        for part in ["--cluster", "--persistence redis or nats", persistence] {
            assert!(text.contains(part), "no {part} in {text}");
        }
    }
    let backend = Backend::redis().await;
    let flags = backend.flags();
    let mut flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    flags.extend(["--node-id", "one"]);
    let more = ["--cluster", "--lease", "1", "--advertise", "example:5000"];
    let node = Server::start(&[&flags[..], &more].concat()).await;
    let text = refused(&flags).await;
    for part in ["--node-id", "`one`", "example:5000"] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    let cluster = node.json("/cluster").await;
    assert_eq!(cluster["nodes"].as_array().unwrap().len(), 1);
    assert_eq!(cluster["nodes"][0]["address"], "example:5000");
}
