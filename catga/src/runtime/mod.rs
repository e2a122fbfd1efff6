//! A program from start to end: built, checked, put to work, asked how it is, and stopped.

mod background;
mod builder;
mod catga;
mod error;
mod health;
mod idle;
mod request;
mod shutdown;
mod standstill;
mod start;
mod subscribe;

pub use self::{
    builder::Builder,
    catga::Catga,
    error::StartError,
    health::{HandlerStatus, Health, PausedHandler},
    request::{CommandRequest, QueryRequest},
};
