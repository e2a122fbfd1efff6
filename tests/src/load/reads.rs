//! Reads that follow a command at once, at another node than the one that answered it.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use serde_json::Value;
use tokio::time::Instant;

use crate::{
    history::Recorder,
    nemesis::witness::{Asked, Witness},
};

/// What a node has to say in time for a read to count: one that is cut off or stands still says nothing.
const PATIENCE: Duration = Duration::from_secs(1);

/// Reads at one node, and takes down what it sees.
pub(super) struct Reader<'a> {
    pub(super) http: &'a Client,
    pub(super) node: usize,
    pub(super) url: &'a str,
    pub(super) recorder: &'a Recorder,
    pub(super) witness: &'a Witness,
}

impl Reader<'_> {
    /// The read of the four whose `turn` it is: the order's history, the order, the list of its customer's orders (it
    /// is the only one), the statistics. A read that fails shows nothing, and is not taken down.
    pub(super) async fn read(&self, client: usize, turn: usize, order: &str, customer: &str) {
        let called = self.recorder.now();
        let glance = |commits: &Value| {
            let commits = commits.as_u64().map_or(0, |n| usize::try_from(n).expect("a small one"));
            self.recorder.glance(client, called, order, commits);
        };
        match turn % 4 {
            0 => {
                let Some(events) = self.get(&format!("/orders/{order}/history")).await else {
                    return;
                };
                let events = events.as_array().map_or(&[][..], Vec::as_slice);
                let ids = events.iter().filter_map(|event| event["metadata"]["commandId"].as_str());
                self.recorder.look(client, called, order, ids);
            }
            1 => {
                let Some(order) = self.get(&format!("/orders/{order}")).await else { return };
                glance(&order["version"]);
            }
            2 => {
                let list = format!("/orders?customerId={customer}");
                let Some(orders) = self.get(&list).await else { return };
                glance(&orders[0]["version"]);
            }
            _ => {
                let Some(stats) = self.get("/stats").await else { return };
                let streams = stats["totalOrders"].as_u64().expect("a number of orders");
                self.recorder.count(called, usize::try_from(streams).expect("a small one"));
            }
        }
    }

    /// The answer; null for what is not there, `None` when the node did not say.
    async fn get(&self, path: &str) -> Option<Value> {
        let begun = Instant::now();
        let request = self.http.get(format!("{}{path}", self.url)).timeout(PATIENCE);
        let answer = request.send().await;
        let problem = match &answer {
            Ok(answer) if answer.status().is_server_error() => Some(answer.status().to_string()),
            Ok(_) => None,
            Err(error) => Some(error.to_string()),
        };
        self.witness.tried(self.node, Asked::Read, begun, problem);
        let answer = answer.ok()?;
        match answer.status() {
            StatusCode::OK => answer.json().await.ok(),
            StatusCode::NOT_FOUND => Some(Value::Null),
            _ => None,
        }
    }
}
