//! Counts the allocations of a trivial command, or of one of an order's life, for `commands`: `allocations send|cycle`.

#[path = "commands/order.rs"]
mod order;

use std::alloc::System;

use catga::Catga;
use catga_bench::float;
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

use self::order::{Nothing, cycle};

const TIMES: usize = 20_000;

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let catga = Catga::builder().start().await?;
    let region = Region::new(ALLOCATOR);
    let commands = match std::env::args().nth(1).as_deref() {
        Some("send") => {
            for number in 0..TIMES as u64 {
                assert_eq!(catga.send(Nothing { number }).await?, number);
            }
            TIMES
        }
        Some("cycle") => {
            cycle(&catga, "counted", TIMES).await?;
            3 * TIMES
        }
        _ => panic!("usage: allocations send|cycle"),
    };
    print!("{:.1}", float(region.change().allocations) / float(commands));
    catga.shutdown().await;
    Ok(())
}
