//! P4 one effect per key: an `Idempotency-Key` has one effect and one answer, however often and through whatever network a
//! command is sent.

use std::time::Duration;

use catga_tests::{
    Server,
    history::Recorder,
    load::{Stop, http},
    order,
    proxy::{Mode, Proxy},
};
use futures_util::future::join_all;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};

fn plan(clients: usize, orders: usize) -> http::Plan {
    http::Plan { clients, orders, time: Duration::from_secs(60), name: "k".to_owned() }
}

async fn behind_proxy(server: &Server) -> (Proxy, String) {
    let proxy = Proxy::start(server.address()).await;
    let url = format!("http://{}", proxy.address());
    (proxy, url)
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
    http::all_again(&answered, &url).await;
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
    http::all_again(&answered, &url).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_forty_posts_with_one_key_make_one_order_and_forty_equal_answers() {
    let server = Server::start(&[]).await;
    let body = order("c");
    let post = || async {
        let answer =
            server.post("/orders", &body).header("idempotency-key", "k").send().await.unwrap();
        let headers =
            ["location", "etag", "x-catga-position"].map(|name| answer.headers()[name].clone());
        let is_replay = answer.headers().get("idempotent-replayed").is_some();
        (is_replay, (answer.status(), headers, answer.text().await.unwrap()))
    };
    let answers = join_all((0..40).map(|_| post())).await;
    assert_eq!(answers.iter().filter(|(is_replay, _)| !is_replay).count(), 1);
    let (_, first) = &answers[0];
    assert_eq!(first.0, StatusCode::CREATED);
    assert!(answers.iter().all(|(_, answer)| answer == first));
    assert_eq!(server.json("/stats").await["totalOrders"], 1);

    // Later steps change nothing about the answer, and another order under the key is refused.
    let id = first.1[0].to_str().unwrap().strip_prefix("/orders/").unwrap();
    server.step(id, "pay").await;
    assert_eq!(post().await, (true, first.clone()));
    let other =
        server.post("/orders", &order("d")).header("idempotency-key", "k").send().await.unwrap();
    assert_eq!(other.status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(other.json::<Value>().await.unwrap()["code"], "idempotency_key_reused");
}

#[tokio::test(flavor = "multi_thread")]
async fn p4_a_key_counts_for_its_target_and_a_refusal_leaves_no_trace() {
    let server = Server::start(&[]).await;
    let id = server.create("c").await;
    let send = |id: String, step: &'static str, body: Value| {
        server.post(&format!("/orders/{id}/{step}"), &body).header("idempotency-key", "k").send()
    };
    let ship = || send(id.clone(), "ship", json!({ "trackingNumber": "T" }));
    let pay = |method: &str| send(id.clone(), "pay", json!({ "paymentMethod": method }));
    assert_eq!(ship().await.unwrap().status(), StatusCode::CONFLICT);
    assert_eq!(pay("card").await.unwrap().status(), StatusCode::OK);
    assert_eq!(pay("card").await.unwrap().headers()["idempotent-replayed"], "true");
    assert_eq!(pay("cash").await.unwrap().status(), StatusCode::UNPROCESSABLE_ENTITY);
    assert_eq!(ship().await.unwrap().status(), StatusCode::UNPROCESSABLE_ENTITY);
    let other = server.create("c").await;
    let answer = send(other, "pay", json!({ "paymentMethod": "cash" })).await.unwrap();
    assert_eq!(answer.status(), StatusCode::OK, "on another order it is another key");
    // The key that made an order, used on that order, is another key too.
    let made =
        server.post("/orders", &order("c")).header("idempotency-key", "k2").send().await.unwrap();
    let location = made.headers()["location"].to_str().unwrap().to_owned();
    let body = json!({ "paymentMethod": "card" });
    let paid = server
        .post(&format!("{location}/pay"), &body)
        .header("idempotency-key", "k2")
        .send()
        .await
        .unwrap();
    assert_eq!(paid.status(), StatusCode::OK);
    for bad in ["", "ä", "a b", &"x".repeat(256)] {
        let answer = server
            .post("/orders", &order("c"))
            .header("idempotency-key", bad.as_bytes())
            .send()
            .await;
        assert_eq!(answer.unwrap().status(), StatusCode::BAD_REQUEST, "{bad:?}");
    }
}
