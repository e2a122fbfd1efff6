//! The attribute and derive macros of catga, which re-exports them; [`macro@Problem`] is catga-axum's.
//!
//! A macro leaves the item as it is written and puts code beside it: an impl of a trait of catga, and an entry in
//! the catalogue. What it can't know, the types, is left to those traits; their messages appear at the token that
//! is wrong. All mistakes that a macro finds in an item are reported at once.
//!
//! # Modules, in reading order
//! - `args`: arguments of attributes, and the mistakes collected so far
//! - `handler`, `expand`: a handler as it is written, and the code for it
//! - `derive`, `projection`: the other macros
//!
//! The generated code is shown without `::catga::` and `::core::`, and without the names for types that are only
//! there for the compiler's messages.

use proc_macro::TokenStream;
use quote::quote;
use syn::{DeriveInput, Error, parse_macro_input};

mod args;
mod attribute;
mod derive;
mod expand;
mod handler;
mod projection;
mod root;
mod serde_attributes;

use crate::{
    args::Errors,
    attribute::Item,
    derive::message,
    handler::{Attributed, Handler},
};

/// Makes a function the handler of a command.
///
/// The first parameter is the command, by value. The others are references to what the handler needs:
/// `&mut Root<A>` for the aggregate that the command changes (at most one), `&Root<A>`, `&ReadModel<P>`,
/// `&History<A>`, `&Metadata`, `&Clock`, `&Catga`, or `&State<T>` with a value of your own. It returns the answer, or
/// `Result<Output, E>` with any error, and can be `async`. What it returns is what sending the command answers. A `Result`
/// under another name ends with `Result`, as `std::io::Result` does, so that it is known for one.
///
/// What the function records on the `&mut Root<A>` is committed after it returned `Ok`, or its value. It runs again when
/// another command was faster. It stays a function that tests can call.
///
/// `#[command_handler(creates)]` is for a command that makes a new aggregate: it then runs on the empty one without asking
/// the store first. If the aggregate is there after all, it runs again on what is stored.
///
/// Every attribute and derive takes `crate = other` in a program that has catga under another name.
///
/// ```
/// # use catga::prelude::*;
/// # #[catga::event] enum OrderEvent { Paid { method: String } }
/// # #[derive(Debug, Clone, Default)] struct Order { is_paid: bool }
/// # impl Aggregate for Order {
/// #     type Event = OrderEvent;
/// #     const NAME: &'static str = "order";
/// #     fn apply(&mut self, _: OrderEvent) { self.is_paid = true; }
/// # }
/// # #[catga::command] struct PayOrder { #[key] order_id: String, method: String }
/// /// Pays a pending order.
/// #[command_handler]
/// fn pay_order(command: PayOrder, order: &mut Root<Order>, clock: &Clock) -> catga::Result<Timestamp> {
///     catga::ensure!(!order.is_paid, "the order is paid already");
///     order.record(OrderEvent::Paid { method: command.method });
///     Ok(clock.now())
/// }
/// ```
///
/// A second handler of the same command does not compile, nor does sending a command without one.
///
/// <details><summary>Generated code</summary>
///
/// ```text
/// const _: () = {
///     impl Handled for PayOrder {
///         type Output = <catga::Result<Timestamp> as IntoOutcome>::Output; // or `Timestamp`, of a `Result<Timestamp, E>`
///         // const CREATES: bool = true; with `creates`
///
///         async fn handle<'c>(self, cx: &'c Context<'c>) -> Result<Self::Output, Interrupt> {
///             // The aggregate comes last, since it locks its stream.
///             let clock = <Clock as FromContext<PayOrder>>::extract(cx, &self).await?;
///             let mut order = <Root<Order> as FromContextMut<PayOrder>>::extract_mut(cx, &self).await?;
///             let outcome = <catga::Result<Timestamp> as IntoOutcome>::into_outcome(
///                 pay_order(self, &mut order, &clock),
///             );
///             // `Ok(pay_order(..))` if it can't fail
///             <Root<Order> as FromContextMut<PayOrder>>::commit(order, cx, outcome).await
///         }
///     }
///
///     inventory::submit! {
///         Registration {
///             kind: Kind::CommandHandler,
///             name: <PayOrder as Command>::NAME,
///             item: concat!(module_path!(), "::pay_order"),
///             doc: "Pays a pending order.",
///             file: file!(),
///             line: line!(),
///             setup: |setup| {
///                 <Root<Order> as FromContextMut<PayOrder>>::declare(setup);
///                 <Clock as FromContext<PayOrder>>::declare(setup);
///             },
///         }
///     }
/// };
/// ```
/// </details>
#[proc_macro_attribute]
pub fn command_handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handler(Attributed::command, arguments, item)
}

