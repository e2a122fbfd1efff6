//! A whole service in one file: tickets that people open and close.
//!
//! `cargo run --package catga-axum --example tickets -- --help` lists its flags.

use catga::prelude::*;
use catga_axum::{App, Cursor, Limit, Page, Problem, command, history, query};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Somebody needs help.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "TicketOpened", version = 1)]
struct TicketOpened {
    title: String,
}

/// Nobody needs help with it any more.
#[derive(Debug, Clone, Serialize, Deserialize, Event)]
#[event(name = "TicketClosed", version = 1)]
struct TicketClosed;

#[derive(Debug, Clone, Serialize, Event)]
enum TicketEvent {
    Opened(TicketOpened),
    Closed(TicketClosed),
}

#[derive(Debug, Clone, Default, Serialize, Deserialize, JsonSchema)]
struct Ticket {
    title: String,
    is_closed: bool,
    version: u64,
}

impl Aggregate for Ticket {
    type Event = TicketEvent;
    const NAME: &'static str = "ticket";
    fn apply(&mut self, event: TicketEvent) {
        match event {
            TicketEvent::Opened(opened) => self.title.clone_from(&opened.title),
            TicketEvent::Closed(_) => self.is_closed = true,
        }
        self.version += 1;
    }
}

#[derive(Debug, thiserror::Error, Problem)]
enum TicketError {
    #[error("there is no such ticket")]
    #[problem(status = 404, code = "ticket_not_found")]
    NotFound,
    #[error("the ticket is closed")]
    #[problem(status = 409, code = "ticket_closed")]
    Closed,
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Command)]
#[command(name = "ticket.open", validate)]
struct OpenTicket {
    #[key]
    ticket: String,
    title: String,
}

impl Validate for OpenTicket {
    fn problems(&self) -> Vec<FieldError> {
        let is_blank = self.title.trim().is_empty();
        Vec::from_iter(is_blank.then(|| FieldError::new("title", "it must not be blank")))
    }
}

#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema, Command)]
#[command(name = "ticket.close")]
struct CloseTicket {
    #[key]
    ticket: String,
}

/// Opens a ticket, and answers its id.
#[command_handler]
fn open(cmd: OpenTicket, ticket: &mut Root<Ticket>) -> Result<String, TicketError> {
    ticket.record(TicketOpened { title: cmd.title });
    Ok(cmd.ticket)
}

/// Closes a ticket.
#[command_handler]
fn close(_: CloseTicket, ticket: &mut Root<Ticket>) -> Result<Ticket, TicketError> {
    if !ticket.exists() || ticket.is_closed {
        return Err(if ticket.exists() { TicketError::Closed } else { TicketError::NotFound });
    }
    ticket.record(TicketClosed);
    Ok(Ticket::clone(ticket))
}

#[derive(Debug, Deserialize, JsonSchema, Query)]
#[query(name = "ticket.get")]
struct GetTicket {
    #[key]
    ticket: String,
}

/// One ticket.
#[query_handler]
fn get(_: GetTicket, ticket: &Root<Ticket>) -> Result<Ticket, TicketError> {
    if ticket.exists() { Ok(Ticket::clone(ticket)) } else { Err(TicketError::NotFound) }
}

#[derive(Debug, Default)]
struct Tickets(Vec<String>);

/// The ids of all tickets, in the order they were opened.
#[projection]
impl Projection for Tickets {
    type Event = TicketOpened;
    const NAME: &'static str = "tickets";
    fn apply(&mut self, opened: &Recorded<TicketOpened>) {
        self.0.push(opened.stream.key().to_owned());
    }
}

#[derive(Debug, Deserialize, JsonSchema, Query)]
#[query(name = "ticket.list")]
struct ListTickets {
    cursor: Option<Cursor>,
    #[serde(default)]
    limit: Limit,
}

/// The ids of tickets, newest first.
#[query_handler]
fn list(query: ListTickets, tickets: &ReadModel<Tickets>) -> Result<Page<String>, catga::Error> {
    Ok(Page::newest_first(&tickets.read().0, query.cursor, query.limit))
}

fn main() -> std::process::ExitCode {
    let app = App::new("Tickets")
        .version("0.1.0")
        .errors::<TicketError>()
        .not_found(TicketError::NotFound)
        .post("/tickets", command::<OpenTicket>().created(|id| format!("/tickets/{id}")))
        .get("/tickets", query::<ListTickets>().page(|page| page))
        .get("/tickets/{ticket}", query::<GetTicket>().etag(|ticket| ticket.version))
        .get("/tickets/{ticket}/history", history::<Ticket>())
        .post("/tickets/{ticket}/close", command::<CloseTicket>());
    catga_axum::main(app)
}
