//! The store on a real Redis server: the promises, and what a server can do to them.

use std::sync::Arc;

use catga::{InMemoryTransport, RedisOptions, RedisStore, conformance};
use catga_tests::redis::RedisServer;

async fn store(server: &RedisServer) -> Arc<RedisStore> {
    Arc::new(RedisStore::connect(RedisOptions::new(server.address())).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_keeps_its_promises() {
    let server = RedisServer::start().await;
    conformance::event_store(store(&server).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_values_keep_their_promises() {
    let server = RedisServer::start().await;
    conformance::keyed(store(&server).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_as_a_topic_keeps_its_promises() {
    let server = RedisServer::start().await;
    let store = store(&server).await;
    conformance::transport(store.clone(), Arc::new(InMemoryTransport::new(store))).await;
}
