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
use syn::{DeriveInput, Error, Result, parse_macro_input};

mod args;
mod derive;
mod expand;
mod handler;
mod projection;

use crate::{
    args::{Errors, no_arguments},
    derive::{event, message, problem},
    handler::{Handler, Kind},
};

/// Makes a function the handler of a command.
///
/// The first parameter is the command, by value. The others are references to what the handler needs:
/// `&mut Root<A>` for the aggregate that the command changes (at most one), `&Root<A>`, `&ReadModel<P>`,
/// `&History<A>`, `&Metadata`, or a `&T` of your own that is a `Resource`. It returns `Result<Output, E>`
/// with the command's output and any error type, or nothing where the output is `()`. It can be `async`.
///
/// What the function records on the `&mut Root<A>` is committed after it returned `Ok`. It runs again when
/// another command was faster. It stays a function that tests can call.
///
/// ```text
/// /// Pays a pending order.
/// #[command_handler]
/// fn pay_order(command: PayOrder, order: &mut Root<Order>, clock: &Clock) -> Result<OrderView, OrderError> {
///     order.pay(command.method, clock.now())?;
///     Ok(order.view())
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
///         type Output = <PayOrder as Command>::Output;
///
///         async fn handle<'c>(self, cx: &'c Context<'c>) -> Result<Self::Output, Interrupt> {
///             // The aggregate comes last, since it locks its stream.
///             let clock = <Clock as FromContext<PayOrder>>::extract(cx, &self).await?;
///             let mut order = <Root<Order> as FromContextMut<PayOrder>>::extract_mut(cx, &self).await?;
///             let outcome = <Result<OrderView, OrderError> as IntoOutcome<Self::Output>>::into_outcome(
///                 pay_order(self, &mut order, &clock),
///             );
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
    message_handler(Kind::Command, arguments, item)
}

/// Makes a function the handler of a query.
///
/// As [`macro@command_handler`], but nothing can be taken as `&mut`, and something must be returned.
///
/// ```text
/// /// The order as it is now.
/// #[query_handler]
/// async fn get_order(query: GetOrder, orders: &ReadModel<Orders>) -> Result<OrderView, OrderError> {
///     orders.read().find(&query.order_id).ok_or(OrderError::NotFound)
/// }
/// ```
///
/// The generated code is that of a command handler without a `&mut` parameter: it ends with
/// `outcome.map_err(Interrupt::from)` in place of the commit.
#[proc_macro_attribute]
pub fn query_handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    message_handler(Kind::Query, arguments, item)
}

/// Makes a function a handler of events: it is called with every event of a type, at least once.
///
/// The first parameter is `Recorded<E>`, or the event `E` alone; an enum of events gets all of its events.
/// The others are as in [`macro@query_handler`]. It returns `Result<(), E>` or nothing.
///
/// The name is what the handler's progress is stored under. It stays when the function is renamed: under a new
/// name the handler is a new one, and gets every event since the first. It is 1 to 64 characters of
/// `a-z 0-9 _ -`.
///
/// ```text
/// /// Mails the receipt.
/// #[event_handler(name = "receipts")]
/// async fn send_receipt(paid: Recorded<OrderPaid>, mailer: &Mailer) -> Result<(), MailError> {
///     mailer.send(paid.id, receipt(&paid)).await
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
///             let mailer = <Mailer as FromContext<OrderPaid>>::extract(cx, &recorded.event).await?;
///             <Result<(), MailError> as IntoOutcome<()>>::into_outcome(
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
///                 <Mailer as FromContext<OrderPaid>>::declare(setup);
///                 register_event_handler::<Recorded<OrderPaid>>(setup, "receipts", call);
///             },
///         }
///     }
/// };
/// ```
/// </details>
#[proc_macro_attribute]
pub fn event_handler(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let kind = Kind::event(&arguments.into(), &mut errors);
    beside(item, |item| Ok(expand::handler(&Handler::read(kind, item, errors)?)))
}

/// Adds a read model to every program that links the crate. It goes above an `impl Projection`.
///
/// ```text
/// /// The orders, newest first.
/// #[projection]
/// impl Projection for Orders {
///     type Event = OrderEvent;
///     const NAME: &'static str = "orders";
///
///     fn apply(&mut self, event: &Recorded<OrderEvent>) { .. }
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
///             name: <Orders as Projection>::NAME,
///             item: concat!(module_path!(), "::Orders"),
///             doc: "The orders, newest first.",
///             file: file!(),
///             line: line!(),
///             setup: |setup| register_projection::<Orders>(setup),
///         }
///     }
/// };
/// ```
/// </details>
#[proc_macro_attribute]
pub fn projection(arguments: TokenStream, item: TokenStream) -> TokenStream {
    beside(item, |item| projection::expand(&arguments.into(), item))
}

