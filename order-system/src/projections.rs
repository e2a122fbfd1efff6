//! The read model of all orders: pages, filters and statistics.

use std::{hash::BuildHasher, mem::take};

use catga::{log::MAX_KEY, prelude::*};
use foldhash::fast::RandomState;
use hashbrown::{HashMap, HashTable};
use roaring::RoaringBitmap;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use uuid::Uuid;

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
    rows: Vec<Row>,
    /// The place of each order; its id is in its row only.
    places: HashTable<u32>,
    hasher: RandomState,
    by_status: [RoaringBitmap; Status::ALL.len()],
    /// How many orders each of these has: a bitmap adds that up anew each time it is asked.
    counts: [u64; Status::ALL.len()],
    by_customer: HashMap<Box<str>, RoaringBitmap, RandomState>,
    /// In ten-thousandths; of all orders that are not cancelled.
    revenue: i128,
    /// Where events are encoded, so that each row is kept at its exact length.
    buffer: Vec<u8>,
}

/// An order: its [id](encode_id) and then its events, each encoded. So the next event is appended, and none of what is
/// there is decoded before somebody looks at the order. It takes a quarter of the memory of a decoded one.
#[derive(Debug)]
struct Row {
    bytes: Box<[u8]>,
    version: u64,
    /// `None` until there is an event.
    status: Option<Status>,
}

/// All orders, for lists and statistics.
#[projection]
impl Projection for Orders {
    type Event = OrderEvent;
    const NAME: &'static str = "orders";
    /// To take in as many takes a tenth of a second.
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(100_000));

    fn apply(&mut self, recorded: &Recorded<OrderEvent>) {
        self.take_in(recorded.stream.key(), recorded.version, &recorded.event);
    }
}

impl Orders {
    fn take_in(&mut self, id: &str, version: u64, event: &OrderEvent) {
        let place = self.place(id);
        let row = &mut self.rows[place as usize];
        row.push(event, &mut self.buffer);
        row.version = version;
        let status = event.status();
        if let Some(before) = row.status.replace(status) {
            self.by_status[before as usize].remove(place);
            self.counts[before as usize] -= 1;
        }
        self.by_status[status as usize].insert(place);
        self.counts[status as usize] += 1;
        match event {
            OrderEvent::Created(created) => {
                self.revenue += i128::from(created.total.units());
                self.by_customer.entry_ref(&*created.customer_id).or_default().insert(place);
            }
            OrderEvent::Cancelled(_) => {
                self.revenue -= i128::from(self.order(place).total.units());
            }
            _ => {}
        }
    }

    /// The place of the order with this id, the next one if it is new.
    fn place(&mut self, id: &str) -> u32 {
        let mut buffer = [0; LONGEST_ID];
        let id = encode_id(id, &mut buffer);
        let Self { rows, places, hasher, .. } = self;
        let hash = hasher.hash_one(id);
        if let Some(&place) = places.find(hash, |&place| rows[place as usize].parts().0 == id) {
            return place;
        }
        let place = u32::try_from(rows.len()).expect("fewer than 2^32 orders fit in memory");
        rows.push(Row { bytes: id.into(), version: 0, status: None });
        places.insert_unique(hash, place, |&place| hasher.hash_one(rows[place as usize].parts().0));
        place
    }

    /// Makes what is known of an order from its row alone.
    fn index(&mut self, place: u32) {
        let Self { rows, places, hasher, .. } = self;
        let hash = |&place: &u32| hasher.hash_one(rows[place as usize].parts().0);
        places.insert_unique(hash(&place), place, hash);
        let Order { customer_id, status, total, .. } = self.order(place);
        let Some(status) = status else { return };
        self.by_status[status as usize].insert(place);
        self.counts[status as usize] += 1;
        self.by_customer.entry_ref(&*customer_id).or_default().insert(place);
        if status != Status::Cancelled {
            self.revenue += i128::from(total.units());
        }
    }

    fn view(&self, place: u32) -> OrderView {
        let row = &self.rows[place as usize];
        let id = decode_id(row.parts().0);
        OrderView { id, version: row.version, order: self.order(place).into() }
    }

    /// The order that a row's events make.
    fn order(&self, place: u32) -> Order {
        let mut events = self.rows[place as usize].parts().1;
        let mut order = Order::default();
        while !events.is_empty() {
            let event;
            (event, events) =
                postcard::take_from_bytes(events).expect("rows hold what `push` encoded");
            order.take_in(event);
        }
        order
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
        Stats { by_status: self.counts, revenue: self.revenue }
    }
}

/// A snapshot has the rows. All else is made of them.
impl Serialize for Orders {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.rows.serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Orders {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let rows = Vec::<Row>::deserialize(deserializer)?;
        let places = HashTable::with_capacity(rows.len());
        let mut orders = Self { rows, places, ..Self::default() };
        for place in 0..u32::try_from(orders.rows.len()).map_err(D::Error::custom)? {
            orders.index(place);
        }
        Ok(orders)
    }
}

impl Serialize for Row {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        (Raw(&self.bytes), self.version, self.status).serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let (bytes, version, status) = <(&[u8], u64, _)>::deserialize(deserializer)?;
        Ok(Self { bytes: bytes.into(), version, status })
    }
}

