//! Tests of handlers: they stay functions, so a test calls them with what it makes by hand.
//!
//! Run it with `cargo run -p catga --example testing`; in a program each function below `main` is a `#[test]`.
use std::time::Duration;

use catga::{
    ensure,
    prelude::*,
    testing::{given, project},
};

#[catga::event]
enum LoanEvent {
    Lent { at: Timestamp },
    Returned,
}

#[derive(Debug, PartialEq, thiserror::Error)]
#[error("the book is not here")]
struct NotHere;

#[derive(Debug, Clone, Default)]
struct Book {
    is_lent: bool,
}

impl Aggregate for Book {
    type Event = LoanEvent;
    const NAME: &str = "book";
    fn apply(&mut self, event: LoanEvent) {
        self.is_lent = matches!(event, LoanEvent::Lent { .. });
    }
}

#[catga::command]
struct Lend(#[key] u64);

#[command_handler]
fn lend(_: Lend, book: &mut Root<Book>, clock: &Clock) -> Result<(), NotHere> {
    ensure!(!book.is_lent, NotHere);
    book.record(LoanEvent::Lent { at: clock.now() });
    Ok(())
}

#[derive(Debug, Default)]
struct Loans(u64);

#[projection]
impl Projection for Loans {
    type Event = LoanEvent;
    const NAME: &str = "loans";
    fn apply(&mut self, recorded: &Recorded<LoanEvent>) {
        self.0 += u64::from(matches!(recorded.event, LoanEvent::Lent { .. }));
    }
}

#[catga::query]
struct CountLoans;

#[query_handler]
fn count_loans(_: CountLoans, loans: &ReadModel<Loans>) -> u64 {
    loans.read().0
}

fn a_book_is_lent_once() {
    let clock = Clock::manual(Timestamp::from_micros(0));
    clock.advance(Duration::from_secs(1));
    let lent = LoanEvent::Lent { at: Timestamp::from_micros(1_000_000) };
    given::<Book>([lent.clone(), LoanEvent::Returned])
        .when(|book| lend(Lend(1), book, &clock))
        .then([lent.clone()]);
    given::<Book>([lent]).when(|book| lend(Lend(1), book, &clock)).then_error(NotHere);
}

fn loans_are_counted() {
    let lent = LoanEvent::Lent { at: Timestamp::from_micros(0) };
    let loans: Loans = project([
        Recorded::new("book/1", 1.into(), lent),
        Recorded::new("book/1", 2.into(), LoanEvent::Returned),
    ]);
    assert_eq!(count_loans(CountLoans, &ReadModel::of(loans)), 1);
}

fn main() {
    a_book_is_lent_once();
    loans_are_counted();
}
