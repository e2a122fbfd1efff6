//! Lists, histories, the feed, and what a node says about itself.

use futures_util::StreamExt;
use reqwest::{StatusCode, redirect::Policy};
use serde_json::{Value, json};

use crate::{Service, check};

pub(crate) async fn a_list_is_paged_and_a_link_keeps_every_parameter(service: &Service) {
    let server = service.start(&[]).await;
    assert_eq!(server.json(service.collection).await, json!([]));
    for _ in 0..25 {
        service.made(&server).await;
    }
    let all = server.json(service.collection).await;
    let mut path = format!("{}?limit=10&consistency=latest", service.collection);
    let mut seen = Vec::new();
    loop {
        let answer = server.get(&path).send().await.unwrap();
        assert_eq!(answer.headers()["x-total-count"], (25 + seen.len() / 10).to_string());
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        seen.extend(answer.json::<Vec<Value>>().await.unwrap());
        let Some(link) = link else { break };
        path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        assert!(path.contains("&limit=10&consistency=latest"), "{path}");
        // What comes in between moves no page.
        service.made(&server).await;
    }
    assert_eq!(json!(seen), all, "newest first, with no gap and no repeat");
}

pub(crate) async fn a_history_is_paged_and_shows_what_happened(service: &Service) {
    let server = service.start(&["--node-id", "n1"]).await;
    let path = service.made(&server).await;
    let key = path.rsplit('/').next().unwrap();
    let step = service.step(&server, &path).header("idempotency-key", "k");
    assert!(step.header("x-correlation-id", "c1").send().await.unwrap().status().is_success());
    let history = server.json(&format!("{path}/history")).await;
    for (i, event) in history.as_array().unwrap().iter().enumerate() {
        assert_eq!((&event["version"], &event["position"]), (&json!(i + 1), &json!(i + 1)));
        assert_eq!(event["type"], service.events[i]);
        assert_eq!(event["data"][service.key], key);
        assert_eq!(event["metadata"]["node"], "n1");
        assert!(event["metadata"]["eventId"].is_string() && event["timestamp"].is_string());
    }
    assert_eq!(history[1]["metadata"]["commandId"], "k");
    assert_eq!(history[1]["metadata"]["correlationId"], "c1");
    assert!(history[0]["metadata"].get("commandId").is_none());
    let answer = server.get(&format!("{path}/history?from=1&limit=1")).send().await.unwrap();
    assert_eq!(answer.headers()["link"], format!("<{path}/history?from=2&limit=1>; rel=\"next\""));
    assert_eq!(answer.json::<Value>().await.unwrap(), json!([history[0]]));
    let rest = server.get(&format!("{path}/history?from=2&limit=1")).send().await.unwrap();
    assert!(rest.headers().get("link").is_none());
    assert_eq!(server.json(&format!("{path}/history?from=9")).await, json!([]));
}

pub(crate) async fn the_feed_shows_what_happens_while_it_is_open(service: &Service) {
    let server = service.start(&[]).await;
    let mut feed = server.get("/events").send().await.unwrap().bytes_stream();
    let path = service.made(&server).await;
    assert!(service.step(&server, &path).send().await.unwrap().status().is_success());
    let mut text = String::new();
    while !text.ends_with("\n\n") || text.matches("\ndata: ").count() < 2 {
        text.push_str(std::str::from_utf8(&feed.next().await.unwrap().unwrap()).unwrap());
    }
    let history = server.json(&format!("{path}/history")).await;
    let shown = text.lines().filter_map(|line| line.strip_prefix("data: "));
    let shown: Vec<Value> = shown.map(|json| serde_json::from_str(json).unwrap()).collect();
    assert_eq!(json!(shown), history);
    for (i, event) in service.events.iter().enumerate() {
        let (_, shown) = text.split_once(&format!("id: {}@", i + 1)).unwrap();
        let (log, shown) = shown.split_once('\n').unwrap();
        assert!(log.len() == 16 && shown.starts_with(&format!("event: {event}\n")), "{text}");
    }
    check(server.get("/events?from=x"), 400, "bad_request", "from=x").await;
}

