//! Snapshots of an aggregate with a long stream, so that loading it does not read all of its events.
//!
//! Run it with `cargo run -p catga --example snapshots`.
use std::sync::Arc;

use catga::{
    prelude::*,
    store::{Backend, MemoryKvStore, MemoryStore},
    testing::ScriptedStore,
};
use serde::{Deserialize, Serialize};

#[catga::event]
enum MeterEvent {
    Read { kilowatt_hours: u64 },
}

// A snapshot is the aggregate itself, stored. When its fields change, old ones are not used any more; the events are.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
struct Meter {
    kilowatt_hours: u64,
}

impl Aggregate for Meter {
    type Event = MeterEvent;
    const NAME: &str = "meter";
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(100));

    fn apply(&mut self, MeterEvent::Read { kilowatt_hours }: MeterEvent) {
        self.kilowatt_hours += kilowatt_hours;
    }
}

#[catga::command]
struct ReadMeter {
    #[key]
    meter: u64,
    kilowatt_hours: u64,
}

#[command_handler]
fn read_meter(command: ReadMeter, meter: &mut Root<Meter>) {
    meter.record(MeterEvent::Read { kilowatt_hours: command.kilowatt_hours });
}

#[catga::query]
struct Consumption {
    #[key]
    meter: u64,
}

#[query_handler]
fn consumption(_: Consumption, meter: &Root<Meter>) -> u64 {
    meter.kilowatt_hours
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    // A store that counts what is read of it.
    let store = Arc::new(ScriptedStore::new(Arc::new(MemoryStore::new())));
    let backend = Backend::new(store.clone(), Arc::new(MemoryKvStore::new()));
    let catga = Catga::builder().backend(backend.clone()).start().await?;
    for _ in 0..1000 {
        catga.send(ReadMeter { meter: 1, kilowatt_hours: 2 }).await?;
    }
    catga.shutdown().await;

    // A program that starts has nothing in memory. If the last snapshot is far back, loading takes another one.
    let mut read = 0;
    for _start in 0..2 {
        let before = store.read_of_streams();
        let catga = Catga::builder().backend(backend.clone()).start().await?;
        assert_eq!(catga.query(Consumption { meter: 1 }).await?, 2000);
        catga.shutdown().await;
        read = store.read_of_streams() - before;
    }
    assert!(read < 200, "{read} of 1,000 commits were read");
    Ok(())
}
