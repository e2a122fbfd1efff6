//! Errors over HTTP, as problems ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).

mod answer;
mod details;

#[doc(hidden)]
pub use self::details::__private;
pub use self::details::{ExtraMember, ProblemDetails, ProblemKind};

pub use self::answer::Problem;
pub(crate) use self::answer::{Failure, Lookup, lookup};
