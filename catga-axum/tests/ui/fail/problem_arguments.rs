//! `#[problem]` with mistakes.
#![allow(unused)]

use catga_axum::Problem;

#[derive(Debug, thiserror::Error, Problem)]
#[error("nothing")]
struct Nothing;

#[derive(Debug, thiserror::Error, Problem)]
enum Missing {
    #[error("nothing")]
    Nothing,
    #[error("no status")]
    #[problem(code = "no_status")]
    NoStatus,
    #[error("empty")]
    #[problem()]
    Empty,
    #[error("fine")]
    #[problem(status = 404)]
    Fine,
}

#[derive(Debug, thiserror::Error, Problem)]
#[problem(status = 404)]
enum Values {
    #[error("success")]
    #[problem(status = 204)]
    Success,
    #[error("beyond")]
    #[problem(status = 600)]
    Beyond,
    #[error("text")]
    #[problem(status = "404")]
    Text,
    #[error("code")]
    #[problem(status = 404, code = "Not Found")]
    Code,
    #[error("unknown")]
    #[problem(status = 404, title = "Gone", status = 410)]
    Unknown,
    #[error("twice")]
    #[problem(status = 404)]
    #[problem(status = 404)]
    Twice,
}

#[derive(Debug, thiserror::Error, Problem)]
enum Codes {
    #[error("first")]
    #[problem(status = 404)]
    NotFound,
    #[error("second")]
    #[problem(status = 410, code = "not_found")]
    Second,
    #[error("third")]
    #[problem(status = 410)]
    Not_Found,
}

#[derive(Problem)]
union Either {
    a: u32,
    b: f32,
}

fn main() {}
