//! What every service of the kit does, put to two of them: order-system, and the tickets of catga-axum's examples.

mod errors;
mod keys;
mod limits;
mod process;
mod reads;

use catga_tests::Server;
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};

/// What a test must know of a service.
struct Service {
    /// The built program, below the target folder.
    program: &'static str,
    /// Where things are made and listed.
    collection: &'static str,
    /// Two bodies that make things, which differ.
    bodies: [&'static str; 2],
    /// A body that is well-formed and not acceptable, with the fields that are named.
    unacceptable: (&'static str, &'static [&'static str]),
    /// A body without a field, and the field.
    incomplete: (&'static str, &'static str),
    /// The one step that each thing goes once, below it, and its body.
    step: (&'static str, &'static str),
    /// The codes when there is no such thing, and when the step was done.
    not_found: &'static str,
    refused: &'static str,
    /// The types of the two events.
    events: [&'static str; 2],
    /// The member of an event's data that has the key.
    key: &'static str,
    /// Some of what the catalogue shows.
    catalogue: &'static [&'static str],
}

const ORDERS: Service = Service {
    program: "order-system",
    collection: "/orders",
    bodies: [
        r#"{"customerId":"c","items":[{"productId":"p1","name":"Pen","quantity":2,"price":49.99}]}"#,
        r#"{"customerId":"d","items":[{"productId":"p1","name":"Pen","quantity":2,"price":49.99}]}"#,
    ],
    unacceptable: (r#"{"customerId":"","items":[]}"#, &["customerId", "items"]),
    incomplete: (r#"{"items":[]}"#, "customerId"),
    step: ("/pay", r#"{"paymentMethod":"card"}"#),
    not_found: "order_not_found",
    refused: "invalid_transition",
    events: ["OrderCreated", "OrderPaid"],
    key: "orderId",
    catalogue: &["order.create", "order.pay", "order.list", "receipts", "orders", "OrderCreated"],
};

const TICKETS: Service = Service {
    program: "examples/tickets",
    collection: "/tickets",
    bodies: [r#"{"title":"The door is stuck"}"#, r#"{"title":"The lamp is dark"}"#],
    unacceptable: (r#"{"title":" "}"#, &["title"]),
    incomplete: ("{}", "title"),
    step: ("/close", ""),
    not_found: "ticket_not_found",
    refused: "ticket_closed",
    events: ["TicketOpened", "TicketClosed"],
    key: "ticketId",
    catalogue: &["ticket.open", "ticket.close", "ticket.history", "tickets", "TicketOpened"],
};

impl Service {
    async fn start(&self, flags: &[&str]) -> Server {
        Server::start_program(self.program, flags).await
    }

    fn new_body(&self) -> String {
        self.bodies[0].to_owned()
    }

    /// A request that makes something.
    fn make(&self, server: &Server) -> RequestBuilder {
        post(server, self.collection, self.bodies[0])
    }

    /// Makes something, and answers where it is.
    async fn made(&self, server: &Server) -> String {
        let answer = self.make(server).send().await.unwrap();
        assert_eq!(answer.status(), StatusCode::CREATED);
        answer.headers()["location"].to_str().unwrap().to_owned()
    }

    /// A request for the step of what is at `path`.
    fn step(&self, server: &Server, path: &str) -> RequestBuilder {
        post(server, &format!("{path}{}", self.step.0), self.step.1)
    }
}

/// A POST request with a JSON body; without a body when it is empty.
fn post(server: &Server, path: &str, body: &str) -> RequestBuilder {
    let request = server.post(path, &Value::Null);
    match body {
        "" => request,
        body => request.header("content-type", "application/json").body(body.to_owned()),
    }
}

/// Sends a request, and checks the problem it is answered with.
async fn check(request: RequestBuilder, status: u16, code: &str, what: &str) -> Value {
    let answer = request.send().await.unwrap();
    let got = answer.status().as_u16();
    let kind = answer.headers().get("content-type").map(|kind| kind.to_str().unwrap().to_owned());
    let problem: Value = answer.json().await.unwrap_or_default();
    assert_eq!((got, &problem["code"]), (status, &json!(code)), "{what}: {problem}");
    assert_eq!(kind.as_deref(), Some("application/problem+json"), "{what}");
    assert_eq!(problem["status"], status, "{what}");
    for member in ["type", "title", "detail"] {
        assert!(problem[member].is_string(), "{what}: {member} in {problem}");
    }
    problem
}

/// Each test with each service.
macro_rules! contract {
    ($($module:ident: $($test:ident)*;)*) => {
        contract!(orders ORDERS $($module: $($test)*;)*);
        contract!(tickets TICKETS $($module: $($test)*;)*);
    };
    ($name:ident $service:ident $($module:ident: $($test:ident)*;)*) => {
        mod $name {
            $($(
                #[tokio::test(flavor = "multi_thread")]
                async fn $test() {
                    super::$module::$test(&super::$service).await;
                }
            )*)*
        }
    };
}

contract! {
    errors: an_id_is_data what_is_malformed_is_400_and_named every_unacceptable_field_is_named
        wrong_methods_sizes_and_types_are_refused a_refusal_is_a_problem;
    keys: forty_posts_with_one_key_have_one_effect_and_forty_equal_answers
        a_key_counts_for_its_target_and_a_refusal_leaves_no_trace tags_save_a_read_and_guard_a_write
        a_command_takes_a_list_of_tags;
    limits: a_request_names_one_host bodies_of_a_mebibyte_are_refused_and_not_kept half_sent_bodies_shut_nobody_out
        who_sends_all_before_reading_gets_the_refusal
        the_metrics_do_not_grow_with_what_strangers_send;
    process: sighup_stops_it_as_sigterm_does a_host_can_be_named the_health_check_finds_the_server_beside_it
        wrong_flags_are_named_and_exit_with_2 a_taken_port_is_a_clear_failure the_program_tells_what_is_in_it
        sigterm_ends_feeds_and_exits_with_0 a_probe_sees_an_idle_server_stop
        a_second_signal_stops_at_once_with_130 a_body_that_does_not_come_is_refused_after_15_seconds
        a_request_in_flight_is_finished_before_the_exit a_client_that_sends_half_a_request_is_cut_off
        an_idle_connection_is_kept_by_its_own_flag a_later_head_has_its_own_time
        idle_connections_do_not_hold_up_a_stop descriptors_are_raised_to_the_hard_limit;
    reads: a_list_is_paged_and_a_link_keeps_every_parameter a_history_is_paged_and_shows_what_happened
        the_feed_shows_what_happens_while_it_is_open the_node_describes_itself every_documented_operation_is_served
        a_browser_goes_to_the_page_and_a_program_gets_json a_feed_resumes_by_its_address_too
        a_correlation_that_can_not_be_kept_is_replaced a_read_says_how_fresh_it_must_be
        a_position_that_the_log_does_not_have_is_refused_at_once
        a_feed_begins_anew_where_the_log_does_not_have_its_place;
}
