//! Attributes above something else.
#![allow(unused)]

#[path = "../order.rs"]
mod order;

use catga::prelude::*;
use order::*;

#[command_handler]
struct Pay;

#[projection]
struct Orders;

#[projection]
impl Orders {}

fn main() {}
