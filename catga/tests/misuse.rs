//! What the compiler can't see: each mistake is one start error that names the places, or an error at once.

use catga::{StartError, prelude::*};

// A crate that brings no handlers.
catga::handlers!(tempfile);

#[catga::event]
enum Happened {
    MisuseHappened,
}

#[catga::event]
enum AlsoHappened {
    #[event(name = "MisuseHappened")]
    Again,
}

macro_rules! aggregate {
    ($($ty:ident is $name:literal),*) => {$(
        #[derive(Debug, Clone, Default)]
        struct $ty;

        impl Aggregate for $ty {
            type Event = Happened;
            const NAME: &'static str = $name;

            fn apply(&mut self, _: Happened) {}
        }
    )*};
}
aggregate!(Order is "order", Booking is "order", Customer is "customer", Shelf is "shelf");

#[catga::command]
struct Book {
    #[key]
    booking: String,
}

#[command_handler]
fn book(_: Book, booking: &mut Root<Booking>) {
    booking.record(Happened::MisuseHappened);
}

#[catga::command]
struct Place {
    #[key]
    order: String,
}

#[command_handler]
fn place(_: Place, order: &mut Root<Order>, _: &Root<Customer>) {
    order.record(Happened::MisuseHappened);
}

#[catga::query]
struct Look {
    #[key(Customer)]
    customer: String,
}

#[query_handler]
fn look(_: Look, _: &State<std::sync::Mutex<u32>>, _: &Root<Customer>, _: &History<Shelf>) -> u32 {
    0
}

#[tokio::test]
async fn every_mistake_is_a_start_error_that_names_the_places() {
    let error = Catga::builder().start().await.expect_err("nothing here is right");
    let StartError::Incomplete(problems) = &error else { panic!("{error}") };
    let wanted: [&[&str]; 6] = [
        &[
            "two aggregates have the NAME `order`",
            "misuse::Order",
            "misuse::Booking",
            "place",
            "book",
        ],
        &["place", "Customer", "by one key, `order`", "#[key(Customer)]"],
        &["look", "`&State<std::sync::poison::mutex::Mutex<u32>>`", ".state(..)"],
        &["look", "`misuse::Shelf`", "#[key]"],
        &[
            "two of kind event",
            "`MisuseHappened`",
            "Happened::MisuseHappened",
            "AlsoHappened::Again",
        ],
        &["`catga::handlers!` names `tempfile`", "misuse.rs:6"],
    ];
    for parts in wanted {
        let tells = |problem: &&String| parts.iter().all(|part| problem.contains(part));
        assert_eq!(problems.iter().filter(tells).count(), 1, "{parts:?} in {error}");
    }
    assert_eq!(problems.len(), wanted.len(), "{error}");
    assert_eq!(format!("{error:?}"), error.to_string(), "`main` prints what to do");
}
