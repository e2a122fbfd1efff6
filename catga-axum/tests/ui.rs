//! What the compiler says to users of the derive, word for word.
//!
//! After a change of a message or of the compiler, `TRYBUILD=overwrite cargo test -p catga-axum --test ui` rewrites
//! the `.stderr` files; read the difference as somebody who made that mistake.

#[test]
fn every_mistake_is_reported_where_it_is_with_what_to_write() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/ui/pass/*.rs");
    cases.compile_fail("tests/ui/fail/*.rs");
}
