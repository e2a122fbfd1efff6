//! Every line of the contract's error table.

use catga_tests::{Server, order};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

/// Sends a request, and checks the problem it is answered with.
#[track_caller]
fn check(answer: (StatusCode, String, Value), status: u16, code: &str, what: &str) -> Value {
    let (got, kind, problem) = answer;
    assert_eq!((got.as_u16(), &problem["code"]), (status, &json!(code)), "{what}: {problem}");
    assert_eq!(kind, "application/problem+json", "{what}");
    assert_eq!(problem["status"], status, "{what}");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].is_string(), "{what}: {member} in {problem}");
    }
    problem
}

async fn send(
    server: &Server,
    method: Method,
    path: &str,
    body: Option<&str>,
) -> (StatusCode, String, Value) {
    let mut request = reqwest::Client::new().request(method, format!("{}{path}", server.url));
    if let Some(body) = body {
        request = request.header("content-type", "application/json").body(body.to_owned());
    }
    let answer = request.send().await.unwrap();
    let kind = answer.headers().get("content-type").map_or("", |kind| kind.to_str().unwrap());
    (answer.status(), kind.to_owned(), answer.json().await.unwrap_or_default())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_malformed_is_400_and_named() {
    let server = Server::start(&[]).await;
    let id = server.create("c").await;
    let item = r#""productId":"p","name":"n""#;
    let bodies = [
        ("{", "JSON"),
        ("", "body"),
        ("[]", "JSON"),
        (r#"{"items":[]}"#, "customerId"),
        (r#"{"customerId":5,"items":[]}"#, "customerId"),
        (
            &format!(r#"{{"customerId":"c","items":[{{{item},"quantity":"2","price":1}}]}}"#),
            "items[0].quantity",
        ),
        (
            &format!(r#"{{"customerId":"c","items":[{{{item},"quantity":1.5,"price":1}}]}}"#),
            "items[0].quantity",
        ),
        (
            &format!(r#"{{"customerId":"c","items":[{{{item},"quantity":1,"price":null}}]}}"#),
            "items[0].price",
        ),
        (&format!(r#"{{"customerId":"c","items":[{{{item},"quantity":1}}]}}"#), "price"),
    ];
    for (body, named) in bodies {
        let problem = check(
            send(&server, Method::POST, "/orders", Some(body)).await,
            400,
            "bad_request",
            body,
        );
        assert!(problem["detail"].as_str().unwrap().contains(named), "{body}: {problem}");
    }
    for (query, named) in [
        ("limit=0", "limit"),
        ("limit=1001", "limit"),
        ("limit=x", "limit"),
        ("status=paid", "status"),
        ("cursor=zzz", "cursor"),
        ("colour=red", "colour"),
        ("limit=1&limit=2", "limit"),
        ("consistency=strong", "consistency"),
    ] {
        let problem = check(
            send(&server, Method::GET, &format!("/orders?{query}"), None).await,
            400,
            "bad_request",
            query,
        );
        assert!(problem["detail"].as_str().unwrap().contains(named), "{query}: {problem}");
    }
    for path in
        ["?version=x", "?version=1&at=2026-01-01T00:00:00Z", "?at=yesterday", "/history?from=0"]
    {
        let path = format!("/orders/{id}{path}");
        check(send(&server, Method::GET, &path, None).await, 400, "bad_request", &path);
    }
    for path in [
        "/",
        "/health",
        "/stats",
        "/cluster",
        "/metrics",
        "/events",
        "/dead-letters",
        "/openapi.json",
    ] {
        let path = format!("{path}?nonsense=1");
        check(send(&server, Method::GET, &path, None).await, 400, "bad_request", &path);
    }
    check(
        send(&server, Method::POST, &format!("/orders/{id}/pay"), None).await,
        400,
        "bad_request",
        "no body",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_data() {
    let server = Server::start(&[]).await;
    server.create("c").await;
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
    ];
    for id in ids {
        for (method, path) in [
            (Method::GET, ""),
            (Method::GET, "/history"),
            (Method::POST, "/pay"),
            (Method::POST, "/ship"),
            (Method::POST, "/deliver"),
            (Method::POST, "/cancel"),
        ] {
            let path = format!("/orders/{id}{path}");
            let problem = send(&server, method, &path, Some("{}")).await;
            check(problem, 404, "order_not_found", &path);
        }
    }
    check(
        send(&server, Method::GET, "/orders/unknown", None).await,
        404,
        "order_not_found",
        "unknown",
    );
    check(send(&server, Method::GET, "/nowhere", None).await, 404, "not_found", "no such path");
    check(
        send(&server, Method::POST, "/dead-letters/x/retry", None).await,
        404,
        "not_found",
        "no such letter",
    );
    check(
        send(&server, Method::DELETE, "/dead-letters/x", None).await,
        404,
        "not_found",
        "no such letter",
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_forbidden_step_is_409_and_writes_nothing() {
    let server = Server::start(&[]).await;
    for (done, allowed) in [
        (vec![], vec!["pay", "cancel"]),
        (vec!["pay"], vec!["ship", "cancel"]),
        (vec!["pay", "ship"], vec!["deliver"]),
        (vec!["pay", "ship", "deliver"], vec![]),
        (vec!["cancel"], vec![]),
    ] {
        let id = server.create("c").await;
        for step in &done {
            assert_eq!(server.step(&id, step).await.status(), StatusCode::OK);
        }
        let status = server.json(&format!("/orders/{id}")).await["status"].clone();
        for step in
            ["pay", "ship", "deliver", "cancel"].iter().filter(|step| !allowed.contains(step))
        {
            let answer = server.step(&id, step).await;
            assert_eq!(answer.status(), StatusCode::CONFLICT, "{step} after {done:?}");
            let problem: Value = answer.json().await.unwrap();
            assert_eq!(
                (&problem["code"], &problem["orderStatus"]),
                (&json!("invalid_transition"), &status)
            );
        }
        let history = server.json(&format!("/orders/{id}/history")).await;
        assert_eq!(history.as_array().unwrap().len(), done.len() + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_unacceptable_field_is_named_at_once() {
    let server = Server::start(&[]).await;
    let long = "x".repeat(201);
    let body = json!({ "customerId": "", "items": [
        { "productId": " ", "name": long, "quantity": 0, "price": -1 },
        { "productId": "p", "name": "n", "quantity": 1_000_001, "price": 0.00001 },
    ] });
    let problem = send(&server, Method::POST, "/orders", Some(&body.to_string())).await;
    let problem = check(problem, 422, "validation_failed", "many fields");
    let fields: Vec<_> = problem["errors"]
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["field"].as_str().unwrap())
        .collect();
    let all = [
        "customerId",
        "items[0].productId",
        "items[0].name",
        "items[0].quantity",
        "items[0].price",
        "items[1].quantity",
        "items[1].price",
    ];
    assert_eq!(fields, all);

    let item = json!({ "productId": "p", "name": "n", "quantity": 1, "price": 1 });
    let dear =
        json!({ "productId": "p", "name": "n", "quantity": 1_000_000, "price": 900_000_000_000.0 });
    for (items, field) in [(vec![], "items"), (vec![item; 1001], "items"), (vec![dear], "items")] {
        let body = json!({ "customerId": "c", "items": items }).to_string();
        let problem = send(&server, Method::POST, "/orders", Some(&body)).await;
        let problem = check(problem, 422, "validation_failed", field);
        assert_eq!(problem["errors"][0]["field"], field);
    }
    let huge = order("c").to_string().replace("\"quantity\":2", "\"quantity\":1e30");
    check(
        send(&server, Method::POST, "/orders", Some(&huge)).await,
        422,
        "validation_failed",
        "1e30",
    );
    let id = server.create("c").await;
    let pay =
        send(&server, Method::POST, &format!("/orders/{id}/pay"), Some(r#"{"paymentMethod":""}"#))
            .await;
    check(pay, 422, "validation_failed", "an empty payment method");
    assert_eq!(server.json("/stats").await["totalOrders"], 1);
}