/// Makes a function the handler of a query.
///
/// As [`macro@command_handler`], but nothing can be taken as `&mut`, and something must be returned, which need not be
/// stored.
///
/// ```
/// # use catga::prelude::*;
/// # #[catga::event] struct OrderPaid { cents: u64 }
/// # #[derive(Debug, Default)] struct Totals { cents: u64 }
/// # #[projection] impl Projection for Totals {
/// #     type Event = OrderPaid;
/// #     const NAME: &'static str = "totals";
/// #     fn apply(&mut self, paid: &Recorded<OrderPaid>) { self.cents += paid.cents; }
/// # }
/// # #[catga::query] struct Total;
/// /// What was paid in all.
/// #[query_handler]
/// fn total(_: Total, totals: &ReadModel<Totals>) -> u64 {
///     totals.read().cents
/// }
/// ```
///
/// The generated code is that of a command handler without a `&mut` parameter: it ends with
/// `outcome.map_err(Interrupt::from)` in place of the commit.
#[proc_macro_attribute]
pub fn query_handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handler(Attributed::query, arguments, item)
}

/// Makes a function a handler of events: it is called with every event of a type, at least once.
///
/// The first parameter is `Recorded<E>`, or the event `E` alone; an enum of events gets all of its events.
/// The others are as in [`macro@query_handler`], without aggregates: an event handler sends commands and queries with
/// `&Catga`. It returns `Result<(), E>` or nothing.
///
/// A plain `fn` runs on a thread that requests are answered on, too, so it must not block: no file, no socket, no lock that is held
/// for long, no long computation. One that held its thread for 100 ms is named by a line at WARN and counted by
/// `catga_handler_blocked_total`. `#[event_handler(name = "receipts", blocking)]` makes room for such a function: while it runs, another
/// thread does what its own would have done. That needs tokio's runtime with many threads. The timeout of an attempt does not
/// interrupt it. A handler of a command or a query that blocks is named and counted in the same way, and has no such mark: it is an
/// `async fn` that calls `tokio::task::spawn_blocking`.
///
/// The name is what the handler's progress is stored under. It stays when the function is renamed: under a new
/// name the handler is a new one, and gets every event since the first. It is 1 to 64 characters of
/// `a-z 0-9 _ -`.
///
/// ```
/// # use catga::prelude::*;
/// # #[catga::event] struct OrderPaid { cents: u64 }
/// # struct Mailer;
/// # impl Mailer { async fn send(&self, _: impl ToString, _: String) -> std::io::Result<()> { Ok(()) } }
/// # type MailError = std::io::Error;
/// /// Mails the receipt. The event's id tells the mailer of one that it was asked for before.
/// #[event_handler(name = "receipts")]
/// async fn send_receipt(paid: Recorded<OrderPaid>, mailer: &State<Mailer>) -> Result<(), MailError> {
///     mailer.send(paid.id, format!("{} cents were paid", paid.cents)).await
/// }
/// ```
///
/// <details><summary>Generated code</summary>
///
/// ```text
/// const _: () = {
///     fn call<'c>(
///         cx: &'c Context<'c>,
///         recorded: Recorded<<Recorded<OrderPaid> as Delivered>::Event>,
///     ) -> BoxFuture<'c, Result<(), Interrupt>> {
///         boxed(async move {
///             let mailer = <State<Mailer> as FromContext<OrderPaid>>::extract(cx, &recorded.event).await?;
///             event_outcome::<Result<(), MailError>>(
///                 send_receipt(<Recorded<OrderPaid> as Delivered>::deliver(recorded), &mailer).await,
///             )
///             .map_err(Interrupt::from)
///         })
///     }
///
///     inventory::submit! {
///         Registration {
///             kind: Kind::EventHandler,
///             name: "receipts",
///             // item, doc, file and line as for a command handler
///             setup: |setup| {
///                 <State<Mailer> as FromContext<OrderPaid>>::declare(setup);
///                 register_event_handler::<Recorded<OrderPaid>>(setup, "receipts", false, call);
///             },
///         }
///     }
/// };
/// ```
/// </details>
#[proc_macro_attribute]
pub fn event_handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    handler(Attributed::event, arguments, item)
}

