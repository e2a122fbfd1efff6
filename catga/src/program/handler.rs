//! What an annotated function becomes, and the catalogue of them all.
//!
//! The macros emit a [`Handled`] impl for a command or query, and one [`Registration`]. `inventory` gathers the
//! registrations of every linked crate before `main`; nothing lists handlers by hand.

use std::{
    fmt,
    future::Future,
    ops::{Deref, DerefMut},
};

use crate::{
    model::{Error, Interrupt},
    program::{Context, Setup},
};

/// A command or query that has a handler. The macros implement it, once, in the crate of the message.
///
/// A second handler for the same message is a compile error, since there would be two impls.
#[diagnostic::on_unimplemented(
    message = "`{Self}` has no handler",
    label = "no function is annotated to handle this",
    note = "write `#[command_handler] fn name(command: {Self}, ..) -> Result<Output, E>`, or `#[query_handler]` for a query, in the crate that defines `{Self}`"
)]
pub trait Handled: Sized {
    /// What the function answers.
    type Output;

    /// Extracts the parameters, calls the function once, and commits what it recorded.
    fn handle<'c>(
        self,
        cx: &'c Context<'c>,
    ) -> impl Future<Output = Result<Self::Output, Interrupt>> + Send + 'c;
}

/// A handler's parameter after the message: `&Self`.
///
/// Implemented by [`Root`](crate::model::Root), [`History`](crate::read::History),
/// [`ReadModel`](crate::read::ReadModel), [`Metadata`](crate::model::Metadata), and every [`Resource`].
#[diagnostic::on_unimplemented(
    message = "a handler of `{M}` can't take `&{Self}`",
    label = "nothing can provide this parameter",
    note = "a handler takes the message by value, then references: `&mut Root<A>`, `&Root<A>`, `&ReadModel<P>`, `&History<A>`, `&Metadata`, or a `&T` of your own with `impl catga::Resource for T {{}}`, given to the builder with `.resource(value)`"
)]
pub trait FromContext<M>: Sized {
    /// What is kept while the handler runs.
    type Held<'c>: Deref<Target = Self> + Send;

    /// Provides the parameter for one run of the handler.
    fn extract<'c>(
        cx: &'c Context<'c>,
        message: &M,
    ) -> impl Future<Output = Result<Self::Held<'c>, Interrupt>> + Send;

    /// Tells the builder what this parameter needs, so that what is missing is known at start.
    fn declare(setup: &mut Setup<'_>);
}

/// A handler's parameter taken as `&mut Self`: what the function did to it is committed after `Ok`.
///
/// Implemented by [`Root`](crate::model::Root) alone, in handlers of commands.
#[diagnostic::on_unimplemented(
    message = "a handler of `{M}` can't take `&mut {Self}`",
    label = "only `&mut Root<A>` can be changed by a handler",
    note = "take `&{Self}`; a command handler records events on `&mut Root<A>`, where `A` is the aggregate"
)]
pub trait FromContextMut<M>: Sized {
    /// What is kept while the handler runs.
    type Held<'c>: DerefMut<Target = Self> + Send;

    /// Provides the parameter for one run of the handler.
    fn extract_mut<'c>(
        cx: &'c Context<'c>,
        message: &M,
    ) -> impl Future<Output = Result<Self::Held<'c>, Interrupt>> + Send;

    /// Commits what was recorded when `outcome` is `Ok`, and passes the outcome on.
    fn commit<'c, O: serde::Serialize + Send + Sync>(
        held: Self::Held<'c>,
        cx: &'c Context<'c>,
        outcome: Result<O, Error>,
    ) -> impl Future<Output = Result<O, Interrupt>> + Send;

    /// Tells the builder what this parameter needs.
    fn declare(setup: &mut Setup<'_>);
}

/// A value of the program that handlers can take as `&Self`: a clock, a mailer, a client.
///
/// Give the value to the builder with [`resource`](crate::runtime::Builder::resource); one that is missing is a start
/// error that names the handler.
pub trait Resource: Send + Sync + 'static {}

/// What a handler may return: `Result<O, E>` with any error type `E`, or `()` where `O` is `()`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what this handler must return",
    label = "expected `Result<{O}, E>`",
    note = "`E` can be any `std::error::Error + Send + Sync + 'static`"
)]
pub trait IntoOutcome<O> {
    /// The outcome, with the error as catga's.
    ///
    /// # Errors
    /// What the function returned.
    fn into_outcome(self) -> Result<O, Error>;
}

impl<O, E: std::error::Error + Send + Sync + 'static> IntoOutcome<O> for Result<O, E> {
    fn into_outcome(self) -> Result<O, Error> {
        self.map_err(Error::refused)
    }
}

impl IntoOutcome<()> for () {
    fn into_outcome(self) -> Result<(), Error> {
        Ok(())
    }
}

/// What a registered item is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// A function with `#[command_handler]`.
    CommandHandler,
    /// A function with `#[query_handler]`.
    QueryHandler,
    /// A function with `#[event_handler]`.
    EventHandler,
    /// An impl with `#[projection]`.
    Projection,
    /// A struct with `#[derive(Event)]`.
    Event,
}

impl Kind {
    /// The kind as users read it.
    pub(crate) const fn label(self) -> &'static str {
        match self {
            Self::CommandHandler => "command",
            Self::QueryHandler => "query",
            Self::EventHandler => "event handler",
            Self::Projection => "projection",
            Self::Event => "event",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.label())
    }
}

/// One entry of the catalogue: where an annotated item is, and how to put it to work.
#[derive(Debug)]
pub struct Registration {
    /// What it is.
    pub kind: Kind,
    /// The name of the message, handler, projection or event.
    pub name: &'static str,
    /// The Rust item: `order_system::handlers::pay_order`.
    pub item: &'static str,
    /// Its doc comment, lines joined by `\n`, without the leading blanks.
    pub doc: &'static str,
    /// The source file.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
    /// Declares what the item needs and adds it to the program.
    #[doc(hidden)]
    pub setup: fn(&mut Setup<'_>),
}

inventory::collect!(Registration);

/// Every item registered by the crates linked into this program, by kind and name.
pub fn catalogue() -> Vec<&'static Registration> {
    let mut all: Vec<_> = inventory::iter::<Registration>.into_iter().collect();
    all.sort_by_key(|r| (r.kind, r.name, r.file, r.line));
    all
}
