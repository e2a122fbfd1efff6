//! What becomes of events while the server that their handler needs is away.

mod mail_box;

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

use catga::{Consistency, DeliverySettings, prelude::*};
use mail_box::{Post, Posted};

/// The amount of what can never be sent.
const POISON: u64 = 1_000_000;

/// The server.
#[derive(Debug, Default, Clone)]
struct Server {
    is_away: Arc<AtomicBool>,
    /// What was sent, by box.
    sent: Arc<Mutex<HashMap<String, Vec<u64>>>>,
    /// How often it was asked, how often at once now, and at most since that was set to 0.
    asked: Arc<AtomicU32>,
    now: Arc<AtomicU32>,
    most: Arc<AtomicU32>,
}

#[event_handler(name = "mail")]
async fn send_mail(posted: Recorded<Posted>, server: &State<Server>) -> Result<(), &'static str> {
    server.asked.fetch_add(1, Ordering::SeqCst);
    server.most.fetch_max(server.now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
    tokio::task::yield_now().await;
    server.now.fetch_sub(1, Ordering::SeqCst);
    if server.is_away.load(Ordering::SeqCst) {
        return Err("no route to host");
    }
    if posted.n == POISON {
        return Err("no such mailbox");
    }
    let mut sent = server.sent.lock().unwrap();
    sent.entry(posted.stream.key().to_owned()).or_default().push(posted.n);
    Ok(())
}

impl Server {
    fn of(&self, mail_box: &str) -> Vec<u64> {
        self.sent.lock().unwrap().get(mail_box).cloned().unwrap_or_default()
    }

    fn asked(&self) -> u32 {
        self.asked.load(Ordering::SeqCst)
    }
}

const QUICK: DeliverySettings = DeliverySettings {
    attempts: 3,
    first_delay: Duration::from_millis(1),
    longest_delay: Duration::from_millis(4),
    retries: 0,
    retry_delay: Duration::from_millis(1),
    timeout: Duration::from_secs(30),
    concurrency: 32,
    drain: Duration::from_secs(10),
};

async fn start(server: &Server, delivery: DeliverySettings) -> Catga {
    Catga::builder().state(server.clone()).delivery(delivery).start().await.unwrap()
}

async fn post_to(catga: &Catga, mail_box: &str, n: u64) {
    catga.send(Post { mail_box: mail_box.to_owned(), n }).await.unwrap();
}

