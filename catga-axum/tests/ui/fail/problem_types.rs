//! Types that a problem can't be made of.
#![allow(unused)]

use catga_axum::Problem;
use serde::Serialize;

#[derive(Debug, Problem)]
#[problem(status = 404)]
struct NoError;

#[derive(Debug, Serialize)]
struct NoSchema;

#[derive(Debug, schemars::JsonSchema)]
struct NoJson;

#[derive(Debug, thiserror::Error, Problem)]
#[error("members")]
#[problem(status = 409)]
struct Members {
    #[problem(extra)]
    schema: NoSchema,
    #[problem(extra)]
    json: NoJson,
}

fn main() {}
