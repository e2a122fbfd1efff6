//! `#[command]` and `#[query]` with mistakes.
#![allow(unused)]

use catga::prelude::*;
use serde::{Deserialize, Serialize};

#[derive(Clone, Serialize, Command)]
#[command(output = u32)]
struct Output;

#[derive(Clone, Serialize, Command)]
#[command(name = "pay order", creates, validates, validate, validate)]
struct Wrong;

#[derive(Query)]
#[query(name = "order.get", validate)]
struct Flag;

#[derive(Query)]
struct Generic<T>(T);

#[derive(Query)]
enum NotAStruct {
    A,
}

#[catga::command(name = 7)]
struct Number;

fn main() {}
