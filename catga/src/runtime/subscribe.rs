//! Subscribing to the log of a program.

use crate::{log::Position, model::Event, read::Subscription, runtime::catga::Catga};

impl Catga {
    /// The events of type `E` behind position `after`, one by one, and then each as it comes, until the program is
    /// [shut down](Self::shutdown): 0 begins with the first one, [`head`](Self::head) with the next one.
    ///
    /// ```standalone_crate
    /// # use catga::prelude::*; use serde::{Serialize, Deserialize};
    /// # #[derive(Debug, Clone, Serialize, Deserialize, Event)] #[event(name = "SubscribedOpened", version = 1)] struct Opened {}
    /// # #[derive(Debug, Clone, Default)] struct Door;
    /// # impl Aggregate for Door { type Event = Opened; const NAME: &'static str = "door"; fn apply(&mut self, _: Opened) {} }
    /// # #[derive(Debug, Clone, Serialize, Command)] #[command(name = "door.open")]
    /// # struct OpenDoor { #[key] door: String }
    /// # #[command_handler]
    /// # fn open(_: OpenDoor, door: &mut Root<Door>) -> Result<(), std::convert::Infallible> { door.record(Opened {}); Ok(()) }
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let catga = Catga::builder().start().await?;
    /// let mut opened = catga.subscribe::<Opened>(catga.head().await?);
    /// catga.send(OpenDoor { door: "front".to_owned() }).await?;
    /// let event = opened.next().await.expect("the program runs")?;
    /// assert_eq!(event.stream.key(), "front");
    /// // Whoever keeps the position can go on from there.
    /// let rest = catga.subscribe::<Opened>(event.position);
    /// # Ok(())
    /// # }
    /// # tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(example()).unwrap();
    /// ```
    pub fn subscribe<E: Event>(&self, after: Position) -> Subscription<E> {
        let runtime = &self.runtime;
        Subscription::new(runtime.program.clone(), runtime.stop_tail.clone(), after)
    }
}
