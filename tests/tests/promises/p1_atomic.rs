//! P1 atomic: many clients at once, and one winner.

use catga_tests::Server;
use futures_util::future::join_all;
use reqwest::StatusCode;

#[tokio::test(flavor = "multi_thread")]
async fn p1_sixty_racing_payments_have_one_winner() {
    let server = Server::start(&[]).await;
    let id = server.create("c").await;
    let statuses =
        join_all((0..60).map(|_| async { server.step(&id, "pay").await.status() })).await;
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::OK).count(), 1);
    assert_eq!(statuses.iter().filter(|status| **status == StatusCode::CONFLICT).count(), 59);
    let history = server.json(&format!("/orders/{id}/history")).await;
    let paid = history.as_array().unwrap().iter().filter(|event| event["type"] == "OrderPaid");
    assert_eq!(paid.count(), 1);
}
