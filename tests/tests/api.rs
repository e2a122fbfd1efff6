//! The life of an order over HTTP, as the contract has it.

use catga_tests::{Server, order};
use reqwest::StatusCode;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn an_order_goes_from_created_to_delivered() {
    let server = Server::start(&["--node-id", "n1"]).await;
    let answer = server.post("/orders", &order("c")).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::CREATED);
    assert_eq!(answer.headers()["etag"], "\"1\"");
    let position = answer.headers()["x-catga-position"].to_str().unwrap();
    let (position, log) = position.split_once('@').unwrap();
    assert_eq!((position, log.len()), ("1", 16), "the position and the log");
    let location = answer.headers()["location"].to_str().unwrap().to_owned();
    let body = answer.text().await.unwrap();
    assert!(body.contains("\"total\":99.98"), "money is exact: {body}");
    let id = location.strip_prefix("/orders/").unwrap();

    for (i, (step, status)) in
        [("pay", "Paid"), ("ship", "Shipped"), ("deliver", "Delivered")].iter().enumerate()
    {
        let answer = server.step(id, step).await;
        assert_eq!(answer.status(), StatusCode::OK);
        assert_eq!(answer.headers()["etag"], format!("\"{}\"", i + 2));
        let order: Value = answer.json().await.unwrap();
        assert_eq!((&order["status"], &order["version"]), (&json!(status), &json!(i + 2)));
    }
    let order = server.json(&location).await;
    for member in ["paidAt", "paymentMethod", "shippedAt", "trackingNumber", "deliveredAt"] {
        assert!(order[member].is_string(), "{member} in {order}");
    }
    assert!(order.get("cancelledAt").is_none() && order.get("cancelReason").is_none());

    let history = server.json(&format!("{location}/history")).await;
    let types: Vec<_> = history.as_array().unwrap().iter().map(|e| e["type"].clone()).collect();
    assert_eq!(types, ["OrderCreated", "OrderPaid", "OrderShipped", "OrderDelivered"]);
    for (i, event) in history.as_array().unwrap().iter().enumerate() {
        assert_eq!(event["version"], i + 1);
        assert_eq!(event["data"]["orderId"], id);
        assert_eq!(event["metadata"]["node"], "n1");
        assert!(event["metadata"]["eventId"].is_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_is_shown_as_it_was() {
    let server = Server::start(&[]).await;
    let id = server.create("c").await;
    server.step(&id, "pay").await;
    let path = format!("/orders/{id}");
    assert_eq!(server.json(&format!("{path}?version=1")).await["status"], "Pending");
    assert_eq!(server.json(&format!("{path}?version=2")).await["status"], "Paid");
    let history = server.json(&format!("{path}/history")).await;
    let created = history[0]["timestamp"].as_str().unwrap();
    assert_eq!(server.json(&format!("{path}?at={created}")).await["status"], "Pending");
    for never in ["version=3", "version=0", "at=2001-01-01T00:00:00Z"] {
        let answer = server.get(&format!("{path}?{never}")).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::NOT_FOUND, "{never}");
        assert_eq!(answer.json::<Value>().await.unwrap()["code"], "version_not_found");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_paged_and_filtered() {
    let server = Server::start(&[]).await;
    assert_eq!(server.json("/orders").await, json!([]));
    let mut ids = Vec::new();
    for i in 0..25 {
        ids.push(server.create(if i % 2 == 0 { "even one" } else { "odd" }).await);
    }
    server.step(&ids[4], "cancel").await;
    ids.reverse();

    let (mut seen, mut path) = (Vec::new(), "/orders?limit=10".to_owned());
    loop {
        let answer = server.get(&path).send().await.unwrap();
        assert_eq!(answer.headers()["x-total-count"], (25 + seen.len() / 10).to_string());
        let link = answer.headers().get("link").map(|link| link.to_str().unwrap().to_owned());
        let page: Vec<Value> = answer.json().await.unwrap();
        seen.extend(page.iter().map(|order| order["id"].as_str().unwrap().to_owned()));
        let Some(link) = link else { break };
        path = link.strip_prefix('<').unwrap().strip_suffix(">; rel=\"next\"").unwrap().to_owned();
        // An order that comes in between moves no page.
        server.create("late").await;
    }
    assert_eq!(seen, ids);

    let even = server.json("/orders?customerId=even%20one&limit=1000").await;
    assert_eq!(even.as_array().unwrap().len(), 13);
    let both =
        server.get("/orders?customerId=even%20one&status=Pending&limit=5").send().await.unwrap();
    assert_eq!(both.headers()["x-total-count"], "12");
    let link = both.headers()["link"].to_str().unwrap();
    assert!(link.contains("customerId=even%20one") && link.contains("status=Pending"), "{link}");
    assert_eq!(server.json("/orders?customerId=nobody").await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_shows_each_order_as_it_is() {
    let server = Server::start(&[]).await;
    let lives: [&[&str]; 5] =
        [&[], &["pay"], &["pay", "ship"], &["pay", "ship", "deliver"], &["pay", "cancel"]];
    for steps in lives {
        let id = server.create("somebody").await;
        for step in steps {
            server.step(&id, step).await;
        }
    }
    let orders = server.json("/orders").await;
    let orders = orders.as_array().unwrap();
    assert_eq!(orders.len(), lives.len());
    for order in orders {
        assert_eq!(order["items"].as_array().unwrap().len(), 1);
        assert_eq!(
            *order,
            server.json(&format!("/orders/{}", order["id"].as_str().unwrap())).await
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn statistics_leave_cancelled_orders_out_of_the_revenue() {
    let server = Server::start(&[]).await;
    let stats = server.json("/stats").await;
    let none = json!({ "Pending": 0, "Paid": 0, "Shipped": 0, "Delivered": 0, "Cancelled": 0 });
    assert_eq!((&stats["byStatus"], &stats["totalRevenue"]), (&none, &json!(0)));
    let (one, two) = (server.create("c").await, server.create("c").await);
    server.step(&one, "pay").await;
    server.step(&two, "cancel").await;
    let stats = server.json("/stats").await;
    assert_eq!(stats["totalOrders"], 2);
    assert_eq!(stats["byStatus"]["Paid"], 1);
    assert_eq!(stats["byStatus"]["Cancelled"], 1);
    assert_eq!(stats["totalRevenue"], 99.98);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_history_is_paged() {
    let server = Server::start(&[]).await;
    let id = server.create("c").await;
    for step in ["pay", "ship", "deliver"] {
        server.step(&id, step).await;
    }
    let answer = server.get(&format!("/orders/{id}/history?from=2&limit=2")).send().await.unwrap();
    let link = format!("</orders/{id}/history?from=4&limit=2>; rel=\"next\"");
    assert_eq!(answer.headers()["link"], link);
    let page: Vec<Value> = answer.json().await.unwrap();
    assert_eq!((&page[0]["version"], &page[1]["version"]), (&json!(2), &json!(3)));
    let rest = server.get(&format!("/orders/{id}/history?from=4&limit=2")).send().await.unwrap();
    assert!(rest.headers().get("link").is_none());
    assert_eq!(server.json(&format!("/orders/{id}/history?from=9")).await, json!([]));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_node_describes_itself() {
    let server = Server::start(&["--node-id", "n7"]).await;
    let info = server.json("/").await;
    let shown =
        ["service", "node", "mode", "transport", "persistence", "status"].map(|m| info[m].clone());
    assert_eq!(shown, ["Catga OrderSystem", "n7", "Standalone", "inmemory", "inmemory", "running"]);
    let nodes = server.json("/cluster").await["nodes"].clone();
    assert_eq!(nodes.as_array().unwrap().len(), 1);
    assert_eq!(nodes[0]["node"], "n7");
    for path in ["/health", "/health/live", "/health/ready"] {
        assert_eq!(server.json(path).await["status"], "healthy");
    }
    let docs = server.get("/docs").send().await.unwrap().text().await.unwrap();
    assert!(
        !docs.contains("https://") && !docs.contains("//cdn"),
        "nothing comes from another host"
    );
}