/// Implements `Command`, and `Targeted` for the field marked `#[key]`.
///
/// `#[command(..)]` says the `name` (1 to 64 characters of `A-Z a-z 0-9 _ - .`), the `output` that the handler
/// answers, `creates` if the command makes a new stream, and `validate` if it is checked by its `Validate` before
/// the handler runs.
///
/// ```text
/// #[derive(Debug, Clone, Serialize, Command)]
/// #[command(name = "order.pay", output = OrderView, validate)]
/// pub struct PayOrder {
///     #[key]
///     pub order_id: OrderId,
///     pub method: PaymentMethod,
/// }
/// ```
///
/// <details><summary>Generated code</summary>
///
/// ```text
/// impl Command for PayOrder {
///     const NAME: &'static str = "order.pay";
///     // const CREATES: bool = true; with `creates`
///     type Output = OrderView;
///
///     fn validate(&self) -> Result<(), Vec<FieldError>> {
///         let problems = <Self as Validate>::problems(self);
///         if problems.is_empty() { Ok(()) } else { Err(problems) }
///     }
/// }
///
/// impl Targeted for PayOrder {
///     fn stream(&self, aggregate: &str) -> Result<StreamId, InvalidStreamId> {
///         StreamId::new(aggregate, <OrderId as AsRef<str>>::as_ref(&self.order_id))
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
/// `#[query(..)]` says the `name` and the `output`, as in [`macro@Command`].
///
/// ```text
/// #[derive(Debug, Query)]
/// #[query(name = "order.get", output = OrderView)]
/// pub struct GetOrder {
///     #[key]
///     pub order_id: OrderId,
/// }
/// ```
///
/// The generated code is that of a command with neither `creates` nor `validate`.
#[proc_macro_derive(Query, attributes(query, key))]
pub fn derive_query(item: TokenStream) -> TokenStream {
    message::expand(message::Kind::Query, &parse_macro_input!(item as DeriveInput)).into()
}

/// Implements `Event`: for a struct, one type of event; for an enum, all that happens to an aggregate.
///
/// `#[event(..)]` on a struct says what it is stored under for ever: the `name` (1 to 64 characters of
/// `A-Z a-z 0-9 _ - .`) and the `version` of its fields, from 1. With a change of the fields the version goes one
/// up, the old struct stays under another name, and `upcast` says which version it reads. `From` lifts it.
///
/// ```text
/// #[derive(Debug, Clone, Serialize, Deserialize, Event)]
/// #[event(name = "OrderPaid", version = 2, upcast(1 = OrderPaidV1))]
/// pub struct OrderPaid {
///     pub method: PaymentMethod,
/// }
///
/// #[derive(Debug, Clone, Event)]
/// pub enum OrderEvent {
///     Created(OrderCreated),
///     Paid(OrderPaid),
/// }
/// ```
///
/// A variant holds one event, which is a struct.
///
/// <details><summary>Generated code</summary>
///
/// ```text
/// impl Event for OrderPaid {
///     const TYPES: &'static [EventType] = &[EventType { name: "OrderPaid", version: 2 }];
///
///     fn event_type(&self) -> EventType {
///         Self::TYPES[0]
///     }
///
///     fn encode(&self, payload: &mut Vec<u8>) -> Result<EventType, DecodeError> {
///         encode_payload(Self::TYPES[0], self, payload)
///     }
///
///     fn decode(name: &str, schema: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
///         let today = Self::TYPES[0];
///         if name != today.name {
///             return Ok(None);
///         }
///         let stored = EventType { version: schema, ..today };
///         Ok(Some(match schema {
///             1 => <Self as From<OrderPaidV1>>::from(decode_payload::<OrderPaidV1>(stored, payload)?),
///             2 => decode_payload::<OrderPaid>(stored, payload)?,
///             _ => {
///                 let known = today.version;
///                 return Err(DecodeError::UnknownVersion { name: today.name, stored: schema, known });
///             }
///         }))
///     }
/// }
/// // and a `Registration` of `Kind::Event`, with `setup: |setup| setup.event::<OrderPaid>()`
///
/// impl Event for OrderEvent {
///     const TYPES: &'static [EventType] =
///         &[<OrderCreated as Event>::TYPES[0], <OrderPaid as Event>::TYPES[0]];
///
///     fn event_type(&self) -> EventType {
///         match self {
///             Self::Created(_) => <OrderCreated as Event>::TYPES[0],
///             Self::Paid(_) => <OrderPaid as Event>::TYPES[0],
///         }
///     }
///
///     fn encode(&self, payload: &mut Vec<u8>) -> Result<EventType, DecodeError> {
///         match self {
///             Self::Created(event) => <OrderCreated as Event>::encode(event, payload),
///             Self::Paid(event) => <OrderPaid as Event>::encode(event, payload),
///         }
///     }
///
///     fn decode(name: &str, schema: u16, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
///         if let Some(event) = <OrderCreated as Event>::decode(name, schema, payload)? {
///             return Ok(Some(Self::Created(event)));
///         }
///         if let Some(event) = <OrderPaid as Event>::decode(name, schema, payload)? {
///             return Ok(Some(Self::Paid(event)));
///         }
///         Ok(None)
///     }
/// }
///
/// impl From<OrderCreated> for OrderEvent { .. }
/// impl From<OrderPaid> for OrderEvent { .. }
/// ```
/// </details>
#[proc_macro_derive(Event, attributes(event))]
pub fn derive_event(item: TokenStream) -> TokenStream {
    event::expand(&parse_macro_input!(item as DeriveInput)).into()
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
    problem::expand(&parse_macro_input!(item as DeriveInput)).into()
}

fn message_handler(kind: Kind, arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    no_arguments(&arguments.into(), &mut errors);
    beside(item, |item| Ok(expand::handler(&Handler::read(kind, item, errors)?)))
}

/// The item as it is written, and beside it what `generate` makes of it, or what is wrong with it.
fn beside(
    item: TokenStream,
    generate: impl FnOnce(proc_macro2::TokenStream) -> Result<proc_macro2::TokenStream>,
) -> TokenStream {
    let item = proc_macro2::TokenStream::from(item);
    let generated = generate(item.clone()).unwrap_or_else(Error::into_compile_error);
    quote!(#item #generated).into()
}
