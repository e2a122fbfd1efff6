//! `#[problem(extra)]` with mistakes.
#![allow(unused)]

use catga_axum::Problem;

#[derive(Debug, thiserror::Error, Problem)]
enum Reserved {
    #[error("field")]
    #[problem(status = 409)]
    Field {
        #[problem(extra)]
        status: u16,
        #[problem(extra)]
        r#type: u16,
    },
    #[error("names")]
    #[problem(status = 409)]
    Names(
        #[problem(extra = "title")] u8,
        #[problem(extra = "detail")] u8,
        #[problem(extra = "instance")] u8,
        #[problem(extra = "code")] u8,
    ),
}

#[derive(Debug, thiserror::Error, Problem)]
#[error("names")]
#[problem(status = 409)]
struct Names {
    #[problem(extra = "two words")]
    words: u8,
    #[problem(extra = "")]
    empty: u8,
    #[problem(extra = "1st")]
    first: u8,
    #[problem(extra = 1)]
    number: u8,
    #[problem(extra)]
    taken: u8,
    #[problem(extra = "taken")]
    again: u8,
    #[problem(schema = u8)]
    lonely: u8,
    #[problem(extra, name = "x")]
    unknown: u8,
    #[problem]
    bare: u8,
}

#[derive(Debug, thiserror::Error, Problem)]
#[error("unnamed")]
#[problem(status = 409)]
struct Unnamed(#[problem(extra)] u8);

fn main() {}
