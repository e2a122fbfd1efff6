//! Catga under another name.
#![deny(warnings, clippy::all)]
#![allow(dead_code)]

extern crate catga as other;

use other::prelude::*;

#[other::event(crate = other)]
enum Happened {
    Changed { to: u32 },
    Ended,
}

#[derive(Default, Clone)]
struct Thing(u32);

impl Aggregate for Thing {
    type Event = Happened;
    const NAME: &'static str = "thing";

    fn apply(&mut self, event: Happened) {
        if let Happened::Changed { to } = event {
            self.0 = to;
        }
    }
}

#[other::command(crate = other)]
struct Change(#[key] String, u32);

#[command_handler(creates, crate = other)]
fn change(Change(_, to): Change, thing: &mut Root<Thing>) -> u32 {
    thing.record(Happened::Changed { to });
    thing.0
}

#[other::query(crate = other, name = "thing.get")]
struct Get(#[key] u32);

#[query_handler(crate = other)]
fn get(_: Get, thing: &Root<Thing>) -> u32 {
    thing.0
}

#[event_handler(name = "things", crate = other)]
fn see(_: Recorded<Happened>) {}

#[derive(Default)]
struct Count(u32);

#[projection(crate = other)]
impl Projection for Count {
    type Event = Happened;
    const NAME: &'static str = "count";

    fn apply(&mut self, _: &Recorded<Happened>) {
        self.0 += 1;
    }
}

#[test]
fn what_the_macros_write_finds_the_crate() {
    assert_eq!((Change::NAME, Get::NAME), ("Change", "thing.get"));
}
