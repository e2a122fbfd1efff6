//! What an annotated function becomes, and the catalogue of them all.
//!
//! The macros emit a [`Handled`] impl for a command or query, and one [`Registration`]. `inventory` gathers the
//! registrations of every linked crate before `main`; nothing lists handlers by hand.

use std::{
    future::Future,
    ops::{Deref, DerefMut},
};

use serde::{Serialize, de::DeserializeOwned};

use crate::{
    log::Clock,
    model::{BoxError, Error, Interrupt, Metadata},
    program::{context::Context, setup::Setup, state::State},
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
    /// What the function answers: its return type, or what is in its `Ok`.
    type Output: Send + 'static;

    /// Whether the command makes a new stream, as `#[command_handler(creates)]` says. It is then run on the empty
    /// aggregate without asking the store first; if the stream is there after all, the append conflicts and the
    /// command is run again on what is stored.
    const CREATES: bool = false;

    /// Extracts the parameters, calls the function once, and commits what it recorded.
    fn handle<'c>(
        self,
        cx: &'c Context<'c>,
    ) -> impl Future<Output = Result<Self::Output, Interrupt>> + Send + 'c;
}

/// A handler's parameter after the message: `&Self`.
///
/// Implemented by [`Root`](crate::model::Root), [`History`](crate::read::History),
/// [`ReadModel`](crate::read::ReadModel), [`Metadata`](crate::model::Metadata), [`Clock`](crate::log::Clock),
/// [`Catga`](crate::runtime::Catga), and [`State`] of anything.
#[diagnostic::on_unimplemented(
    message = "a handler of `{M}` can't take `&{Self}`",
    label = "nothing can provide this parameter",
    note = "write `&State<{Self}>`, and give the builder the value with `.state(..)`",
    note = "without `State`, a handler takes `&mut Root<A>`, `&Root<A>`, `&ReadModel<P>`, `&History<A>`, `&Metadata`, `&Clock` and `&Catga`"
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
    fn commit<'c, O: CommandOutput>(
        held: Self::Held<'c>,
        cx: &'c Context<'c>,
        outcome: Result<O, Error>,
    ) -> impl Future<Output = Result<O, Interrupt>> + Send;

    /// Tells the builder what this parameter needs.
    fn declare(setup: &mut Setup<'_>);
}

/// What a handler that can fail returns: `Result<O, E>`, where `E` is any error.
///
/// A handler that can't fail returns its value.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not what a handler returns",
    label = "expected `Result<Output, E>`",
    note = "`E` can be any error; a handler that can't fail returns its value"
)]
pub trait IntoOutcome {
    /// What is in the `Ok`.
    type Output;

    /// The outcome, with the error as catga's.
    ///
    /// # Errors
    /// What the function returned.
    fn into_outcome(self) -> Result<Self::Output, Error>;
}

impl<O, E: HandlerError> IntoOutcome for Result<O, E> {
    type Output = O;

    fn into_outcome(self) -> Result<O, Error> {
        self.map_err(E::into_error)
    }
}

/// An error that a handler can return: any `std::error::Error + Send + Sync + 'static`, a [`BoxError`] of one, or what
/// turns into that, as `anyhow::Error` does.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an error that a handler can return",
    label = "not an error",
    note = "an error implements `std::error::Error + Send + Sync + 'static`; `catga::Result<T>` takes any of them by `?`"
)]
pub trait HandlerError {
    /// The error as catga's.
    fn into_error(self) -> Error;
}

#[diagnostic::do_not_recommend]
impl<E: Into<BoxError>> HandlerError for E {
    fn into_error(self) -> Error {
        Error::refused(self)
    }
}

/// What the handler of a command can answer. It is stored in the commit when the command has an id.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a command's answer",
    label = "can't be stored with the command",
    note = "a command that is sent again is answered from the log: derive serde's `Serialize` and `Deserialize` for `{Self}`"
)]
pub trait CommandOutput: Serialize + DeserializeOwned + Send + Sync + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Serialize + DeserializeOwned + Send + Sync + 'static> CommandOutput for T {}

impl<M: Sync> FromContext<M> for Metadata {
    type Held<'c> = &'c Self;

    async fn extract<'c>(cx: &'c Context<'c>, _: &M) -> Result<&'c Self, Interrupt> {
        Ok(cx.metadata)
    }

    fn declare(_: &mut Setup<'_>) {}
}

impl<M: Sync> FromContext<M> for Clock {
    type Held<'c> = &'c Self;

    async fn extract<'c>(cx: &'c Context<'c>, _: &M) -> Result<&'c Self, Interrupt> {
        Ok(cx.clock())
    }

    fn declare(_: &mut Setup<'_>) {}
}

impl<M: Sync, T: Send + Sync + 'static> FromContext<M> for State<T> {
    type Held<'c> = &'c Self;

    async fn extract<'c>(cx: &'c Context<'c>, _: &M) -> Result<&'c Self, Interrupt> {
        Ok(cx.program.extensions.expect::<Self>())
    }

    fn declare(setup: &mut Setup<'_>) {
        setup.state::<T>();
    }
}