/// Adds a read model to every program that links the crate. It goes above an `impl Projection`.
///
/// ```
/// # use catga::prelude::*;
/// # #[catga::event] struct OrderPaid { cents: u64 }
/// #[derive(Debug, Default)]
/// struct Totals {
///     cents: u64,
/// }
///
/// /// What was paid in all.
/// #[projection]
/// impl Projection for Totals {
///     type Event = OrderPaid;
///     const NAME: &'static str = "totals";
///
///     fn apply(&mut self, paid: &Recorded<OrderPaid>) {
///         self.cents += paid.cents;
///     }
/// }
/// ```
///
/// <details><summary>Generated code</summary>
///
/// ```text
/// const _: () = {
///     inventory::submit! {
///         Registration {
///             kind: Kind::Projection,
///             name: <Totals as Projection>::NAME,
///             item: concat!(module_path!(), "::Totals"),
///             doc: "What was paid in all.",
///             file: file!(),
///             line: line!(),
///             setup: |setup| register_projection::<Totals>(setup),
///         }
///     }
/// };
/// ```
/// </details>
#[proc_macro_attribute]
pub fn projection(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    let generated = projection::expand(&arguments.into(), item.clone());
    let generated = generated.unwrap_or_else(Error::into_compile_error);
    quote!(#item #generated).into()
}

/// Implements `Command`, and `Targeted` for the field marked `#[key]`.
///
/// `#[command(..)]` may say the `name` (1 to 64 characters of `A-Z a-z 0-9 _ - .`), which is the type's name otherwise,
/// and `validate` if the command is checked by its `Validate` before the handler runs. Give a name before the type is
/// renamed: commands that were sent with an id are known by it.
///
/// `#[key(Customer)]` marks a field with the key of another aggregate, for a handler that takes `&Root<Customer>` too.
///
/// ```
/// # use catga::{FieldError, prelude::*}; use serde::Serialize;
/// #[derive(Debug, Clone, Serialize, Command)]
/// #[command(name = "order.pay", validate)]
/// pub struct PayOrder {
///     #[key]
///     pub order_id: String,
///     pub method: String,
/// }
///
/// impl Validate for PayOrder {
///     fn problems(&self) -> Vec<FieldError> {
///         let is_empty = self.method.is_empty();
///         is_empty.then(|| FieldError::new("method", "must not be empty")).into_iter().collect()
///     }
/// }
/// # #[command_handler] fn pay_order(_: PayOrder) {}
/// ```
///
/// <details><summary>Generated code</summary>
///
/// ```text
/// impl Command for PayOrder {
///     const NAME: &'static str = "order.pay";
///
///     fn validate(&self) -> Result<(), Vec<FieldError>> {
///         let problems = <Self as Validate>::problems(self);
///         if problems.is_empty() { Ok(()) } else { Err(problems) }
///     }
/// }
///
/// impl Targeted for PayOrder {
///     const KEYS: &'static [KeyField] = &[KeyField { field: "order_id", aggregate: None }];
///
///     fn stream(&self, aggregate: &str) -> Result<StreamId, InvalidStreamId> {
///         stream_by::<String>(aggregate, &self.order_id)
///     }
/// }
/// ```
/// </details>
#[proc_macro_derive(Command, attributes(command, key))]
pub fn derive_command(item: TokenStream) -> TokenStream {
    message::expand(message::Kind::Command, &parse_macro_input!(item as DeriveInput)).into()
}

/// Implements `Query`, and `Targeted` for the field marked `#[key]`.
///
/// `#[query(..)]` may say the `name`, as in [`macro@Command`].
///
/// ```
/// # use catga::prelude::*;
/// #[derive(Debug, Query)]
/// #[query(name = "order.get")]
/// pub struct GetOrder {
///     #[key]
///     pub order_id: String,
/// }
/// # #[query_handler] fn get_order(_: GetOrder) -> u64 { 0 }
/// ```
///
/// The generated code is that of a command without `validate`.
#[proc_macro_derive(Query, attributes(query, key))]
pub fn derive_query(item: TokenStream) -> TokenStream {
    message::expand(message::Kind::Query, &parse_macro_input!(item as DeriveInput)).into()
}

/// Makes a struct or an enum events, with the derives that they need.
///
/// It is `#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]`, less what is derived beside it, and its
/// arguments are those of `#[event(..)]`. serde need not be a dependency.
///
/// ```
/// # use catga::prelude::*;
/// #[catga::event]
/// pub enum OrderEvent {
///     Created { customer: String },
///     #[event(version = 2, upcast(1 = PaidV1))]
///     Paid { method: String, in_advance: bool },
///     Closed,
/// }
///
/// /// What was stored before version 2.
/// #[derive(serde::Deserialize)]
/// struct PaidV1 {
///     method: String,
/// }
///
/// impl From<PaidV1> for OrderEvent {
///     fn from(paid: PaidV1) -> Self {
///         Self::Paid { method: paid.method, in_advance: false }
///     }
/// }
/// ```
///
/// The attribute is no part of the prelude: as `event` it would be in the way of the `#[event(..)]` of the derive.
#[proc_macro_attribute]
pub fn event(arguments: TokenStream, item: TokenStream) -> TokenStream {
    attribute::expand(Item::Event, arguments.into(), parse_macro_input!(item as DeriveInput)).into()
}

/// Makes a struct a command, with the derives that it needs.
///
/// It is `#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Command)]`, less what is derived beside it, and its
/// arguments are those of `#[command(..)]`.
///
/// ```
/// # use catga::prelude::*;
/// #[catga::command(name = "order.pay")]
/// pub struct PayOrder {
///     #[key]
///     pub order_id: String,
///     pub method: String,
/// }
/// # #[command_handler] fn pay_order(_: PayOrder) {}
/// ```
#[proc_macro_attribute]
pub fn command(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as DeriveInput);
    attribute::expand(Item::Message(message::Kind::Command), arguments.into(), item).into()
}

