//! The service kit of catga: what makes a program an HTTP service.
//!
//! # Modules, in reading order
//! - [`problem`]: what an error of the domain answers over HTTP
//! - [`openapi`]: the OpenAPI 3.1 document of a service, made from its types

// The paths that the derive generates work inside this crate, too.
extern crate self as catga_axum;

pub mod openapi;
pub mod problem;

pub use catga_macros::Problem;
