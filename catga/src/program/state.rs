//! Values of the program that handlers take.

use std::ops::Deref;

/// A value of the program, of any type, as handlers take it: `mailer: &State<Mailer>`.
///
/// Give the value to the builder with [`state`](crate::runtime::Builder::state); one that is missing is a start error that
/// names the handler. It derefs to the value. A test that calls the handler writes `&State::new(mailer)`.
///
/// ```standalone_crate
/// # use catga::prelude::*;
/// # #[catga::query] struct GetGreeting;
/// struct Greeting(&'static str);
///
/// #[query_handler]
/// fn get_greeting(_: GetGreeting, greeting: &State<Greeting>) -> String {
///     greeting.0.to_owned()
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let catga = Catga::builder().state(Greeting("hello")).start().await?;
/// assert_eq!(catga.query(GetGreeting).await?, "hello");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct State<T>(T);

impl<T> State<T> {
    /// `value`, for a test that calls a handler.
    pub const fn new(value: T) -> Self {
        Self(value)
    }
}

impl<T> Deref for State<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}
