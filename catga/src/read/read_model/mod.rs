//! A table for read models: rows by key, with secondary indexes, pages, and counts and sums that are always ready.
//!
//! A [`Projection`](crate::Projection) that keeps a [`Table`] updates one row with each event; a query handler asks for a
//! [page](Select::page) of the rows that have some [index entries](Row::indexes), or for [totals](Table::totals_of).
//!
//! ```
//! use catga::{prelude::*, read_model::{Row, Table}};
//! use serde::{Deserialize, Serialize};
//!
//! #[derive(Debug, Clone, Serialize, Deserialize, Event)]
//! #[event(name = "ticket.Opened", version = 1)]
//! struct Opened { title: String, minutes: u32 }
//!
//! #[derive(Debug, Clone, Serialize, Deserialize, Event)]
//! #[event(name = "ticket.Closed", version = 1)]
//! struct Closed {}
//!
//! #[derive(Debug, Clone, Serialize, Deserialize, Event)]
//! enum TicketEvent { Opened(Opened), Closed(Closed) }
//!
//! /// What the list shows of a ticket.
//! #[derive(Debug, Default, Serialize, Deserialize)]
//! struct Ticket { title: String, minutes: u32, is_closed: bool }
//!
//! /// What tickets are looked up by.
//! #[derive(Serialize)]
//! enum By<'a> { Closed(bool), Title(&'a str) }
//!
//! impl Row for Ticket {
//!     type Key = String;
//!     type Index<'a> = By<'a>;
//!
//!     fn indexes(&self) -> impl IntoIterator<Item = By<'_>> {
//!         [By::Closed(self.is_closed), By::Title(&self.title)]
//!     }
//!
//!     fn amount(&self) -> i128 {
//!         self.minutes.into()
//!     }
//! }
//!
//! #[derive(Debug, Default, Serialize, Deserialize)]
//! struct Tickets { table: Table<Ticket> }
//!
//! /// All tickets.
//! #[projection]
//! impl Projection for Tickets {
//!     type Event = TicketEvent;
//!     const NAME: &str = "tickets";
//!     const SNAPSHOTS: Option<Snapshots<Self>> = Some(Snapshots::every(100_000));
//!
//!     fn apply(&mut self, recorded: &Recorded<TicketEvent>) {
//!         self.table.update(recorded.stream.key(), |ticket| match &recorded.event {
//!             TicketEvent::Opened(Opened { title, minutes }) => {
//!                 *ticket = Ticket { title: title.clone(), minutes: *minutes, is_closed: false };
//!             }
//!             TicketEvent::Closed(_) => ticket.is_closed = true,
//!         });
//!     }
//! }
//!
//! /// How long the open tickets will take, and the newest of them.
//! #[derive(Debug, Query)]
//! #[query(name = "ticket.open")]
//! struct OpenTickets;
//!
//! #[query_handler]
//! fn open_tickets(
//!     _: OpenTickets,
//!     tickets: &ReadModel<Tickets>,
//! ) -> Result<(i128, Vec<String>), std::convert::Infallible> {
//!     let table = &tickets.read().table;
//!     let page = table.select().filter(By::Closed(false)).page(10);
//!     let titles = page.rows.into_iter().map(|(_, ticket)| ticket.title).collect();
//!     Ok((table.totals_of(By::Closed(false)).amount, titles))
//! }
//! ```
//!
//! Rows are kept encoded (in [postcard](https://postcard.jamesmunns.com)), at a quarter of the memory that they take
//! decoded; a page decodes the rows that it holds, and no others. So a page costs the same however many rows there are.

mod group;
mod key;
mod place_set;
mod recent;
mod row;
mod rows;
mod select;
mod snapshot;
mod table;

pub use self::{
    key::Key,
    row::{Row, Totals},
    select::{Cursor, InvalidCursor, Page, Select},
    table::Table,
};