/// Makes a struct a query, with the derives that it needs.
///
/// It is `#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Query)]`, less what is derived beside it, and its
/// arguments are those of `#[query(..)]`.
///
/// ```
/// # use catga::prelude::*;
/// #[catga::query]
/// pub struct GetOrder {
///     #[key]
///     pub order_id: String,
/// }
/// # #[query_handler] fn get_order(_: GetOrder) -> u64 { 0 }
/// ```
#[proc_macro_attribute]
pub fn query(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let item = parse_macro_input!(item as DeriveInput);
    attribute::expand(Item::Message(message::Kind::Query), arguments.into(), item).into()
}

/// Implements `Event`: for a struct, one type of event; for an enum, all that happens to an aggregate.
///
/// An event is a struct, or a variant with fields of an enum; both are stored alike. `#[event(..)]` above it says what it
/// is stored under for ever: the `name` (1 to 64 characters of `A-Z a-z 0-9 _ - .`), which is that of the struct or
/// variant if it is left out, and the `version` of its fields, from 1. Give a name before the type is renamed. With a
/// change of the fields the version goes one up, and `upcast` says by which struct with the old fields an old version is
/// read. `From` lifts it: to the struct, or to the enum.
///
/// ```
/// # use catga::prelude::*; use serde::{Deserialize, Serialize};
/// #[derive(Debug, Clone, Event)]
/// pub enum OrderEvent {
///     Created { customer: String },
///     #[event(name = "OrderPaid", version = 2, upcast(1 = OrderPaidV1))]
///     Paid { method: String },
///     Shipped(OrderShipped),
/// }
/// # #[derive(Deserialize)] struct OrderPaidV1 {}
/// # impl From<OrderPaidV1> for OrderEvent {
/// #     fn from(_: OrderPaidV1) -> Self { Self::Paid { method: "unknown".to_owned() } }
/// # }
///
/// /// Read by handlers of their own.
/// #[derive(Debug, Clone, Serialize, Deserialize, Event)]
/// pub struct OrderShipped {
///     pub tracking: String,
/// }
/// ```
///
/// serde's attributes on the fields count for what is stored, and those that postcard can't carry are refused:
/// `skip_serializing_if`, `skip_serializing` and `skip_deserializing` without one another, `flatten`, `tag`, `content`, `untagged`, and
/// fields with a `serde_json::Value`. `Event` says more about what can be stored.
///
/// A variant without a name for its field holds one event, which is a struct. Handlers and projections can be about the
/// struct, or about any enum that holds it.
///
/// <details><summary>Generated code</summary>
///
/// ```text
/// impl Event for OrderShipped {
///     const TYPES: &'static [EventType] = &[EventType { name: "OrderShipped", version: 1 }];
///
///     fn event_type(&self) -> EventType {
///         Self::TYPES[0]
///     }
///
///     fn encode(&self, payload: &mut Vec<u8>) -> Result<EventType, DecodeError> {
///         static READ_BACK: ReadBack = ReadBack::new(true && IsPlain::<String>::ANSWER);
///         encode_payload::<Self>(Self::TYPES[0], &READ_BACK, self, payload)
///     }
///
///     fn decode(name: &str, schema: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
///         let today = Self::TYPES[0];
///         if name != today.name {
///             return Ok(None);
///         }
///         let stored = EventType { version: schema, ..today };
///         Ok(Some(match schema {
///             // an upcast: 1 => <Self as From<OrderShippedV1>>::from(decode_payload::<OrderShippedV1>(stored, payload)?),
///             1 => decode_payload::<OrderShipped>(stored, payload)?,
///             _ => {
///                 let known = today.version;
///                 return Err(DecodeError::UnknownVersion { name: today.name, stored: schema, known });
///             }
///         }))
///     }
/// }
/// // and a `Registration` of `Kind::Event`, with `setup: |setup| setup.event::<OrderShipped>()`
///
/// impl Event for OrderEvent {
///     const TYPES: &'static [EventType] = &[
///         EventType { name: "Created", version: 1 },
///         EventType { name: "OrderPaid", version: 2 },
///         <OrderShipped as Event>::TYPES[0],
///     ];
///
///     fn event_type(&self) -> EventType {
///         match self {
///             Self::Created { .. } => EventType { name: "Created", version: 1 },
///             Self::Paid { .. } => EventType { name: "OrderPaid", version: 2 },
///             Self::Shipped(_) => <OrderShipped as Event>::TYPES[0],
///         }
///     }
///
///     fn encode(&self, payload: &mut Vec<u8>) -> Result<EventType, DecodeError> {
///         match self {
///             Self::Created { customer: field_0 } => {
///                 #[derive(Serialize)]
///                 struct Stored<'e> { customer: &'e String }
///                 let stored = Stored { customer: field_0 };
///                 // `ReadBack`, with the values, and `READ_BACK`, as above
///                 encode_payload::<ReadBack>(EventType { name: "Created", version: 1 }, &READ_BACK, &stored, payload)
///             }
///             // Paid alike
///             Self::Shipped(event) => <OrderShipped as Event>::encode(event, payload),
///         }
///     }
///
///     // decode: for variants with fields as that of a struct, by a `Stored` with the values;
///     // for the others by that of the struct
/// }
///
/// impl From<OrderShipped> for OrderEvent { .. }
/// // and a `Registration` for each variant with fields
/// ```
/// </details>
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(item: TokenStream) -> TokenStream {
    derive::event::expand(&parse_macro_input!(item as DeriveInput)).into()
}

