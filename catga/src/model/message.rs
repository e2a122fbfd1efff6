//! Commands and queries: what one can ask of a program.

use std::{
    any::Any,
    fmt::{self, Write as _},
};

use serde::Serialize;

use crate::log::{InvalidStreamId, MAX_KEY, StreamId};

/// A request for change, named in the imperative: `PayOrder`.
///
/// Derive it:
///
/// ```
/// # use catga::prelude::*; use serde::{Serialize, Deserialize};
/// #[derive(Debug, Clone, Serialize, Command)]
/// struct PayOrder {
///     #[key]
///     order_id: String,
///     method: String,
/// }
/// # #[command_handler] fn pay(_: PayOrder) -> u64 { 1 }
/// ```
///
/// It is `Clone` so that a handler that lost a race can be run again, and `Serialize` so that a
/// command sent twice under one id can be told from another one under the same id.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a command",
    label = "not a command",
    note = "write `#[catga::command]` above `{Self}`"
)]
pub trait Command: Clone + Serialize + Send + Sync + 'static {
    /// A stable name: part of the command's fingerprint, and the label in metrics and traces. Derived, it is the type's
    /// name unless `#[command(name = "..")]` says another one.
    const NAME: &'static str;

    /// The name of the field marked `#[key]`, as it is written in Rust.
    const KEY: Option<&'static str> = None;

    /// What is wrong with the command in itself, all at once; checked before the handler runs.
    ///
    /// # Errors
    /// Every field that can't be accepted.
    fn validate(&self) -> Result<(), Vec<FieldError>> {
        Ok(())
    }
}

/// A question that changes nothing: `GetOrder`. Derive it, as a [`Command`].
///
/// ```standalone_crate
/// # use catga::prelude::*;
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// #[catga::query]
/// struct Square { of: u64 }
///
/// #[query_handler]
/// fn square(query: Square) -> u64 {
///     query.of * query.of
/// }
///
/// let catga = Catga::builder().start().await?;
/// assert_eq!(catga.query(Square { of: 4 }).await?, 16);
/// # catga.shutdown().await; Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a query",
    label = "not a query",
    note = "write `#[catga::query]` above `{Self}`"
)]
pub trait Query: Send + Sync + 'static {
    /// A stable name: the label in metrics and traces.
    const NAME: &'static str;

    /// The name of the field marked `#[key]`, as it is written in Rust.
    const KEY: Option<&'static str> = None;
}

/// A command or query about one aggregate, so that its handler can take a [`Root`](crate::model::Root).
///
/// The derives implement it for the field marked `#[key]`. A field with the key of another aggregate that the handler
/// looks at is marked with its type:
///
/// ```
/// # use catga::prelude::*;
/// # #[catga::event] enum Happened { Renamed { name: String } }
/// # macro_rules! aggregate { ($($ty:ident, $name:literal);*) => { $(
/// # #[derive(Default, Clone)] struct $ty;
/// # impl Aggregate for $ty { type Event = Happened; const NAME: &str = $name; fn apply(&mut self, _: Happened) {} }
/// # )* } }
/// # aggregate!(Order, "doc-order"; Customer, "doc-customer");
/// #[catga::command]
/// struct PlaceOrder {
///     #[key]
///     order: String,
///     #[key(Customer)]
///     customer: u64,
/// }
///
/// #[command_handler]
/// fn place_order(_: PlaceOrder, order: &mut Root<Order>, customer: &Root<Customer>) -> catga::Result<()> {
///     if !customer.exists() {
///         return Err("there is no such customer".into());
///     }
/// #   let _ = order;
///     Ok(())
/// }
/// ```
///
/// Without the type, `&Root<Customer>` beside `&mut Root<Order>` is a start error: it would be the customer with the order's
/// key. Where two aggregates have one key, the field is marked with both `#[key]` and `#[key(Customer)]`.
///
/// A key is anything with `Display`: a `String`, a number, a `Uuid`, a newtype of one.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not say which aggregate it is about",
    label = "no field of it is marked `#[key]`",
    note = "mark the field that holds the aggregate's key: `#[key] order_id: OrderId`"
)]
pub trait Targeted {
    /// The fields with keys.
    const KEYS: &'static [KeyField];

