//! Five times as many clients as order-system works for at once, over as many as give the most commands a second.
//!
//! The log is on Redis, which syncs before it answers, so that commands pile up. A client that is turned away comes again
//! after a second, as it is told to. As many clients as it works for at once show what is not due to those.

use std::time::Duration;

use catga_bench::{Reach, Rounds, Table, Unit, load, median, rounds, server};
use catga_tests::redis::RedisServer;
use serde_json::json;
use tokio::process::Child;

/// What order-system takes at once (`IN_FLIGHT` in its `http`).
const IN_FLIGHT: usize = 512;

const TIME: Duration = Duration::from_secs(5);

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Outcome<()> {
    let redis = RedisServer::start().await;
    // Where a rewrite falls is chance, and it takes one of the two processors for a while.
    redis.command("CONFIG SET auto-aof-rewrite-percentage 0").await;
    let program = std::env::current_exe()?.with_file_name("order-system");
    let flags =
        ["--persistence", "redis", "--redis", &redis.address(), "--port", "0", "--log", "off"];
    let (service, address) = server::start(&program, &flags).await?;
    let about = "POST /orders, log on Redis, `always` (level `power-loss`)";
    let mut table = Table::new("overload", about);
    let item = json!({ "productId": "p1", "name": "Pen", "quantity": 2, "price": 49.99 });
    let body = json!({ "customerId": "c", "items": [item] }).to_string();
    let request = load::request("POST", "/orders", &body);
    let [mut full_rates, mut rates] = [(); 2].map(|()| Rounds::new());
    let (mut refusals, mut refused) = (Vec::new(), 0);
    let (mut peaks, mut orders) = (Vec::new(), Vec::new());
    for _ in 0..rounds(5) {
        let best = load::flood(address, 256, &request, TIME).await?;
        assert_eq!(best.count(201), best.latencies.len(), "{:?}", best.statuses);
        let full = load::flood(address, IN_FLIGHT, &request, TIME).await?;
        assert_eq!(full.count(201), full.latencies.len(), "{:?}", full.statuses);
        let before = memory(&service)?;
        let much = load::flood(address, 5 * IN_FLIGHT, &request, TIME).await?;
        assert_eq!(much.count(201), much.latencies.len(), "{:?}", much.statuses);
        orders.push(catga_bench::float(much.latencies.len()));
        peaks.push(memory(&service)? - before);
        // The machine drifts, and the log grows: the limit is taken before and after.
        let again = load::flood(address, 256, &request, TIME).await?;
        let best = f64::midpoint(best.rate, again.rate);
        full_rates.push(full.rate, best);
        rates.push(much.rate, best);
        refused += much.refusals.len();
        refusals.extend(much.refusals.iter().map(|time| time.as_secs_f64() * 1e3));
    }
    table.row("512 clients, over 256", Unit::PerSecond, &full_rates, Reach::Shown);
    let what = "2,560 clients, over 256";
    table.row(what, Unit::PerSecond, &rates, Reach::AtLeast(0.9));
    table.note("turned away with 503", refused);
    if !refusals.is_empty() {
        table.note("told so after, median", format!("{:.1} ms", median(&refusals)));
    }
    let more = format!("{:.0} MB for {:.0} orders", median(&peaks), median(&orders));
    table.note("memory more after it, median of the rounds", more);
    Ok(())
}

/// The memory that it has in use, in mebibytes.
fn memory(service: &Child) -> Outcome<f64> {
    Ok(catga_bench::resident(service.id().ok_or("it runs")?) / f64::from(1 << 20))
}