/// Implements `ProblemDetails` of catga-axum for an error: what it answers over HTTP.
///
/// `#[problem(..)]` on each variant of an enum, or on the struct, says the `status` (400 to 599) and the `code`, which
/// is the name in snake case if it is not given. Variants of one code have one status. The first paragraph of the doc
/// comment is the description in the OpenAPI document.
///
/// `#[problem(extra)]` on a field makes it a further member of the answer, left out where it is `None`. Its name is
/// the field's, or the one in `extra = ".."`. Its type implements `Serialize` and `JsonSchema`; `schema = Type` names
/// another type that describes it.
///
/// ```text
/// #[derive(Debug, thiserror::Error, Problem)]
/// pub enum OrderError {
///     /// There is no such order.
///     #[error("there is no such order")]
///     #[problem(status = 404, code = "order_not_found")]
///     NotFound,
///     /// The order's status forbids the step.
///     #[error("an order that is {status} can't be {step}")]
///     #[problem(status = 409)]
///     InvalidTransition {
///         #[problem(extra = "orderStatus")]
///         status: Status,
///         step: &'static str,
///     },
/// }
/// ```
///
/// `#[problem(crate = my::catga_axum)]` on the type says where catga-axum is, if not at `::catga_axum`.
///
/// <details><summary>Generated code</summary>
///
/// ```text
/// impl ProblemDetails for OrderError {
///     const KINDS: &'static [ProblemKind] = &[
///         ProblemKind {
///             status: 404,
///             code: "order_not_found",
///             description: "There is no such order.",
///             extra: &[],
///         },
///         ProblemKind {
///             status: 409,
///             code: "invalid_transition",
///             description: "The order's status forbids the step.",
///             extra: &[ExtraMember::new::<Status>("orderStatus")],
///         },
///     ];
///
///     fn status(&self) -> u16 {
///         match self {
///             Self::NotFound { .. } => 404,
///             Self::InvalidTransition { .. } => 409,
///         }
///     }
///
///     fn code(&self) -> &'static str {
///         match self {
///             Self::NotFound { .. } => "order_not_found",
///             Self::InvalidTransition { .. } => "invalid_transition",
///         }
///     }
///
///     fn extra(&self) -> Vec<(&'static str, Value)> {
///         let mut members = Vec::new();
///         match self {
///             Self::NotFound { .. } => {}
///             Self::InvalidTransition { status, .. } => add_member(&mut members, "orderStatus", status),
///         }
///         members
///     }
/// }
/// ```
/// </details>
#[proc_macro_derive(Problem, attributes(problem))]
pub fn derive_problem(item: TokenStream) -> TokenStream {
    derive::problem::expand(&parse_macro_input!(item as DeriveInput)).into()
}

