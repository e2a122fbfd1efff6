//! The read model of all orders: pages, filters and statistics.

use catga::{
    prelude::*,
    read_model::{Row, Table},
};
use catga_axum::Page;
use serde::{Deserialize, Serialize};

use crate::domain::*;

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
        self.table.update(recorded.stream.key(), |row| {
            row.version = recorded.version.get();
            row.order.apply(recorded.event.clone());
        });
    }
}

impl Orders {
    /// The page that `query` asks for.
    pub fn page(&self, query: &ListOrders) -> Page<OrderView> {
        let status = query.status.map(By::Status);
        let customer = query.customer_id.as_deref().map(By::Customer);
        let select = self.table.select().filter(status).filter(customer);
        let page = select.after(query.cursor).page(query.limit.0);
        Page::of(page, |(id, row)| OrderView { id, version: row.version, state: row.order.into() })
    }

    /// How many there are at `timestamp`, and what they are worth.
    pub fn stats(&self, timestamp: Timestamp) -> Stats {
        let of = |status| self.table.totals_of(By::Status(status));
        let all = self.table.totals();
        Stats {
            total_orders: all.rows,
            by_status: Status::ALL.map(|status| (status, of(status).rows)).into(),
            total_revenue: MoneySum(all.amount - of(Status::Cancelled).amount),
            timestamp,
        }
    }
}