pub(crate) async fn the_node_describes_itself(service: &Service) {
    let server = service.start(&["--node-id", "n7"]).await;
    let info = server.json("/").await;
    let shown = ["node", "mode", "transport", "persistence", "status"].map(|m| info[m].clone());
    assert_eq!(shown, ["n7", "Standalone", "inmemory", "inmemory", "running"]);
    assert!(info["service"].is_string() && info["version"].is_string());
    let nodes = server.json("/cluster").await["nodes"].clone();
    assert_eq!((nodes.as_array().unwrap().len(), &nodes[0]["node"]), (1, &json!("n7")));
    for path in ["/health", "/health/live", "/health/ready"] {
        assert_eq!(server.json(path).await["status"], "healthy");
    }
    assert_eq!(server.json("/dead-letters").await, json!([]));
    let docs = server.get("/docs").send().await.unwrap();
    assert_eq!(docs.headers()["x-content-type-options"], "nosniff");
    let docs = docs.text().await.unwrap();
    assert!(!docs.contains("https://") && !docs.contains("//cdn"), "nothing comes from elsewhere");
}

pub(crate) async fn every_documented_operation_is_served(service: &Service) {
    let server = service.start(&[]).await;
    let document = server.json("/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.contains_key(service.collection));
    for (path, operations) in paths {
        // A method that no path takes: Allow then says which ones it does.
        let parameters = path.split(['{', '}']).enumerate();
        let path: String =
            parameters.map(|(i, part)| if i % 2 == 0 { part } else { "x" }).collect();
        let url = format!("{}{path}", server.url);
        let answer = reqwest::Client::new().patch(url).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED, "{path}");
        let allowed = answer.headers()["allow"].to_str().unwrap().to_lowercase();
        for method in operations.as_object().unwrap().keys() {
            assert!(allowed.split(',').any(|a| a == method), "{method} {path}: {allowed}");
        }
    }
}

pub(crate) async fn a_read_says_how_fresh_it_must_be(service: &Service) {
    let server = service.start(&[]).await;
    let answer = service.make(&server).send().await.unwrap();
    let position = answer.headers()["x-catga-position"].clone();
    let list = format!("{}?consistency=eventual", service.collection);
    let read = server.get(&list).header("x-catga-position", position).send().await.unwrap();
    assert_eq!(read.json::<Value>().await.unwrap().as_array().unwrap().len(), 1);
    for bad in ["soon", "1@", "1@x", "@00c0ffee00c0ffee", "1@00C0FFEE00C0FFEE"] {
        let bad = server.get(&list).header("x-catga-position", bad);
        check(bad, 400, "bad_request", "no position").await;
    }
}

pub(crate) async fn a_position_that_the_log_does_not_have_is_refused_at_once(service: &Service) {
    let server = service.start(&[]).await;
    let answer = service.make(&server).send().await.unwrap();
    let position = answer.headers()["x-catga-position"].to_str().unwrap().to_owned();
    let path = answer.headers()["location"].to_str().unwrap();
    service.made(&server).await;
    let list = format!("{}?limit=1", service.collection);
    let link =
        server.get(&list).send().await.unwrap().headers()["link"].to_str().unwrap().to_owned();
    let next = link.strip_prefix('<').unwrap().split_once('>').unwrap().0;
    let (_, log) = position.split_once('@').unwrap();
    let another = "00c0ffee00c0ffee";
    let (of_another, behind) = (format!("1@{another}"), format!("99999@{log}"));
    let history = format!("{path}/history");
    let eventual = format!("{list}&consistency=eventual");
    for read in [&list, &eventual, path, &history, "/dead-letters"] {
        for position in [&position, "1"] {
            let answer =
                server.get(read).header("x-catga-position", position).send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK, "{read} at {position}");
        }
        for position in [&of_another, &behind, "99999"] {
            let refused = server.get(read).header("x-catga-position", position);
            check(refused, 409, "position_unknown", read).await;
        }
    }
    assert!(
        next.contains(log) && server.get(next).send().await.unwrap().status() == StatusCode::OK
    );
    let next = next.replace(log, another);
    check(server.get(&next), 409, "position_unknown", "a cursor of another log").await;
}

