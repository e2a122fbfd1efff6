//! The log as a stream of events: from any position on, and then each event as it comes.
//!
//! Run it with `cargo run -p catga --example subscribe`.
use catga::prelude::*;

#[catga::event]
struct MessagePosted {
    text: String,
}

#[derive(Debug, Clone, Default)]
struct Room;

impl Aggregate for Room {
    type Event = MessagePosted;
    const NAME: &str = "room";
    fn apply(&mut self, _: MessagePosted) {}
}

#[catga::command]
struct Post {
    #[key]
    room: String,
    text: String,
}

#[command_handler]
fn post(post: Post, room: &mut Root<Room>) {
    room.record(MessagePosted { text: post.text });
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let catga = Catga::builder().start().await?;
    let post = |text: &str| catga.send(Post { room: "lobby".to_owned(), text: text.to_owned() });
    post("hello").await?;

    // Position 0 is before the first event.
    let mut messages = catga.subscribe::<MessagePosted>(0.into());
    let first = messages.next().await.expect("the program runs")?;
    assert_eq!((first.stream.key(), first.text.as_str()), ("lobby", "hello"));

    // It waits for events that are still to come.
    let (next, posted) = tokio::join!(messages.next(), async { post("anybody here?").await });
    posted?;
    let next = next.expect("the program runs")?;
    assert_eq!(next.text, "anybody here?");

    // Keep the position, and a later subscription goes on from there: nothing is missed, nothing comes twice.
    let mut rest = catga.subscribe::<MessagePosted>(first.position);
    assert_eq!(rest.next().await.expect("the program runs")?.id, next.id);

    catga.shutdown().await;
    assert!(messages.next().await.is_none(), "a shutdown ends it");
    Ok(())
}
