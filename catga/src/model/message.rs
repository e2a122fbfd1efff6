//! Commands and queries: what one can ask of a program.

use serde::{Serialize, de::DeserializeOwned};

use crate::log::{InvalidStreamId, StreamId};

/// A request for change, named in the imperative: `PayOrder`.
///
/// Derive it:
///
/// ```
/// # use catga::prelude::*; use serde::{Serialize, Deserialize};
/// #[derive(Debug, Clone, Serialize, Command)]
/// #[command(name = "order.pay", output = u64)]
/// struct PayOrder {
///     #[key]
///     order_id: String,
///     method: String,
/// }
/// # #[command_handler] fn pay(_: PayOrder) -> Result<u64, catga::Error> { Ok(1) }
/// ```
///
/// It is `Clone` so that a handler that lost a race can be run again, and `Serialize` so that a
/// command sent twice under one id can be told from another one under the same id.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a command",
    label = "not a command",
    note = "write `#[derive(Debug, Clone, Serialize, Command)]` and `#[command(name = \"..\", output = ..)]` above `{Self}`"
)]
pub trait Command: Clone + Serialize + Send + Sync + 'static {
    /// A stable name: part of the command's fingerprint, and the label in metrics and traces.
    const NAME: &'static str;

    /// Whether it makes a new stream. It is then run on the empty aggregate without asking the
    /// store first; if the stream is there after all, the append conflicts and the command is run
    /// again on what is stored.
    const CREATES: bool = false;

    /// The name of the field marked `#[key]`, as it is written in Rust.
    const KEY: Option<&'static str> = None;

    /// What the handler answers. It is stored in the commit when the command has an id.
    type Output: Serialize + DeserializeOwned + Send + Sync + 'static;

    /// What is wrong with the command in itself, all at once; checked before the handler runs.
    ///
    /// # Errors
    /// Every field that can't be accepted.
    fn validate(&self) -> Result<(), Vec<FieldError>> {
        Ok(())
    }
}

/// A question that changes nothing: `GetOrder`. Derive it, as a [`Command`].
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a query",
    label = "not a query",
    note = "write `#[derive(Debug, Query)]` and `#[query(name = \"..\", output = ..)]` above `{Self}`"
)]
pub trait Query: Send + Sync + 'static {
    /// A stable name: the label in metrics and traces.
    const NAME: &'static str;

    /// The name of the field marked `#[key]`, as it is written in Rust.
    const KEY: Option<&'static str> = None;

    /// What the handler answers.
    type Output: Send + 'static;
}

/// A command or query about one aggregate, so that its handler can take a [`Root`](crate::model::Root).
///
/// The derives implement it for the field marked `#[key]`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which aggregate it is about",
    label = "no field of it is marked `#[key]`",
    note = "mark the field that holds the aggregate's key: `#[key] order_id: OrderId`"
)]
pub trait Targeted {
    /// The stream of the aggregate of type `aggregate`.
    ///
    /// # Errors
    /// [`InvalidStreamId`] when the key can't be part of a stream's name.
    fn stream(&self, aggregate: &str) -> Result<StreamId, InvalidStreamId>;
}

/// A check of a command in itself, run before its handler. Named by `#[command(.., validate)]`.
pub trait Validate {
    /// Every field that can't be accepted; empty when the command can.
    fn problems(&self) -> Vec<FieldError>;
}

/// One field that can't be accepted, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FieldError {
    /// A path as the sender writes it: `items[2].quantity`.
    pub field: String,
    /// What is allowed.
    pub message: String,
}

impl FieldError {
    /// `field` is wrong because of `message`.
    pub fn new(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self { field: field.into(), message: message.into() }
    }
}
