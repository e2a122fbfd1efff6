//! What is wrong with a request, as a problem.

use reqwest::Method;
use serde_json::{Value, json};

use crate::{Service, check, post};

pub(crate) async fn an_id_is_data(service: &Service) {
    let server = service.start(&[]).await;
    service.made(&server).await;
    let long = "x".repeat(300);
    let ids = [
        "*",
        "%3E",
        "%20",
        "a%20b",
        "%00",
        "..%2Fx",
        "%0A",
        "a%0D%0Ab",
        "%7Ba%7D",
        "%5Ba-z%5D",
        "%3F",
        "%FF",
        "%C3%A4",
        "a.b",
        &long,
        "unknown",
    ];
    for id in ids {
        let path = format!("{}/{id}", service.collection);
        check(server.get(&path), 404, service.not_found, &path).await;
        let history = format!("{path}/history");
        check(server.get(&history), 404, service.not_found, &history).await;
        check(service.step(&server, &path), 404, service.not_found, &path).await;
    }
    // The body of nothing does not matter.
    let step = format!("{}/a%20b{}", service.collection, service.step.0);
    check(post(&server, &step, "{"), 404, service.not_found, &step).await;
    check(server.get("/nowhere"), 404, "not_found", "no such path").await;
    let retry = server.post("/dead-letters/x/retry", &Value::Null);
    check(retry, 404, "not_found", "no such letter").await;
    check(server.delete("/dead-letters/x"), 404, "not_found", "no such letter").await;
}

pub(crate) async fn what_is_malformed_is_400_and_named(service: &Service) {
    let server = service.start(&[]).await;
    let path = service.made(&server).await;
    let (incomplete, field) = service.incomplete;
    for (body, named) in [("{", "JSON"), ("", "body"), ("[]", "JSON"), (incomplete, field)] {
        let problem =
            check(post(&server, service.collection, body), 400, "bad_request", body).await;
        assert!(problem["detail"].as_str().unwrap().contains(named), "{body}: {problem}");
    }
    let behind = format!("{} x", service.bodies[0]);
    check(post(&server, service.collection, &behind), 400, "bad_request", &behind).await;
    for (query, named) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("cursor=zzz", "cursor"),
        ("colour=red", "colour"),
        ("limit=1&limit=2", "limit"),
        ("consistency=strong", "consistency"),
    ] {
        let list = server.get(&format!("{}?{query}", service.collection));
        let problem = check(list, 400, "bad_request", query).await;
        assert!(problem["detail"].as_str().unwrap().contains(named), "{query}: {problem}");
    }
    let from = server.get(&format!("{path}/history?from=0"));
    check(from, 400, "bad_request", "from=0").await;
    let step = post(&server, &format!("{path}{}?x=1", service.step.0), service.step.1);
    check(step, 400, "bad_request", "a command takes no parameters").await;
    for path in [
        "/",
        "/health",
        "/cluster",
        "/metrics",
        "/events",
        "/dead-letters",
        "/openapi.json",
        "/docs",
    ] {
        let path = format!("{path}?nonsense=1");
        check(server.get(&path), 400, "bad_request", &path).await;
    }
}

pub(crate) async fn every_unacceptable_field_is_named(service: &Service) {
    let server = service.start(&[]).await;
    let (body, expected) = service.unacceptable;
    let request = post(&server, service.collection, body);
    let problem = check(request, 422, "validation_failed", body).await;
    let errors = problem["errors"].as_array().unwrap();
    let fields: Vec<_> = errors.iter().map(|error| error["field"].as_str().unwrap()).collect();
    assert_eq!(fields, expected);
    assert_eq!(server.json(service.collection).await, json!([]));
}

pub(crate) async fn wrong_methods_sizes_and_types_are_refused(service: &Service) {
    let server = service.start(&[]).await;
    let path = service.collection;
    let put = reqwest::Client::new().request(Method::PUT, format!("{}{path}", server.url));
    check(put, 405, "method_not_allowed", "PUT").await;
    let mebibyte = format!("\"{}\"", "x".repeat((1 << 20) - 2));
    check(post(&server, path, &mebibyte), 400, "bad_request", "1 MiB is read").await;
    let larger = format!("{mebibyte} ");
    check(post(&server, path, &larger), 413, "payload_too_large", "1 MiB and a byte").await;
    let text = server.post(path, &Value::Null).body("{}");
    check(text, 415, "unsupported_media_type", "no JSON").await;
    let encoded = |coding: &str| service.make(&server).header("content-encoding", coding);
    for coding in ["gzip", "identity, br", "GZip"] {
        check(encoded(coding), 415, "unsupported_media_type", coding).await;
    }
    for coding in ["identity", "Identity", ""] {
        assert_eq!(encoded(coding).send().await.unwrap().status(), 201, "{coding:?}");
    }
}

pub(crate) async fn a_refusal_is_a_problem(service: &Service) {
    let server = service.start(&[]).await;
    let path = service.made(&server).await;
    assert!(service.step(&server, &path).send().await.unwrap().status().is_success());
    check(service.step(&server, &path), 409, service.refused, "the step was done").await;
    let history = server.json(&format!("{path}/history")).await;
    assert_eq!(history.as_array().unwrap().len(), 2, "a refusal writes nothing");
}
