//! What the compiler says to users of the macros, word for word.
//!
//! After a change of a message or of the compiler, `TRYBUILD=overwrite cargo test -p catga --test ui` rewrites
//! the `.stderr` files; read the difference as somebody who made that mistake.
//!
//! What is to compile is in test targets of its own: with one case that passes here, every case would be built alone.

#[test]
fn every_mistake_is_reported_where_it_is_with_what_to_write() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/ui/fail/*.rs");
}
