//! The read model of all orders: pages, filters and statistics.

use std::collections::HashMap;

use catga::prelude::*;
use foldhash::fast::RandomState;
use roaring::RoaringBitmap;

use crate::domain::{
    commands::OrderView,
    events::OrderEvent,
    order::{Order, Status},
    queries::{ListOrders, OrderPage, Stats},
};

/// All orders, in the order they were made. An order's place in it never changes, so a place is a
/// good cursor; new orders come before all pages.
#[derive(Debug, Default)]
pub struct Orders {
    /// Each order, encoded: a third of the memory of the decoded one.
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

/// All orders, for lists and statistics.
#[projection]
impl Projection for Orders {
    type Event = OrderEvent;
    const NAME: &'static str = "orders";

    fn apply(&mut self, recorded: &Recorded<OrderEvent>) {
        let id = recorded.stream.key();
        let (place, mut view) = match self.places.get(id) {
            Some(&place) => (place, self.row(place)),
            None => self.insert(id),
        };
        let before = view.order.status;
        view.order.apply(&recorded.event);
        view.version = recorded.version;
        if let Some(status) = before {
            self.by_status[status as usize].remove(place);
        }
        if let Some(status) = view.order.status {
            self.by_status[status as usize].insert(place);
        }
        match &recorded.event {
            OrderEvent::Created(created) => {
                self.revenue += i128::from(created.total.units());
                self.of_customer(&created.customer_id).insert(place);
            }
            OrderEvent::Cancelled(_) => self.revenue -= i128::from(view.order.total.units()),
            _ => {}
        }
        self.rows[place as usize] = self.encode(&view);
    }
}

impl Orders {
    fn encode(&mut self, view: &OrderView) -> Box<[u8]> {
        loop {
            match postcard::to_slice(view, &mut self.buffer) {
                Ok(row) => return (&*row).into(),
                Err(postcard::Error::SerializeBufferFull) => {
                    self.buffer.resize(256 + 2 * self.buffer.len(), 0);
                }
                Err(error) => unreachable!("a view has only plain fields: {error}"),
            }
        }
    }

    fn of_customer(&mut self, id: &str) -> &mut RoaringBitmap {
        // Most orders are those of somebody who is known, and a name is only copied for the others.
        if !self.by_customer.contains_key(id) {
            self.by_customer.insert(id.into(), RoaringBitmap::new());
        }
        self.by_customer.get_mut(id).expect("it is there")
    }

    fn insert(&mut self, id: &str) -> (u32, OrderView) {
        let place = u32::try_from(self.rows.len()).expect("fewer than 2^32 orders fit in memory");
        self.places.insert(id.into(), place);
        self.rows.push(Box::default());
        (place, OrderView { id: id.to_owned(), version: 0, order: Order::default() })
    }

    fn row(&self, place: u32) -> OrderView {
        postcard::from_bytes(&self.rows[place as usize]).expect("rows hold what `apply` encoded")
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
        OrderPage { orders: places.into_iter().map(|place| self.row(place)).collect(), total, next }
    }

    pub(crate) fn stats(&self) -> Stats {
        Stats { by_status: std::array::from_fn(|i| self.by_status[i].len()), revenue: self.revenue }
    }
}
