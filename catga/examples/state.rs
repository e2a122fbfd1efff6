//! What handlers take besides catga's own: a value of the program as `&State<T>`, and a parameter of one's own.
//!
//! Run it with `cargo run -p catga --example state`.
use std::time::Duration;

use catga::{
    handler::{Context, FromContext, Interrupt, Setup},
    prelude::*,
};

/// Prices for a kilometre.
struct Tariffs {
    day: Tariff,
    night: Tariff,
}

#[derive(Debug)]
struct Tariff {
    cents: u64,
}

/// Handlers take `&Tariff`: the one that is in force now.
impl<M: Sync> FromContext<M> for Tariff {
    type Held<'c> = &'c Self;

    async fn extract<'c>(cx: &'c Context<'c>, message: &M) -> Result<&'c Self, Interrupt> {
        let tariffs = <State<Tariffs> as FromContext<M>>::extract(cx, message).await?;
        let clock = <Clock as FromContext<M>>::extract(cx, message).await?;
        let hour = clock.now().as_micros() / 3_600_000_000 % 24;
        Ok(if (6..22).contains(&hour) { &tariffs.day } else { &tariffs.night })
    }

    /// Makes it an error at the start when the program has no `Tariffs`.
    fn declare(setup: &mut Setup<'_>) {
        setup.state::<Tariffs>();
    }
}

#[catga::query]
struct Fare {
    kilometres: u64,
}

#[query_handler]
fn fare(query: Fare, tariff: &Tariff) -> u64 {
    query.kilometres * tariff.cents
}

#[catga::query]
struct DayTariff;

#[query_handler]
fn day_tariff(_: DayTariff, tariffs: &State<Tariffs>) -> u64 {
    tariffs.day.cents
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let error = Catga::builder().start().await.unwrap_err();
    assert!(error.to_string().contains("Tariffs"), "{error}");

    let midnight = Clock::manual(Timestamp::from_micros(0));
    let tariffs = Tariffs { day: Tariff { cents: 200 }, night: Tariff { cents: 300 } };
    let catga = Catga::builder().state(tariffs).clock(midnight.clone()).start().await?;
    assert_eq!(catga.query(DayTariff).await?, 200);
    assert_eq!(catga.query(Fare { kilometres: 5 }).await?, 1500);
    midnight.advance(Duration::from_secs(12 * 60 * 60));
    assert_eq!(catga.query(Fare { kilometres: 5 }).await?, 1000);
    catga.shutdown().await;
    Ok(())
}
