//! The service kit of catga: what makes a program an HTTP service that can be operated.
//!
//! A program says which command or query is at which path. The rest is here: a command line with the flags of every
//! store, health, metrics, dead letters, a feed of events, an OpenAPI document with a page to try it, limits, load
//! shedding, and a shutdown that drains.
//!
//! ```no_run
#![cfg_attr(any(doc, doctest), doc = include_str!("../examples/tickets.rs"))]
//! ```
//!
//! # Requests
//! - A message is made by serde: of the path's parameters, and of the JSON body for a [`command`], or the query string for
//!   a [`query`]. What is missing or of the wrong type is a 400 that names it; what [`Validate`](catga::Validate) finds is
//!   a 422 that names every field.
//! - A command takes `Idempotency-Key`, `If-Match` (a list, too), `If-None-Match: *`, `X-Correlation-ID` and `traceparent`,
//!   and answers with `ETag` and `X-Catga-Position`.
//! - A read takes `?consistency=latest|eventual` and `X-Catga-Position`; one with
//!   [`etag`](QueryRoute::etag) takes `If-None-Match`, and one with [`page`](QueryRoute::page) has `Link` and `X-Total-Count`.
//! - Every error is `application/problem+json` ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)). An error of the
//!   domain is one by [`ProblemDetails`], which `#[derive(Problem)]` writes.
//!
//! # Routes that every service has
//! `/` (what this node is), `/health`, `/health/live`, `/health/ready`, `/metrics`, `/cluster`, `/dead-letters`, `/events`
//! (server-sent), `/openapi.json` and `/docs`.
//!
//! # Own routes
//! All routes are axum's: [`App::route`] adds a handler, [`App::merge`] a router with a state of its own, or layers.
//!
//! # JSON and the log
//! The types of messages and events are stored in postcard and shown as JSON. What differs, differs by
//! [`is_human_readable`](serde::Serializer::is_human_readable): a [`Timestamp`](catga::Timestamp) is a number in the log and
//! RFC 3339 in JSON. [`json`] has helpers for the same with other types.
//!
//! # Features
//! `redis` and `nats`, both by default: the stores of these names, with their flags.
//!
//! # Modules, in reading order
//! - `app`, `serve`, [`cli`], `usage`, `healthcheck`, `backend`, `maintenance`, `start_again`: a service,
//!   from its routes to its exit code
//! - `server`, `connections`, `stream`, `timer`, `body`, `service`, `routes`, `refusals`: connections and what all requests go through
//! - `endpoint`, `command`, `query`, `page`, `history`: kinds of routes
//! - `path`, `message`, `request`, `respond`, [`json`], `money`, `view`, [`validate`], `event_json`, `members`: reading and
//!   writing
//! - [`problem`][]: errors
//! - `system`, `accept`, `dead_letters`, `feed`: the routes that every service has
//! - `describe`, [`openapi`]: the document
#![cfg_attr(doc, allow(rustdoc::private_intra_doc_links))]

// The paths that the derive generates work inside this crate, too.
extern crate self as catga_axum;

pub mod cli;
pub mod json;
pub mod openapi;
pub mod problem;
pub mod validate;

mod accept;
mod app;
mod backend;
mod body;
mod command;
mod connections;
mod dead_letters;
mod describe;
mod endpoint;
mod event_json;
mod feed;
mod healthcheck;
mod history;
mod log_lines;
mod maintenance;
mod members;
mod message;
mod money;
mod page;
mod path;
mod query;
mod refusals;
mod request;
mod respond;
mod room;
mod routes;
mod serve;
mod server;
mod service;
mod start_again;
mod stream;
mod system;
mod timer;
mod usage;
mod view;

pub use catga::read_model::Cursor;
pub use catga_macros::Problem;

pub use crate::{
    app::App,
    cli::NoArgs,
    command::{CommandRoute, command},
    endpoint::Endpoint,
    history::{HistoryRoute, history},
    money::{Money, MoneySum},
    page::{Limit, Page},
    problem::{Problem, ProblemDetails, ProblemKind},
    query::{PageRoute, QueryRoute, query},
    serve::main,
    view::{Shown, View},
};
