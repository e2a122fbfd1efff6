//! Every shape that a problem can have.
#![deny(warnings, clippy::all)]
#![allow(dead_code)]

use catga_axum::{Problem, problem::ProblemDetails};
use schemars::JsonSchema;
use serde::Serialize;

#[allow(unreachable_pub, reason = "it stands for another crate")]
mod renamed {
    pub use catga_axum as kit;
}

#[derive(Debug, thiserror::Error, Problem)]
#[error("unit")]
#[problem(status = 404)]
struct Unit;

#[derive(Debug, thiserror::Error, Problem)]
#[error("tuple")]
#[problem(code = "some-code_9", status = 599, crate = renamed::kit,)]
struct Tuple(#[problem(extra = "first")] u32, String);

#[derive(Debug, thiserror::Error, Problem)]
#[error("generic")]
#[problem(status = 400)]
struct Generic<T>
where
    T: std::fmt::Debug + Serialize + JsonSchema + Send + Sync + 'static,
{
    #[problem(extra)]
    value: Option<T>,
}

#[derive(Debug, Serialize)]
struct Undescribed;

#[derive(Debug, thiserror::Error, Problem)]
#[problem(crate = crate::renamed::kit)]
enum Error {
    #[error("unit")]
    #[problem(status = 400)]
    Unit,
    #[error("tuple")]
    #[problem(status = 400, code = "unit")]
    Tuple(u8, #[problem(extra = "second")] &'static str),
    #[error("named {members}")]
    #[problem(status = 500)]
    r#Named {
        #[problem(extra)]
        members: u8,
        #[problem(extra = "camelCase", schema = String)]
        undescribed: Undescribed,
        member0: u8,
    },
    #[error("only")]
    #[problem(status = 403)]
    Only {
        #[problem(extra)]
        r#loop: u8,
    },
}

#[derive(Debug, thiserror::Error, Problem)]
enum Never {}

#[test]
fn every_shape_has_its_status_and_code() {
    assert_eq!((Unit.status(), Unit.code()), (404, "unit"));
    let tuple = Tuple(1, String::new());
    assert_eq!((tuple.status(), tuple.code()), (599, "some-code_9"));
    let named = Error::Tuple(1, "two");
    assert_eq!((named.status(), named.code()), (400, "unit"));
}
