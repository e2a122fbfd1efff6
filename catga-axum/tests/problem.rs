//! What an error with the derive answers.

use catga_axum::{
    Problem,
    openapi::{Info, Operation, document},
    problem::ProblemDetails,
};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::json;

/// Where a book is.
#[derive(Debug, Serialize, JsonSchema)]
enum Shelf {
    Lent,
}

/// Serializes, and has no schema of its own.
#[derive(Debug, Serialize)]
struct Days(u32);

#[derive(Debug, thiserror::Error, Problem)]
enum BookError {
    /// There is no such
    /// book.
    ///
    /// It may have been given away.
    #[error("no such book")]
    #[problem(status = 404, code = "book_not_found")]
    NotFound,
    /// The book is lent.
    #[error("the book is lent to {to}")]
    #[problem(status = 409)]
    NotHere {
        #[problem(extra = "whereItIs")]
        shelf: Shelf,
        to: &'static str,
        #[problem(extra, schema = u32)]
        days: Option<Days>,
    },
    #[error("{0} books are too many")]
    #[problem(status = 422)]
    TooMany(#[problem(extra = "asked")] u32, u32),
}

/// A book got lost.
#[derive(Debug, thiserror::Error, Problem)]
#[error("lost")]
#[problem(status = 410)]
struct BookLost;

#[test]
fn each_variant_has_its_status_and_code() {
    let answers = |error: &BookError| (error.status(), error.code());
    assert_eq!(answers(&BookError::NotFound), (404, "book_not_found"));
    let lent = BookError::NotHere { shelf: Shelf::Lent, to: "Ada", days: None };
    assert_eq!(answers(&lent), (409, "not_here"));
    assert_eq!(answers(&BookError::TooMany(9, 3)), (422, "too_many"));
    assert_eq!((BookLost.status(), BookLost.code()), (410, "book_lost"));
}

#[test]
fn marked_fields_are_members_and_none_is_left_out() {
    assert_eq!(BookError::NotFound.extra(), []);
    assert_eq!(BookLost.extra(), []);
    assert_eq!(BookError::TooMany(9, 3).extra(), [("asked", json!(9))]);
    let lent = |days| BookError::NotHere { shelf: Shelf::Lent, to: "Ada", days };
    assert_eq!(lent(None).extra(), [("whereItIs", json!("Lent"))]);
    assert_eq!(lent(Some(Days(3))).extra(), [("whereItIs", json!("Lent")), ("days", json!(3))]);
}

#[test]
fn kinds_are_what_the_document_says() {
    let kinds: Vec<_> = BookError::KINDS
        .iter()
        .map(|kind| (kind.status, kind.code, kind.description, kind.extra.len()))
        .collect();
    assert_eq!(
        kinds,
        [
            (404, "book_not_found", "There is no such book.", 0),
            (409, "not_here", "The book is lent.", 2),
            (422, "too_many", "", 1),
        ]
    );
    let operation = Operation {
        method: http::Method::GET,
        path: "/books".into(),
        id: "books".into(),
        summary: String::new(),
        description: String::new(),
        tag: String::new(),
        parameters: Vec::new(),
        request: None,
        responses: Vec::new(),
        problems: [BookError::KINDS, BookLost::KINDS].concat(),
    };
    let info = Info { title: "Library".into(), version: "1".into(), description: String::new() };
    let document = document(&info, &[operation]);
    let responses = &document["components"]["responses"];
    let members = |name: &str| {
        responses[name]["content"]["application/problem+json"]["schema"]["allOf"][1]["properties"]
            .clone()
    };
    let lent = members("NotHere");
    assert_eq!(lent["whereItIs"], json!({ "$ref": "#/components/schemas/Shelf" }));
    assert_eq!(lent["days"]["type"], "integer");
    assert_eq!(members("TooMany")["asked"]["type"], "integer");
    assert_eq!(responses["BookLost"]["description"], "A book got lost (`book_lost`).");
}
