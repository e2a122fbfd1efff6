//! What an annotated function becomes, and the catalogue of them all.
//!
//! The macros emit a [`Handled`] impl for a command or query, and one [`Registration`]. `inventory` gathers the
//! registrations of every linked crate before `main`; nothing lists handlers by hand.

use std::{
    future::Future,
    ops::{Deref, DerefMut},
};

use crate::{
    model::{Error, Interrupt, Metadata},
    program::{
        context::Context,
        setup::{Resource, Setup},
    },
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

impl<M: Sync> FromContext<M> for Metadata {
    type Held<'c> = &'c Self;

    async fn extract<'c>(cx: &'c Context<'c>, _: &M) -> Result<&'c Self, Interrupt> {
        Ok(cx.metadata)
    }

    fn declare(_: &mut Setup<'_>) {}
}

impl<M: Sync, T: Resource> FromContext<M> for T {
    type Held<'c> = &'c Self;

    async fn extract<'c>(cx: &'c Context<'c>, _: &M) -> Result<&'c Self, Interrupt> {
        Ok(cx.program.extensions.expect::<T>())
    }

    fn declare(setup: &mut Setup<'_>) {
        setup.resource::<T>();
    }
}
