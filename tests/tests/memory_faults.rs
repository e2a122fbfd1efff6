//! P3, P4 on order-system in memory, behind a network that loses answers.

use std::{net::SocketAddr, time::Duration};

use catga_tests::{
    Server,
    history::Recorder,
    load::{Stop, http},
    proxy::{Mode, Proxy},
};
use futures_util::{StreamExt, stream};
use reqwest::Client;

fn plan(clients: usize, orders: usize) -> http::Plan {
    http::Plan { clients, orders, time: Duration::from_secs(20), name: "k".to_owned() }
}

async fn behind_proxy(server: &Server) -> (Proxy, String) {
    let address: SocketAddr = server.url.strip_prefix("http://").unwrap().parse().unwrap();
    let proxy = Proxy::start(address).await;
    let url = format!("http://{}", proxy.address());
    (proxy, url)
}

/// Sends every command again, and asserts the first answer.
async fn all_again(answered: &[http::Answered], url: &str) {
    let client = Client::new();
    stream::iter(answered)
        .for_each_concurrent(8, |command| command.assert_same_again(&client, url))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_when_every_first_answer_is_lost_nothing_is_lost_or_doubled() {
    let server = Server::start(&[]).await;
    let (proxy, url) = behind_proxy(&server).await;
    proxy.cut_replies(format!("{}: 1\r\n", http::TRY), 0, usize::MAX);
    let (recorder, plan) = (Recorder::new(), plan(8, 63));
    let answered = http::send(std::slice::from_ref(&url), &plan, &recorder, &Stop::default()).await;
    assert_eq!(answered.len(), 1008);
    assert_eq!(proxy.cuts(), 1008, "every first answer was lost");
    assert!(answered.iter().all(|command| command.is_replay() && command.tries >= 2));
    let log = http::final_log(&Client::new(), &server.url).await;
    recorder.history().check(&log).expect_clean(1008);
    all_again(&answered, &url).await;
    assert_eq!(http::final_log(&Client::new(), &server.url).await, log, "P4: repeats add nothing");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_clients_that_share_a_bad_network_lose_and_double_nothing() {
    let server = Server::start(&[]).await;
    let (proxy, url) = behind_proxy(&server).await;
    let (recorder, stop, plan) = (Recorder::new(), Stop::default(), plan(8, 63));
    let faults = async {
        let bad = [Mode::Refuse, Mode::BlackHole, Mode::Latency(Duration::from_millis(2))];
        for mode in bad.into_iter().cycle() {
            proxy.cut_replies("POST ", 20, 20);
            let cut = async {
                while proxy.cuts() < 20 {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            };
            // Near the end there are not so many requests left.
            let _ = tokio::time::timeout(Duration::from_secs(1), cut).await;
            proxy.set(mode);
            tokio::time::sleep(Duration::from_millis(20)).await;
            proxy.set(Mode::Pass);
        }
    };
    let answered = tokio::select! {
        answered = http::send(std::slice::from_ref(&url), &plan, &recorder, &stop) => answered,
        () = faults => unreachable!("the faults go on until the load ends"),
    };
    proxy.cut_replies("", 0, 0);
    let replays = answered.iter().filter(|command| command.is_replay()).count();
    assert!(replays >= 100, "void: only {replays} commands were done before a lost answer");
    let log = http::final_log(&Client::new(), &server.url).await;
    recorder.history().check(&log).expect_clean(1008);
    all_again(&answered, &url).await;
}