/// Bytes that are written at once, and not one by one.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
    }
}

impl Row {
    /// The id, and the events.
    fn parts(&self) -> (&[u8], &[u8]) {
        let length = match self.bytes[0] {
            UUID => size_of::<Uuid>(),
            length => usize::from(length),
        };
        self.bytes.split_at(1 + length)
    }

    /// Appends an event; `buffer` is any.
    fn push(&mut self, event: &OrderEvent, buffer: &mut Vec<u8>) {
        let event = loop {
            match postcard::to_slice(event, buffer) {
                Ok(event) => break event,
                Err(postcard::Error::SerializeBufferFull) => {
                    buffer.resize(256 + 2 * buffer.len(), 0);
                }
                Err(error) => unreachable!("an event has only plain fields: {error}"),
            }
        };
        let mut bytes = take(&mut self.bytes).into_vec();
        bytes.reserve_exact(event.len());
        bytes.extend_from_slice(event);
        self.bytes = bytes.into();
    }
}

/// The first byte of an id that is a UUID.
const UUID: u8 = 0;

const LONGEST_ID: usize = 1 + MAX_KEY;

/// An order's id as a row has it: the bytes of a UUID, less than half of its text, or else the text behind its length.
fn encode_id<'a>(id: &str, buffer: &'a mut [u8; LONGEST_ID]) -> &'a [u8] {
    let uuid = Uuid::try_parse(id).ok();
    // Only the text that it is written as: another one is another id.
    let uuid = uuid.filter(|uuid| uuid.hyphenated().encode_lower(&mut [0; 36]) == id);
    let (first, bytes) = match &uuid {
        Some(uuid) => (UUID, &uuid.as_bytes()[..]),
        None => (u8::try_from(id.len()).expect("a key is short"), id.as_bytes()),
    };
    buffer[0] = first;
    buffer[1..=bytes.len()].copy_from_slice(bytes);
    &buffer[..=bytes.len()]
}

fn decode_id(id: &[u8]) -> String {
    match id.split_first() {
        Some((&UUID, uuid)) => Uuid::from_slice(uuid).expect("it has 16 bytes").to_string(),
        Some((_, text)) => str::from_utf8(text).expect("it was text").to_owned(),
        None => unreachable!("an id has a first byte"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{events::*, money::Money, order::Item};

    const ORDERS: u64 = 60;

    fn id(order: u64) -> String {
        if order.is_multiple_of(2) {
            Uuid::from_u128(order.into()).to_string()
        } else {
            format!("o{order}")
        }
    }

    fn event(order: u64, version: u64) -> OrderEvent {
        let at = Timestamp::from_micros(1_700_000_000_000_000);
        match (version, order % 4) {
            (1, _) => {
                let price = Money::parse("1.5").unwrap();
                let (product_id, name) = (format!("p{order}"), "Füller".to_owned());
                let items = vec![Item { product_id, name, quantity: 1, price }];
                let customer_id = format!("c{}", order % 7);
                OrderCreated { customer_id, items, total: price, created_at: at }.into()
            }
            (2, 0) => OrderCancelled { reason: None, cancelled_at: at }.into(),
            (2, _) => OrderPaid { payment_method: "card".to_owned(), paid_at: at }.into(),
            (3, 1) => OrderCancelled { reason: Some("late".to_owned()), cancelled_at: at }.into(),
            (3, _) => OrderShipped { tracking_number: id(order), shipped_at: at }.into(),
            _ => OrderDelivered { delivered_at: at }.into(),
        }
    }

    fn apply(orders: &mut Orders, order: u64, version: u64) {
        orders.take_in(&id(order), version, &event(order, version));
    }

    /// All that one can ask.
    fn answers(orders: &Orders) -> impl PartialEq + std::fmt::Debug + use<> {
        let page = |status, customer_id| {
            let page = orders.page(&ListOrders { status, customer_id, before: None, limit: 1000 });
            (page.orders, page.total, page.next)
        };
        let mut pages = vec![page(None, None)];
        pages.extend(Status::ALL.map(|status| page(Some(status), None)));
        pages.extend((0..8).map(|customer| page(None, Some(format!("c{customer}")))));
        (pages, orders.stats())
    }

    #[test]
    fn a_snapshot_shows_the_same_and_goes_on_in_the_same_way() {
        let last = |order: u64| match order % 4 {
            0 => 2,
            1 => 3,
            _ => 4,
        };
        let mut orders = Orders::default();
        for version in 1..=4 {
            for order in (0..ORDERS).filter(|&order| version <= last(order)) {
                apply(&mut orders, order, version);
                if order % 9 == version {
                    let bytes = postcard::to_stdvec(&orders).unwrap();
                    let restored: Orders = postcard::from_bytes(&bytes).unwrap();
                    assert_eq!(answers(&restored), answers(&orders));
                    orders = restored;
                }
            }
        }
        let pages = answers(&orders);
        let mut replayed = Orders::default();
        for order in 0..ORDERS {
            apply(&mut replayed, order, 1);
        }
        for order in 0..ORDERS {
            (2..=last(order)).for_each(|version| apply(&mut replayed, order, version));
        }
        assert_eq!(answers(&replayed), pages);
    }
}
