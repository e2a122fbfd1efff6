//! How much memory orders take.

use std::{sync::Arc, time::Duration};

use catga::{
    Timestamp,
    log::{Commit, EventFrame, EventId, StreamId},
    store::{Append, EventStore, MemoryKvStore, MemoryStore, RedisOptions, RedisStore},
    testing,
};
use catga_bench::{Reach, Rounds, Table, Unit, float, resident};
use catga_tests::redis::RedisServer;
use futures_util::{StreamExt, stream};
use tokio::{process::Command, time::sleep};

use super::{LIFE, Outcome, make, order_system};

const ORDERS: usize = 100_000;
const IN_REDIS: usize = 20_000;
const PAYLOAD: usize = 100;

pub(super) async fn measure() -> Outcome<()> {
    let about = "what orders of four events take, over the bytes of their events";
    let mut table = Table::new("memory", about);
    let mut both = Rounds::new();
    // A process of its own: what was freed before is not given back.
    let mut held = Command::new(std::env::current_exe()?);
    let held = held.arg("hold").arg(ORDERS.to_string()).output().await?;
    let held = String::from_utf8(held.stdout)?;
    let (resident, frames) = held.trim().split_once(' ').ok_or("two numbers")?;
    both.push(resident.parse()?, frames.parse()?);
    let what = format!("in memory, {ORDERS} orders, log and read models, over the frames");
    table.row(what, Unit::Bytes, &both, Reach::AtMost(2.5));

    let mut both = Rounds::new();
    let server = RedisServer::start().await;
    let store = RedisStore::connect(RedisOptions::new(server.address())).await?;
    let before = used(&server).await?;
    stream::iter(0..IN_REDIS)
        .for_each_concurrent(64, async |order| {
            let stream = StreamId::new("order", &uuid(order)).expect("a plain key");
            for version in 0..LIFE as u64 {
                let frame = frame(&stream, version);
                let append =
                    Append { stream: &stream, version: version.into(), token: 0, events: 1, frame };
                store.append(append).await.expect("the stream is at this version");
            }
        })
        .await;
    let payload = float(IN_REDIS * LIFE * PAYLOAD);
    both.push(used(&server).await? - before, payload);
    let what = format!("Redis, {IN_REDIS} orders of four 100 B events, over the payloads");
    table.row(what, Unit::Bytes, &both, Reach::AtMost(3.0));
    Ok(())
}

/// Makes orders in memory, and prints how much more is resident then, and how many bytes the commits have.
pub(super) async fn hold(orders: u64) -> Outcome<()> {
    let store = Arc::new(MemoryStore::default());
    let catga = order_system(store.clone(), Arc::new(MemoryKvStore::new()), 1 << 20).await;
    make(&catga, 0..100, LIFE).await;
    let before = resident(std::process::id());
    make(&catga, 100..orders + 100, LIFE).await;
    // Until the read models and the handlers are there.
    catga.query(order_system::domain::queries::GetStats).await?;
    sleep(Duration::from_secs(1)).await;
    let after = resident(std::process::id());
    let (mut frames, mut position) = (0, catga::log::Position::ZERO);
    loop {
        let page = store.read_log(position, 1000).await?;
        let Some(last) = page.last() else { break };
        position = last.position;
        frames += page.iter().map(|record| record.frame.len()).sum::<usize>();
    }
    println!("{} {frames}", after - before);
    Ok(())
}

/// As long as the id of an order.
fn uuid(order: usize) -> String {
    format!("01a20b68-e9fc-7460-9108-{order:012x}")
}

fn frame(stream: &StreamId, version: u64) -> bytes::Bytes {
    let payload = [7; PAYLOAD];
    let event = EventFrame { id: EventId::nil(), name: "OrderPaid", schema: 1, payload: &payload };
    let time = Timestamp::from_micros(1_700_000_000_000_000);
    Commit { time, node: "bench", ..testing::commit(stream, version.into(), [event]) }.encode()
}

async fn used(server: &RedisServer) -> Outcome<f64> {
    let client = redis::Client::open(format!("redis://{}", server.address()))?;
    let mut connection = client.get_multiplexed_async_connection().await?;
    let info: String = redis::cmd("INFO").arg("memory").query_async(&mut connection).await?;
    let used = info.lines().find_map(|line| line.strip_prefix("used_memory:")).ok_or("a line")?;
    Ok(used.trim().parse()?)
}
