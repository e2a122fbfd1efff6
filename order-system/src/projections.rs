//! The read model of all orders: pages, filters and statistics.

use catga::{
    prelude::*,
    read_model::{Row, Table},
};
use serde::{Deserialize, Serialize};

use crate::domain::{
    events::OrderEvent,
    order::{Order, OrderView, Status},
    queries::{ListOrders, OrderPage, Stats},
};

/// All orders, in the order they were made.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Orders {
    table: Table<OrderRow>,
}

/// An order in the list.
#[derive(Debug, Default, Serialize, Deserialize)]
struct OrderRow {
    version: u64,
    order: Order,
}

/// What orders are listed by.
#[derive(Debug, Serialize)]
enum By<'a> {
    Status(Status),
    Customer(&'a str),
}

impl Row for OrderRow {
    type Key = String;
    type Index<'a> = By<'a>;

    fn indexes(&self) -> impl IntoIterator<Item = By<'_>> {
        let status = self.order.status.map(By::Status);
        status.into_iter().chain([By::Customer(&self.order.customer_id)])
    }

    fn amount(&self) -> i128 {
        self.order.total.units().into()
    }
}

/// All orders, for lists and statistics.
#[projection]
impl Projection for Orders {
    type Event = OrderEvent;
    const NAME: &'static str = "orders";
    /// To take in as many takes a tenth of a second.
    const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(100_000));

    fn apply(&mut self, recorded: &Recorded<OrderEvent>) {
        self.take_in(recorded.stream.key(), recorded.version.get(), &recorded.event);
    }
}

impl Orders {
    fn take_in(&mut self, id: &str, version: u64, event: &OrderEvent) {
        self.table.update(id, |row| {
            row.version = version;
            row.order.take_in(event.clone());
        });
    }

    /// The page that `query` asks for.
    pub(crate) fn page(&self, query: &ListOrders) -> OrderPage {
        let status = query.status.map(By::Status);
        let customer = query.customer_id.as_deref().map(By::Customer);
        let select = self.table.select().filter(status).filter(customer);
        let page = select.after(query.cursor).page(query.limit.0);
        let view =
            |(id, OrderRow { version, order })| OrderView { id, version, order: order.into() };
        OrderPage {
            orders: page.rows.into_iter().map(view).collect(),
            total: page.total,
            next: page.next,
        }
    }

    pub(crate) fn stats(&self) -> Stats {
        let totals = Status::ALL.map(|status| self.table.totals_of(By::Status(status)));
        let cancelled = totals[Status::Cancelled as usize].amount;
        Stats {
            by_status: totals.map(|totals| totals.rows),
            revenue: self.table.totals().amount - cancelled,
        }
    }
}

#[cfg(test)]
mod tests {
    use catga_axum::Limit;
    use uuid::Uuid;

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
            let page =
                orders.page(&ListOrders { status, customer_id, cursor: None, limit: Limit(1000) });
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
