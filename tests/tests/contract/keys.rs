//! `Idempotency-Key` (P4), `ETag`, `If-Match` and `If-None-Match`.

use futures_util::future::join_all;
use reqwest::StatusCode;

use crate::{Service, check, post};

pub(crate) async fn forty_posts_with_one_key_have_one_effect_and_forty_equal_answers(
    service: &Service,
) {
    let server = service.start(&[]).await;
    let post_once = || async {
        let answer = service.make(&server).header("idempotency-key", "k").send().await.unwrap();
        let headers =
            ["location", "etag", "x-catga-position"].map(|name| answer.headers()[name].clone());
        let is_replay = answer.headers().get("idempotent-replayed").is_some();
        (is_replay, (answer.status(), headers, answer.text().await.unwrap()))
    };
    let answers = join_all((0..40).map(|_| post_once())).await;
    assert_eq!(answers.iter().filter(|(is_replay, _)| !is_replay).count(), 1);
    let (_, first) = &answers[0];
    assert_eq!(first.0, StatusCode::CREATED);
    assert!(answers.iter().all(|(_, answer)| answer == first));
    assert_eq!(server.json(service.collection).await.as_array().unwrap().len(), 1);

    // Later steps change nothing about the answer, and another request under the key is refused.
    let path = first.1[0].to_str().unwrap();
    assert!(service.step(&server, path).send().await.unwrap().status().is_success());
    assert_eq!(post_once().await, (true, first.clone()));
    let other = post(&server, service.collection, service.bodies[1]).header("idempotency-key", "k");
    check(other, 422, "idempotency_key_reused", "another request").await;
}

pub(crate) async fn a_key_counts_for_its_target_and_a_refusal_leaves_no_trace(service: &Service) {
    let server = service.start(&[]).await;
    let nothing = format!("{}/nothing", service.collection);
    let step = |path: &str| service.step(&server, path).header("idempotency-key", "k");
    check(step(&nothing), 404, service.not_found, "nothing").await;
    // The key that made something, used on what it made, is another key.
    let made = service.make(&server).header("idempotency-key", "k").send().await.unwrap();
    let path = made.headers()["location"].to_str().unwrap().to_owned();
    for is_replay in [false, true] {
        let done = step(&path).send().await.unwrap();
        assert!(done.status().is_success());
        assert_eq!(done.headers().get("idempotent-replayed").is_some(), is_replay);
    }
    let other = service.made(&server).await;
    let done = step(&other).send().await.unwrap();
    assert!(done.headers().get("idempotent-replayed").is_none(), "elsewhere it is another key");
    for bad in ["", "ä", "a b", &"x".repeat(256)] {
        let request = service.make(&server).header("idempotency-key", bad.as_bytes());
        check(request, 400, "bad_request", bad).await;
    }
}

pub(crate) async fn tags_save_a_read_and_guard_a_write(service: &Service) {
    let server = service.start(&[]).await;
    let path = service.made(&server).await;
    for (tags, status) in [
        ("\"1\"", StatusCode::NOT_MODIFIED),
        ("\"7\", W/\"1\"", StatusCode::NOT_MODIFIED),
        ("*", StatusCode::NOT_MODIFIED),
        ("\"7\"", StatusCode::OK),
    ] {
        let answer = server.get(&path).header("if-none-match", tags).send().await.unwrap();
        assert_eq!(answer.status(), status, "{tags}");
        assert_eq!(answer.headers()["etag"], "\"1\"");
    }
    let step = |tags: &str| service.step(&server, &path).header("if-match", tags);
    let problem = check(step("\"2\""), 412, "version_mismatch", "\"2\"").await;
    assert_eq!(problem["version"], 1);
    check(step("W/\"1\""), 412, "version_mismatch", "a weak tag").await;
    for bad in ["", "1", "\"x\"", "\"1", "\"1\", 2", ","] {
        check(step(bad), 400, "bad_request", bad).await;
    }
    let is_there = service.step(&server, &path).header("if-none-match", "*");
    check(is_there, 412, "version_mismatch", "it is there").await;
    let done = step("\"1\"").send().await.unwrap();
    assert_eq!(
        (done.status(), &done.headers()["etag"]),
        (StatusCode::OK, &"\"2\"".parse().unwrap())
    );
    assert_eq!(server.json(&format!("{path}/history")).await.as_array().unwrap().len(), 2);
}

pub(crate) async fn a_command_takes_a_list_of_tags(service: &Service) {
    let server = service.start(&[]).await;
    for tags in ["\"7\", \"1\"", "\"1\",\"7\"", "\"5\", , W/\"9\", \"1\"", "\"7\", *"] {
        let path = service.made(&server).await;
        let step = |tags: &str| service.step(&server, &path).header("if-match", tags);
        check(step("\"7\", \"2\""), 412, "version_mismatch", "neither").await;
        let done = step(tags).send().await.unwrap();
        assert_eq!(done.status(), StatusCode::OK, "{tags}");
    }
    // Two fields of the same name are one list.
    let path = service.made(&server).await;
    let both = service.step(&server, &path).header("if-match", "\"7\"").header("if-match", "\"1\"");
    assert_eq!(both.send().await.unwrap().status(), StatusCode::OK);
}
