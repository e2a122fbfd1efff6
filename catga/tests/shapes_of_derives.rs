//! Every shape that a message or an event can have.
#![deny(warnings, clippy::all)]
#![allow(dead_code)]

use catga::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Debug, Clone, Serialize, Command)]
struct Unit;

#[derive(Debug, Clone, Serialize, Command)]
#[command(validate, name = "a.B_9-c")]
pub(crate) struct Tuple(u32, #[key] &'static str);

impl Validate for Tuple {
    fn problems(&self) -> Vec<FieldError> {
        Vec::new()
    }
}

#[derive(Debug, Query)]
#[query(name = "named")]
struct Named {
    #[key]
    r#type: Box<str>,
}

#[derive(Serialize, Deserialize)]
struct V1;

#[derive(Serialize, Deserialize)]
struct V2(Option<Box<str>>);

#[derive(Clone, Serialize, Deserialize, Event)]
#[event(name = "today", version = 3, upcast(1 = V1, 2 = V2,))]
struct Today;

impl From<V1> for Today {
    fn from(_: V1) -> Self {
        Self
    }
}

impl From<V2> for Today {
    fn from(_: V2) -> Self {
        Self
    }
}

#[derive(Serialize, Deserialize, Event)]
#[event(name = "raw", version = 1)]
struct Raw {
    r#type: u8,
}

#[derive(Event)]
enum Events {
    Today(Today),
    r#Raw(Raw),
}

#[derive(Default)]
struct Projected;

#[projection]
impl Projection for Projected {
    type Event = Events;
    const NAME: &'static str = "projected";

    fn apply(&mut self, _: &Recorded<Events>) {}
}

#[test]
fn every_shape_has_its_name() {
    assert_eq!((Unit::NAME, Tuple::NAME, Named::NAME), ("Unit", "a.B_9-c", "named"));
}