    /// The stream of the aggregate of type `aggregate`.
    ///
    /// # Errors
    /// [`InvalidStreamId`] when the key can't be part of a stream's name.
    fn stream(&self, aggregate: &str) -> Result<StreamId, InvalidStreamId>;
}

/// A field of a message that holds a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyField {
    /// Its name.
    pub field: &'static str,
    /// The [`NAME`](crate::model::Aggregate::NAME) of the aggregate whose key it is; `None` for the aggregate that the
    /// message is about.
    pub aggregate: Option<&'static str>,
}

impl KeyField {
    /// The field of `M` with the key of the aggregate named `aggregate`, if there is one.
    pub(crate) fn of<M: Targeted>(aggregate: &str) -> Option<&'static Self> {
        let named = M::KEYS.iter().find(|key| key.aggregate == Some(aggregate));
        named.or_else(|| M::KEYS.iter().find(|key| key.aggregate.is_none()))
    }
}

/// What can be a key: anything with `Display`.
#[diagnostic::on_unimplemented(
    message = "`{Self}` can't be a key",
    label = "a key is shown with `Display`",
    note = "a `String`, a number, a `Uuid`, or a type of your own with `impl Display` can"
)]
pub trait StreamKey: fmt::Display + Any {}

#[diagnostic::do_not_recommend]
impl<K: fmt::Display + Any> StreamKey for K {}

/// The stream of the aggregate of type `aggregate` with `key`. Called by derived code.
#[doc(hidden)]
pub fn stream_by<K: StreamKey>(aggregate: &str, key: &K) -> Result<StreamId, InvalidStreamId> {
    if let Some(key) = (key as &dyn Any).downcast_ref::<String>() {
        return StreamId::new(aggregate, key);
    }
    // On the stack: every command makes one.
    let mut shown = ShownKey { bytes: [0; MAX_KEY], length: 0 };
    match write!(shown, "{key}")
        .ok()
        .and_then(|()| str::from_utf8(&shown.bytes[..shown.length]).ok())
    {
        Some(key) => StreamId::new(aggregate, key),
        // It does not fit, and is refused for that.
        None => StreamId::new(aggregate, &key.to_string()),
    }
}

/// A message that has no key but those of other aggregates. Called by derived code.
#[doc(hidden)]
pub fn no_key() -> Result<StreamId, InvalidStreamId> {
    StreamId::new("", "")
}

struct ShownKey {
    bytes: [u8; MAX_KEY],
    length: usize,
}

impl fmt::Write for ShownKey {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.length + text.len();
        let place = self.bytes.get_mut(self.length..end).ok_or(fmt::Error)?;
        place.copy_from_slice(text.as_bytes());
        self.length = end;
        Ok(())
    }
}

/// A check of a command in itself, run before its handler. Named by `#[command(.., validate)]`.
///
/// ```
/// # use catga::prelude::*;
/// #[catga::command(validate)]
/// struct RenameShop { name: String }
///
/// impl Validate for RenameShop {
///     fn problems(&self) -> Vec<FieldError> {
///         let is_empty = self.name.is_empty();
///         is_empty.then(|| FieldError::new("name", "must not be empty")).into_iter().collect()
///     }
/// }
/// # #[command_handler] fn rename(_: RenameShop) {}
///
/// let refused = Command::validate(&RenameShop { name: String::new() });
/// assert_eq!(refused, Err(vec![FieldError::new("name", "must not be empty")]));
/// ```
pub trait Validate {
    /// Every field that can't be accepted; empty when the command can.
    fn problems(&self) -> Vec<FieldError>;
}

/// One field that can't be accepted, and why.
///
/// ```
/// let error = catga::FieldError::new("items[2].quantity", "must be 1 or more");
/// assert_eq!((error.field.as_str(), error.message.as_str()), ("items[2].quantity", "must be 1 or more"));
/// ```
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
