//! A whole service in one file: tickets that people open and close.
//!
//! `cargo run --package catga-axum --example tickets -- --help` lists its flags.

use catga::prelude::*;
use catga_axum::{App, Cursor, Limit, Page, Problem, command, history, query, validate::check};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

#[catga::event]
enum TicketEvent {
    #[event(name = "TicketOpened", version = 1)]
    Opened { title: String },
    #[event(name = "TicketClosed", version = 1)]
    Closed,
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
            TicketEvent::Opened { title } => self.title = title,
            TicketEvent::Closed => self.is_closed = true,
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

#[catga::command(name = "ticket.open", validate)]
#[derive(JsonSchema)]
struct OpenTicket {
    #[key]
    ticket: String,
    title: String,
}

impl Validate for OpenTicket {
    fn problems(&self) -> Vec<FieldError> {
        let is_allowed = !self.title.trim().is_empty();
        Vec::from_iter(check("title", is_allowed, "it must not be blank"))
    }
}

#[catga::command(name = "ticket.close")]
#[derive(JsonSchema)]
struct CloseTicket {
    #[key]
    ticket: String,
}

/// Opens a ticket, and answers its id.
#[command_handler]
fn open(cmd: OpenTicket, ticket: &mut Root<Ticket>) -> Result<String, TicketError> {
    ticket.record(TicketEvent::Opened { title: cmd.title });
    Ok(cmd.ticket)
}

/// Closes a ticket.
#[command_handler]
fn close(_: CloseTicket, ticket: &mut Root<Ticket>) -> Result<Ticket, TicketError> {
    if !ticket.exists() || ticket.is_closed {
        return Err(if ticket.exists() { TicketError::Closed } else { TicketError::NotFound });
    }
    ticket.record(TicketEvent::Closed);
    Ok(Ticket::clone(ticket))
}

#[catga::query(name = "ticket.get")]
#[derive(JsonSchema)]
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
    type Event = TicketEvent;
    const NAME: &'static str = "tickets";
    fn apply(&mut self, recorded: &Recorded<TicketEvent>) {
        if let TicketEvent::Opened { .. } = recorded.event {
            self.0.push(recorded.stream.key().to_owned());
        }
    }
}

#[catga::query(name = "ticket.list")]
#[derive(JsonSchema)]
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
