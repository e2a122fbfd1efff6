//! A counter: one event, one command, one handler.
use catga::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "Counted", version = 1)]
struct Counted {
    by: u64,
}

#[derive(Debug, Clone, Event)]
enum CounterEvent {
    Counted(Counted),
}

#[derive(Debug, Clone, Default)]
struct Counter {
    total: u64,
}

impl Aggregate for Counter {
    type Event = CounterEvent;
    const NAME: &'static str = "counter";
    fn apply(&mut self, CounterEvent::Counted(counted): &CounterEvent) {
        self.total += counted.by;
    }
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "counter.count", output = u64)]
struct Count {
    #[key]
    counter: String,
    by: u64,
}

/// Counts on, and answers the new total.
#[command_handler]
fn count(count: Count, counter: &mut Root<Counter>) -> Result<u64, catga::Error> {
    counter.record(Counted { by: count.by });
    Ok(counter.total)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let catga = Catga::builder().start().await?;
    catga.send(Count { counter: "a".to_owned(), by: 2 }).await?;
    assert_eq!(catga.send(Count { counter: "a".to_owned(), by: 3 }).await?, 5);
    Ok(())
}
