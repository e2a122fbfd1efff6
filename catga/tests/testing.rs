//! Tests as a user writes them: of handlers as functions, and of a small process from end to end.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use catga::{
    Consistency, DeliverySettings, Error,
    prelude::*,
    testing::{given, project},
};
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "Booked", version = 1)]
struct Booked {
    seats: u64,
    at: Timestamp,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Event)]
#[event(name = "Billed", version = 1)]
struct Billed {
    cents: u64,
}

#[derive(Debug, Clone, PartialEq, Event)]
enum TripEvent {
    Booked(Booked),
    Billed(Billed),
}

#[derive(Debug, Clone, Default)]
struct Trip {
    seats: u64,
    cents: u64,
}

impl Aggregate for Trip {
    type Event = TripEvent;
    const NAME: &'static str = "trip";

    fn apply(&mut self, event: TripEvent) {
        match event {
            TripEvent::Booked(booked) => self.seats += booked.seats,
            TripEvent::Billed(billed) => self.cents += billed.cents,
        }
    }
}

#[derive(Debug, thiserror::Error, PartialEq)]
#[error("there are no more seats")]
struct Full;

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "trip.book")]
struct Book {
    #[key]
    trip: String,
    seats: u64,
}

#[command_handler]
fn book(book: Book, clock: &Clock, trip: &mut Root<Trip>) -> Result<u64, Full> {
    if trip.seats + book.seats > 10 {
        return Err(Full);
    }
    trip.record(Booked { seats: book.seats, at: clock.now() });
    Ok(trip.seats)
}

#[derive(Debug, Clone, Serialize, Command)]
#[command(name = "trip.bill")]
struct Bill {
    #[key]
    trip: String,
    cents: u64,
}

#[command_handler]
async fn bill(bill: Bill, trip: &mut Root<Trip>) -> Result<(), Error> {
    tokio::task::yield_now().await;
    trip.record(Billed { cents: bill.cents });
    Ok(())
}

#[derive(Debug, Query)]
#[query(name = "trip.seats")]
struct GetSeats {
    #[key]
    trip: String,
}

#[query_handler]
fn get_seats(_: GetSeats, trip: &Root<Trip>) -> Result<u64, Error> {
    Ok(trip.seats)
}

#[derive(Debug, Default, PartialEq)]
struct Takings {
    cents: u64,
}

/// What was billed.
#[projection]
impl Projection for Takings {
    type Event = TripEvent;
    const NAME: &'static str = "takings";

    fn apply(&mut self, recorded: &Recorded<TripEvent>) {
        if let TripEvent::Billed(billed) = &recorded.event {
            self.cents += billed.cents;
        }
    }
}

#[derive(Debug, Query)]
#[query(name = "trip.takings")]
struct GetTakings;

#[query_handler]
fn get_takings(_: GetTakings, takings: &ReadModel<Takings>) -> Result<u64, Error> {
    Ok(takings.read().cents)
}

/// What was sent to whom.
#[derive(Debug, Clone, Default)]
struct Outbox(Arc<Mutex<Vec<String>>>);

/// A process: what is booked is billed.
#[event_handler(name = "biller")]
async fn bill_what_is_booked(booked: Recorded<Booked>, catga: &Catga) -> Result<(), Error> {
    let bill = Bill { trip: booked.stream.key().to_owned(), cents: 100 * booked.seats };
    catga.send(bill).id(booked.id.to_string()).caused_by(&booked).await
}

/// Tells the customer.
#[event_handler(name = "teller")]
async fn tell(billed: Recorded<Billed>, outbox: &State<Outbox>) -> Result<(), Full> {
    tokio::task::yield_now().await;
    if billed.cents == 1_000 {
        return Err(Full);
    }
    let Recorded { stream, attempt, .. } = &billed;
    let told = format!("{}: {} cents, attempt {attempt}", stream.key(), billed.cents);
    outbox.0.lock().unwrap().push(told);
    Ok(())
}

fn noon() -> Timestamp {
    Timestamp::from_micros(1_700_000_000_000_000)
}

fn booked(seats: u64) -> Booked {
    Booked { seats, at: noon() }
}

#[tokio::test]
async fn handlers_are_tested_as_functions() {
    let clock = Clock::manual(noon());
    let command = |seats| Book { trip: "a".to_owned(), seats };
    given::<Trip>([booked(4)])
        .when(|trip| book(command(6), &clock, trip))
        .then([booked(6)])
        .then_answer(10);
    given::<Trip>([booked(4)]).when(|trip| book(command(7), &clock, trip)).then_error(Full);
    given::<Trip>([booked(4)])
        .when_async(async |trip| bill(Bill { trip: "a".to_owned(), cents: 3 }, trip).await)
        .await
        .then([Billed { cents: 3 }]);

    let trip = Root::<Trip>::given([TripEvent::from(booked(4)), Billed { cents: 3 }.into()]);
    assert_eq!((trip.version().get(), trip.recorded().unwrap().len()), (2, 0));
    assert_eq!(get_seats(GetSeats { trip: "a".to_owned() }, &trip).unwrap(), 4);

    let event =
        |version, cents| Recorded::new("trip/a", version, TripEvent::from(Billed { cents }));
    let takings: Takings = project([event(1.into(), 3), event(2.into(), 4)]);
    assert_eq!(takings, Takings { cents: 7 });
    assert_eq!(get_takings(GetTakings, &ReadModel::of(takings)).unwrap(), 7);

    let outbox = State::new(Outbox::default());
    let mut billed = Recorded::new("trip/a", 9.into(), Billed { cents: 3 });
    assert_eq!((billed.version.get(), billed.position.get(), billed.attempt), (9, 9, 1));
    assert_eq!(billed.origin().command_id, None);
    billed.attempt = 2;
    tell(billed, &outbox).await.unwrap();
    assert_eq!(*outbox.0.lock().unwrap(), ["a: 3 cents, attempt 2"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_is_tested_from_end_to_end() {
    let (outbox, clock) = (Outbox::default(), Clock::manual(noon()));
    let delivery = DeliverySettings {
        attempts: 2,
        first_delay: Duration::from_millis(1),
        ..DeliverySettings::default()
    };
    let builder = Catga::builder().state(outbox.clone()).clock(clock.clone());
    let catga = builder.delivery(delivery).start().await.unwrap();
    catga.idle().await.unwrap();
    for trip in 0..20 {
        catga.send(Book { trip: trip.to_string(), seats: 1 }).await.unwrap();
        // What is booked, what is billed for it, and what is told of that: all of it is done.
        catga.idle().await.unwrap();
        let told = outbox.0.lock().unwrap().last().cloned();
        assert_eq!(told, Some(format!("{trip}: 100 cents, attempt 1")));
        let takings = catga.query(GetTakings).consistency(Consistency::Eventual);
        assert_eq!(takings.await.unwrap(), 100 * (trip + 1));
    }
    clock.advance(Duration::from_secs(60));
    catga.send(Book { trip: "big".to_owned(), seats: 10 }).await.unwrap();
    catga.idle().await.unwrap();
    let record = catga.store().read_log(40.into(), 1).await.unwrap().remove(0);
    let later = Timestamp::from_micros(noon().as_micros() + 60_000_000);
    assert_eq!(record.commit().unwrap().time, later);
    // What can't be handled is parked by then.
    let letters = catga.dead_letters(Consistency::Eventual).await.unwrap();
    assert_eq!((letters.len(), letters[0].attempts), (1, 2));
    assert_eq!(outbox.0.lock().unwrap().len(), 20);
    catga.shutdown().await;
}