pub(crate) async fn a_feed_begins_anew_where_the_log_does_not_have_its_place(service: &Service) {
    let server = service.start(&[]).await;
    let answer = service.make(&server).send().await.unwrap();
    let position = answer.headers()["x-catga-position"].to_str().unwrap().to_owned();
    let (_, log) = position.split_once('@').unwrap();
    service.made(&server).await;
    let (own, behind, of_another) =
        (format!("1@{log}"), format!("3@{log}"), "1@00c0ffee00c0ffee".to_owned());
    for (place, is_reset) in [(own, false), (behind, true), (of_another, true)] {
        let by_header = server.get("/events").header("last-event-id", &place);
        let by_address = server.get(&format!("/events?lastEventId={place}"));
        for request in [by_header, by_address, server.get(&format!("/events?from={place}"))] {
            let answer = request.send().await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            let (mut text, mut body) = (String::new(), answer.bytes_stream());
            while !text.contains("id: 2@") {
                text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
            }
            let reset = format!("id: 0@{log}\nevent: reset\ndata: {{\"log\":\"{log}\"}}\n\n");
            assert_eq!(text.contains(&reset), is_reset, "{place}: {text}");
            let expected = if is_reset { vec![0, 1, 2] } else { vec![2] };
            assert_eq!(positions(&text), expected, "{place}");
        }
    }
}

/// The positions in the ids of a feed's events.
fn positions(feed: &str) -> Vec<u64> {
    let ids = feed.lines().filter_map(|line| line.strip_prefix("id: ")?.split_once('@'));
    ids.map(|(position, _)| position.parse().unwrap()).collect()
}

pub(crate) async fn a_browser_goes_to_the_page_and_a_program_gets_json(service: &Service) {
    let server = service.start(&[]).await;
    let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    for (accept, status) in [
        ("application/json", StatusCode::OK),
        ("*/*", StatusCode::OK),
        ("application/json, text/html;q=0.1", StatusCode::OK),
        ("text/html;q=0, application/json", StatusCode::OK),
        ("text/html,application/xhtml+xml,*/*;q=0.8", StatusCode::SEE_OTHER),
        ("application/json;q=0.2, text/html", StatusCode::SEE_OTHER),
    ] {
        let request = client.get(format!("{}/", server.url)).header("accept", accept);
        let answer = request.send().await.unwrap();
        assert_eq!(
            (answer.status(), &answer.headers()["vary"]),
            (status, &"accept".parse().unwrap()),
            "{accept}"
        );
    }
}

/// Polyfills of `EventSource` can't set a header, and send an empty one while they have seen no event.
pub(crate) async fn a_feed_resumes_by_its_address_too(service: &Service) {
    let server = service.start(&[]).await;
    for _ in 0..4 {
        service.made(&server).await;
    }
    let by_address = server.get("/events?from=1&lastEventId=2");
    let by_header = server.get("/events?lastEventId=1").header("last-event-id", "3");
    let from_begin = server.get("/events?lastEventId=").header("last-event-id", "");
    for (request, first) in [(by_address, 3), (by_header, 4), (from_begin, 1)] {
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        let (mut text, mut body) = (String::new(), answer.bytes_stream());
        while !text.contains("id: 4@") {
            text.push_str(std::str::from_utf8(&body.next().await.unwrap().unwrap()).unwrap());
        }
        assert_eq!(positions(&text), (first..=4).collect::<Vec<_>>(), "{first}");
    }
    check(server.get("/events?lastEventId=x"), 400, "bad_request", "lastEventId=x").await;
}

/// It is for tracing alone.
pub(crate) async fn a_correlation_that_can_not_be_kept_is_replaced(service: &Service) {
    let server = service.start(&[]).await;
    for bad in ["", "a b", &"x".repeat(129), "ä"] {
        let answer = service.make(&server).header("x-correlation-id", bad).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED, "{bad:?}");
        let path = answer.headers()["location"].to_str().unwrap();
        let history = server.json(&format!("{path}/history")).await;
        let kept = history[0]["metadata"]["correlationId"].as_str().unwrap();
        assert!(!kept.is_empty() && kept != bad, "{bad:?}: {kept}");
    }
}
