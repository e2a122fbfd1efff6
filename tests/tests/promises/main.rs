//! The promises P1 to P10 on order-system and on real servers, one module a promise.
//!
//! What a store alone can break is stated for any backend by `catga::conformance`, and tried on each of ours in
//! `p10_everywhere`. What one store does in its own way is in `tests/redis` and `tests/nats`.

mod p10_everywhere;
mod p1_atomic;
mod p1_to_p8_nemesis;
mod p2_disk;
mod p2_durable;
mod p2_power_cut;
mod p3_in_doubt;
mod p4_one_effect;
mod p5_never_skipped;
mod p6_read_your_writes;
mod p7_at_least_once;
mod p8_poison;
