//! A command and its handler: what it records on an aggregate is one event in the log.
//!
//! Run it with `cargo run -p catga --example command`.
use catga::prelude::*;

#[catga::event]
enum CounterEvent {
    Counted { by: u64 },
}

#[derive(Debug, Clone, Default)]
struct Counter {
    total: u64,
}

impl Aggregate for Counter {
    type Event = CounterEvent;
    const NAME: &'static str = "counter";
    fn apply(&mut self, CounterEvent::Counted { by }: CounterEvent) {
        self.total += by;
    }
}

#[catga::command]
struct Count {
    #[key]
    counter: String,
    by: u64,
}

/// Counts on, and answers the new total.
#[command_handler]
fn count(count: Count, counter: &mut Root<Counter>) -> u64 {
    counter.record(CounterEvent::Counted { by: count.by });
    counter.total
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let catga = Catga::builder().start().await?;
    catga.send(Count { counter: "a".to_owned(), by: 2 }).await?;
    assert_eq!(catga.send(Count { counter: "a".to_owned(), by: 3 }).await?, 5);
    Ok(())
}
