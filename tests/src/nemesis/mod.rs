//! Faults that overlap on a cluster and its servers, drawn from a seed, and the judgement of what came of them.
//!
//! - [`run`]: a run, from its faults to its judgement
//! - [`node_faults`], [`server_faults`]: what can happen, and [`flush`]: another log in the log's place
//! - [`mail`], [`log_pipe`], [`clock`], [`slow`]: what faults need: the server of an effect, where log lines go, clocks that jump,
//!   clients that don't read
//! - [`witness`], [`watch`], [`silence`]: what clients saw, what the nodes said of themselves, and whether the one was ever wrong
//!   without a word of the other

pub mod clock;
pub mod flush;
pub mod log_pipe;
pub mod mail;
pub mod node_faults;
pub mod run;
pub mod server_faults;
pub mod silence;
pub mod slow;
pub mod watch;
pub mod witness;