async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !is_so().await {
        assert!(Instant::now() < deadline, "it did not happen: {what}");
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

async fn attempts(catga: &Catga) -> Vec<u32> {
    let letters = catga.dead_letters(Consistency::Latest).await.unwrap();
    letters.iter().map(|letter| letter.attempts).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_while_every_event_fails_the_handler_is_paused_and_nothing_is_parked() {
    let server = Server::default();
    server.is_away.store(true, Ordering::SeqCst);
    // The first events must not fail for good before there are more: one or two that fail could be poison.
    let delay = Duration::from_millis(50);
    let delivery = DeliverySettings { first_delay: delay, longest_delay: delay, ..QUICK };
    let catga = start(&server, delivery).await;
    for n in 0..200 {
        post_to(&catga, &format!("b{}", n % 100), n).await;
    }
    until("it is paused", async || !catga.health().await.paused.is_empty()).await;
    let paused = catga.health().await.paused.remove(0);
    assert_eq!((paused.name, paused.last_error.as_str()), ("mail", "no route to host"));
    assert!(catga.idle().await.unwrap_err().to_string().contains("mail is paused"));
    // What had begun before ends; then one event is tried at a time, far more often than one may fail.
    until("only one is tried at a time", async || {
        let asked = server.asked();
        server.most.store(0, Ordering::SeqCst);
        until("it is tried again", async || server.asked() > asked + 10).await;
        server.most.load(Ordering::SeqCst) == 1
    })
    .await;
    assert_eq!(attempts(&catga).await, [0; 0]);

    server.is_away.store(false, Ordering::SeqCst);
    until("all are sent", async || (0..100).all(|b| server.of(&format!("b{b}")).len() == 2)).await;
    assert!((0..100).all(|b| server.of(&format!("b{b}")) == [b, b + 100]), "in order");
    assert!(catga.health().await.paused.is_empty());
    assert_eq!(attempts(&catga).await, [0; 0]);
    catga.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_poison_among_others_is_parked_after_the_pause() {
    let server = Server::default();
    server.is_away.store(true, Ordering::SeqCst);
    let catga = start(&server, QUICK).await;
    for n in 0..20 {
        post_to(&catga, &format!("b{n}"), if n % 4 == 0 { POISON } else { n }).await;
    }
    until("it is paused", async || !catga.health().await.paused.is_empty()).await;
    server.is_away.store(false, Ordering::SeqCst);
    until("the others are sent", async || {
        (0..20).filter(|n| n % 4 > 0).all(|n| server.of(&format!("b{n}")) == [n])
    })
    .await;
    until("the poison is parked", async || {
        // With nothing else to do, all that is left fails.
        post_to(&catga, "good", 1).await;
        attempts(&catga).await.len() == 5
    })
    .await;
    assert!(attempts(&catga).await.iter().all(|attempts| *attempts >= QUICK.attempts));
    catga.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn p8_a_stop_does_not_wait_for_a_paused_handler() {
    let server = Server::default();
    server.is_away.store(true, Ordering::SeqCst);
    let slow = DeliverySettings { longest_delay: Duration::from_secs(3600), ..QUICK };
    let catga = start(&server, slow).await;
    for n in 0..20 {
        post_to(&catga, &format!("b{n}"), n).await;
    }
    until("it is paused", async || !catga.health().await.paused.is_empty()).await;
    let begun = Instant::now();
    catga.shutdown().await;
    assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
}

#[tokio::test(flavor = "multi_thread")]
async fn p7_a_dead_letter_is_tried_again_by_itself_and_not_for_ever() {
    let server = Server::default();
    server.is_away.store(true, Ordering::SeqCst);
    let delivery = DeliverySettings { retries: 2, ..QUICK };
    let catga = start(&server, delivery).await;
    post_to(&catga, "a", 1).await;
    post_to(&catga, "a", 2).await;
    until("it is tried to the end", async || attempts(&catga).await == [9]).await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(server.asked(), 9, "now it waits for somebody");
    server.is_away.store(false, Ordering::SeqCst);
    catga.shutdown().await;

    let later = DeliverySettings { retries: 1, retry_delay: Duration::from_millis(200), ..QUICK };
    let catga = start(&server, later).await;
    server.is_away.store(true, Ordering::SeqCst);
    post_to(&catga, "b", 1).await;
    post_to(&catga, "b", 2).await;
    until("it is parked", async || attempts(&catga).await == [3]).await;
    server.is_away.store(false, Ordering::SeqCst);
    until("it is sent", async || server.of("b") == [1, 2]).await;
    until("nothing is parked", async || attempts(&catga).await.is_empty()).await;
    catga.shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_can_be_dropped_while_its_retry_waits_for_a_paused_handler() {
    let server = Server::default();
    let catga = start(&server, QUICK).await;
    post_to(&catga, "a", POISON).await;
    until("it is parked", async || attempts(&catga).await == [3]).await;
    server.is_away.store(true, Ordering::SeqCst);
    for n in 0..20 {
        post_to(&catga, &format!("b{n}"), n).await;
    }
    until("it is paused", async || !catga.health().await.paused.is_empty()).await;
    let letter = catga.dead_letters(Consistency::Latest).await.unwrap().remove(0);
    catga.retry_dead_letter(&letter.id).await.unwrap().unwrap();
    let asked = server.asked();
    until("it is tried again", async || server.asked() > asked + 100).await;
    catga.drop_dead_letter(&letter.id, None).await.unwrap().unwrap();
    until("it is gone", async || attempts(&catga).await.is_empty()).await;
    assert!(!catga.health().await.paused.is_empty(), "the server is away");
    catga.shutdown().await;
}
