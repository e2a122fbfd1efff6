//! The names of all metrics, in one place. Units are in the names; no label holds an id.

pub(crate) use crate::store::TASKS_STOPPED;
use crate::store::{NOT_DURABLE, TASK_PANICS};

/// Histogram: seconds from a message's arrival to its answer. Labels: `kind`, `name`, `outcome`
/// (`ok`, `refused` by a rule, `failed`).
pub(crate) const HANDLE_SECONDS: &str = "catga_handle_seconds";

/// Counter: runs of a command handler on newer state, after another command came first. Label: `name`.
pub(crate) const RERUNS: &str = "catga_command_reruns_total";

/// Counter: commands answered from the commit that an earlier sending made. Label: `name`.
pub(crate) const REPLAYS: &str = "catga_command_replays_total";

/// Counter: attempts of event handlers that failed. Label: `handler`.
pub(crate) const EVENT_FAILURES: &str = "catga_event_failures_total";

/// Counter: events that were parked. Label: `handler`.
pub(crate) const EVENTS_PARKED: &str = "catga_events_parked_total";

/// Gauge: whether a handler is paused on this node, as every event fails: 1 or 0. Label: `handler`.
pub(crate) const HANDLER_PAUSED: &str = "catga_handler_paused";

/// Counter: how often a handler was paused on this node. Label: `handler`.
pub(crate) const HANDLER_PAUSES: &str = "catga_handler_pauses_total";

/// Counter: how often a handler or a projection held its thread for 100 ms. Labels: `handler`, `kind`.
pub(crate) const HANDLER_BLOCKED: &str = "catga_handler_blocked_total";

/// Gauge: dead letters that wait, in the whole log, as far as this node has read it. Label: `handler`.
pub(crate) const DEAD_LETTERS: &str = "catga_dead_letters";

/// Gauge: events that a handler has still to take in, counted in log positions. Label: `handler`.
pub(crate) const HANDLER_LAG: &str = "catga_handler_lag";

/// Gauge: log positions that the relay has still to bring to the transport.
pub(crate) const RELAY_LAG: &str = "catga_relay_lag";

/// Gauge: log positions that the read models have still to take in.
pub(crate) const READ_MODEL_LAG: &str = "catga_read_model_lag";

/// Gauge: how many stand still behind the log, of the read models, the relay, and each event handler on each partition.
pub(crate) const STANDSTILL: &str = "catga_standstill";

/// Counter: projections that stopped at an event that they could not take in. Label: `projection`.
pub(crate) const PROJECTIONS_STOPPED: &str = "catga_projections_stopped_total";

/// Says to the installed recorder what each metric is.
pub(crate) fn describe() {
    use metrics::{Unit, describe_counter, describe_gauge, describe_histogram};
    describe_histogram!(HANDLE_SECONDS, Unit::Seconds, "Time to handle a command, query or event");
    describe_counter!(RERUNS, "Command handlers run again because another command came first");
    describe_counter!(REPLAYS, "Commands answered from the commit of an earlier sending");
    describe_counter!(EVENT_FAILURES, "Attempts of event handlers that failed");
    describe_counter!(EVENTS_PARKED, "Events parked after their last attempt");
    describe_gauge!(HANDLER_PAUSED, "Whether an event handler is paused on this node");
    describe_counter!(HANDLER_PAUSES, "Pauses of event handlers, as every event failed");
    describe_counter!(
        HANDLER_BLOCKED,
        "Times a handler or a projection held its thread for 100 ms"
    );
    describe_gauge!(DEAD_LETTERS, "Dead letters that wait, wherever their handler runs");
    describe_counter!(TASK_PANICS, "Panics of background tasks");
    describe_counter!(TASKS_STOPPED, "Background tasks that stopped for good");
    describe_counter!(PROJECTIONS_STOPPED, "Projections that stopped at an event");
    describe_gauge!(
        NOT_DURABLE,
        "Whether commands are refused, as the store would keep less than it must"
    );
    describe_gauge!(HANDLER_LAG, "Log positions an event handler is behind the head");
    describe_gauge!(RELAY_LAG, "Log positions the transport is behind the head");
    describe_gauge!(STANDSTILL, "How many of those that follow the log stand still behind it");
    describe_gauge!(READ_MODEL_LAG, "Log positions the read models are behind the head");
}
