//! What an error of the domain answers over HTTP ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
//!
//! The domain's error says its status, its code and what else the answer carries; nothing of the domain has to
//! know what a response is.

use std::error::Error;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::openapi::SchemaOf;

/// An error of the domain that is answered as a problem (`application/problem+json`).
///
/// The error's [`Display`](std::fmt::Display) text becomes the problem's `detail`, so it must not tell anything
/// of the inside: no address, no path, no stack. The derive [`Problem`](macro@crate::Problem) writes
/// this from attributes.
pub trait ProblemDetails: Error + Send + Sync + 'static {
    /// Every problem that the error can be, for the OpenAPI document.
    const KINDS: &'static [ProblemKind];

    /// The HTTP status, 400 to 599.
    fn status(&self) -> u16;

    /// The stable name of the problem, by which clients tell it from others.
    fn code(&self) -> &'static str;

    /// Further members of the answer, by name. One that [`ProblemKind::extra`] announces may be left out.
    fn extra(&self) -> Vec<(&'static str, serde_json::Value)> {
        Vec::new()
    }
}

/// A problem that an operation can answer with.
#[derive(Debug, Clone, Copy)]
pub struct ProblemKind {
    /// The HTTP status, 400 to 599.
    pub status: u16,
    /// The stable name of the problem.
    pub code: &'static str,
    /// When it is answered: a sentence for the OpenAPI document.
    pub description: &'static str,
    /// The further members that the answer can have.
    pub extra: &'static [ExtraMember],
}

/// A member of a problem beyond those of RFC 9457.
#[derive(Debug, Clone, Copy)]
pub struct ExtraMember {
    /// Its name in the JSON.
    pub name: &'static str,
    /// The schema of its value.
    pub schema: SchemaOf,
}

impl ExtraMember {
    /// `errors`: every field that can't be accepted, with the reason.
    pub const ERRORS: Self = Self { name: "errors", schema: field_errors };

    /// `version`: the version that the aggregate is at.
    pub const VERSION: Self = Self { name: "version", schema: version };

    /// A member named `name` that holds a `T`.
    #[must_use]
    pub const fn new<T: JsonSchema>(name: &'static str) -> Self {
        Self { name, schema: |generator| generator.subschema_for::<T>() }
    }
}

fn field_errors(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "description": "Every field that can't be accepted",
        "items": {
            "type": "object",
            "properties": {
                "field": { "type": "string", "description": "Where in the request it is" },
                "message": { "type": "string", "description": "What is wrong with it" }
            },
            "required": ["field", "message"]
        }
    })
}

fn version(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "minimum": 0, "description": "The version it is at" })
}

/// What only derived code names.
#[doc(hidden)]
pub mod __private {
    use serde::Serialize;
    pub use serde_json::Value;

    /// Adds `value` to `members`, unless it is `None` or has no JSON.
    pub fn add_member<T: Serialize + ?Sized>(
        members: &mut Vec<(&'static str, Value)>,
        name: &'static str,
        value: &T,
    ) {
        match serde_json::to_value(value) {
            Ok(Value::Null) | Err(_) => {}
            Ok(value) => members.push((name, value)),
        }
    }
}