/// Becomes what stands in it: the code of a handler, beside the function.
#[doc(hidden)]
#[proc_macro_attribute]
pub fn beside(code: TokenStream, _: TokenStream) -> TokenStream {
    code
}

/// The item as it is written, and beside it what makes it a handler. With mistakes in it, it is one as far as others see.
fn handler(
    attributed: fn(&proc_macro2::TokenStream, &mut Errors) -> Attributed,
    arguments: TokenStream,
    item: TokenStream,
) -> TokenStream {
    let mut errors = Errors::default();
    let Attributed { kind, root } = attributed(&arguments.into(), &mut errors);
    let mut item = proc_macro2::TokenStream::from(item);
    let generated = match Handler::read(kind, item.clone(), &mut errors) {
        Ok(handler) if errors.is_empty() => expand::handler(&handler),
        Ok(handler) if handler.is_method => {
            item = root.apply(expand::with_stub(item.clone(), &handler).unwrap_or(item));
            proc_macro2::TokenStream::new()
        }
        Ok(handler) => expand::stub(&handler),
        Err(error) => {
            errors.add(error);
            proc_macro2::TokenStream::new()
        }
    };
    let (errors, generated) = (errors.into_tokens(), root.apply(generated));
    quote!(#item #errors #generated).into()
}
