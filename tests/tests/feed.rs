//! `/events`: no gap and no repeat, from wherever a client resumes (P5).

use std::sync::Arc;

use catga_tests::Server;
use futures_util::{StreamExt, stream};

/// Reads the feed from `position` until the event at `last`, as it came over the wire. Of the two ways to say where
/// to resume, odd positions take one and even ones the other.
async fn read(server: &Server, position: u64, last: u64) -> String {
    let request = match position % 2 {
        0 => server.get(&format!("/events?from={position}")),
        _ => server.get("/events").header("last-event-id", position),
    };
    let answer = request.send().await.unwrap();
    assert_eq!(answer.headers()["content-type"], "text/event-stream");
    let (mut text, end) = (String::new(), format!("\nid: {last}@"));
    let mut body = answer.bytes_stream();
    loop {
        let chunk = body.next().await.expect("the feed goes on").unwrap();
        text.push_str(std::str::from_utf8(&chunk).unwrap());
        // The last event is at the end of what came, and shorter than this.
        let recent = &text[text.floor_char_boundary(text.len().saturating_sub(2000))..];
        if recent.contains(&end) && recent.ends_with("\n\n") {
            return text.strip_prefix("retry: 2000\n\n").unwrap().to_owned();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_resumes_from_every_position() {
    let server = Arc::new(Server::start(&[]).await);
    let make = |_| async {
        let id = server.create("c").await;
        for step in ["pay", "ship", "deliver"] {
            server.step(&id, step).await;
        }
    };
    stream::iter(0..250).for_each_concurrent(8, make).await;
    let whole = read(&server, 0, 1000).await;
    let starts: Vec<usize> =
        std::iter::once(0).chain(whole.match_indices("\n\n").map(|(at, _)| at + 2)).collect();
    assert_eq!(starts.len(), 1001, "1,000 events and the end");
    for (i, event) in whole.split_terminator("\n\n").enumerate() {
        let (id, event) = event.split_once('\n').unwrap();
        assert_eq!(id.split_once('@').map(|(id, _)| id), Some(&*format!("id: {}", i + 1)));
        assert!(event.starts_with("event: Order"), "{event}");
    }
    stream::iter(0..1000)
        .for_each_concurrent(8, |position: usize| {
            let (server, whole, starts) = (&server, &whole, &starts);
            async move {
                let rest = read(server, position as u64, 1000).await;
                assert!(rest == whole[starts[position]..], "resumed after {position}");
            }
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_feed_shows_what_happens_while_it_is_open() {
    let server = Server::start(&[]).await;
    let (feed, ()) = tokio::join!(read(&server, 0, 2), async {
        let id = server.create("c").await;
        server.step(&id, "pay").await;
    });
    assert!(feed.contains("event: OrderCreated") && feed.contains("event: OrderPaid"), "{feed}");
    let from = server.get("/events?from=x").send().await.unwrap();
    assert_eq!(from.status(), 400);
}
