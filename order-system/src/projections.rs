//! The read model of all orders: pages, filters and statistics.

use std::{collections::HashMap, mem::take};

use catga::prelude::*;
use foldhash::fast::RandomState;
use roaring::RoaringBitmap;
use serde::Serialize;

use crate::domain::{
    commands::OrderView,
    events::OrderEvent,
    order::{Item, Order, Status},
    queries::{ListOrders, OrderPage, Stats},
};

/// All orders, in the order they were made. An order's place in it never changes, so a place is a
/// good cursor; new orders come before all pages.
#[derive(Debug, Default)]
pub struct Orders {
    /// Each order, encoded: a third of the memory of the decoded one. First its view without what stays as it was
    /// made, and then that, which the events after the first need not decode.
    rows: Vec<Box<[u8]>>,
    /// The place of each order.
    places: HashMap<Box<str>, u32, RandomState>,
    by_status: [RoaringBitmap; Status::ALL.len()],
    by_customer: HashMap<Box<str>, RoaringBitmap, RandomState>,
    /// In ten-thousandths; of all orders that are not cancelled.
    revenue: i128,
    /// Where rows are encoded, so that each is kept at its exact length.
    buffer: Vec<u8>,
}

/// What stays of an order as it was made: its id, its customer, its items.
type Made = (String, String, Vec<Item>);

/// All orders, for lists and statistics.
#[projection]
impl Projection for Orders {
    type Event = OrderEvent;
    const NAME: &'static str = "orders";

    fn apply(&mut self, recorded: &Recorded<OrderEvent>) {
        let id = recorded.stream.key();
        let place = self.places.get(id).copied().unwrap_or_else(|| self.insert(id));
        let row = take(&mut self.rows[place as usize]);
        let (mut view, mut made) = split(&row);
        let before = view.order.status;
        view.order.apply(&recorded.event);
        view.version = recorded.version;
        if let Some(status) = before {
            self.by_status[status as usize].remove(place);
        }
        if let Some(status) = view.order.status {
            self.by_status[status as usize].insert(place);
        }
        let new: Box<[u8]>;
        match &recorded.event {
            OrderEvent::Created(created) => {
                self.revenue += i128::from(created.total.units());
                self.of_customer(&created.customer_id).insert(place);
                let order = &mut view.order;
                let (customer, items) = (take(&mut order.customer_id), take(&mut order.items));
                new = self.encode(&(id, customer, items), &[]);
                made = &new;
            }
            OrderEvent::Cancelled(_) => self.revenue -= i128::from(view.order.total.units()),
            _ => {}
        }
        self.rows[place as usize] = self.encode(&view, made);
    }
}

impl Orders {
    fn of_customer(&mut self, id: &str) -> &mut RoaringBitmap {
        // Most orders are those of somebody who is known, and a name is only copied for the others.
        if !self.by_customer.contains_key(id) {
            self.by_customer.insert(id.into(), RoaringBitmap::new());
        }
        self.by_customer.get_mut(id).expect("it is there")
    }

    /// Makes room for an order of which nothing is known yet but its id.
    fn insert(&mut self, id: &str) -> u32 {
        let place = u32::try_from(self.rows.len()).expect("fewer than 2^32 orders fit in memory");
        self.places.insert(id.into(), place);
        let made: Made = (id.to_owned(), String::new(), Vec::new());
        let view = OrderView { id: String::new(), version: 0, order: Order::default() };
        // A pair is its parts, one behind the other.
        let row = self.encode(&(view, made), &[]);
        self.rows.push(row);
        place
    }

    fn view(&self, place: u32) -> OrderView {
        let (mut view, made) = split(&self.rows[place as usize]);
        let made: Made = postcard::from_bytes(made).expect("rows hold what `apply` encoded");
        (view.id, view.order.customer_id, view.order.items) = made;
        view
    }

    /// `value`, and `made` behind it.
    fn encode(&mut self, value: &impl Serialize, made: &[u8]) -> Box<[u8]> {
        loop {
            match postcard::to_slice(value, &mut self.buffer) {
                Ok(value) => return [&*value, made].concat().into(),
                Err(postcard::Error::SerializeBufferFull) => {
                    self.buffer.resize(256 + 2 * self.buffer.len(), 0);
                }
                Err(error) => unreachable!("an order has only plain fields: {error}"),
            }
        }
    }

    /// The page that `query` asks for. It costs the rows it holds, however many orders there are.
    pub(crate) fn page(&self, query: &ListOrders) -> OrderPage {
        let end = u32::try_from(self.rows.len()).expect("fewer than 2^32 orders fit in memory");
        let before = query.before.map_or(end, |before| before.min(end));
        let status = query.status.map(|status| &self.by_status[status as usize]);
        let nobody = RoaringBitmap::new();
        let customer = query.customer_id.as_deref();
        let customer = customer.map(|id| self.by_customer.get(id).unwrap_or(&nobody));
        // One more than the page holds tells whether there is a next one.
        let wanted = query.limit + 1;
        let (mut places, total): (Vec<u32>, u64) = match (status, customer) {
            (None, None) => ((0..before).rev().take(wanted).collect(), self.rows.len() as u64),
            (Some(one), None) | (None, Some(one)) => {
                (one.range(..before).rev().take(wanted).collect(), one.len())
            }
            (Some(status), Some(customer)) => {
                let both = status & customer;
                (both.range(..before).rev().take(wanted).collect(), both.len())
            }
        };
        let next =
            if places.len() == wanted { places.pop().and(places.last().copied()) } else { None };
        OrderPage {
            orders: places.into_iter().map(|place| self.view(place)).collect(),
            total,
            next,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats { by_status: std::array::from_fn(|i| self.by_status[i].len()), revenue: self.revenue }
    }
}

/// The two parts of a row: the view without what is in the second one, the encoded [`Made`].
fn split(row: &[u8]) -> (OrderView, &[u8]) {
    postcard::take_from_bytes(row).expect("rows hold what `apply` encoded")
}
