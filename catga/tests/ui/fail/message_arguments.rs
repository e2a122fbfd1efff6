//! `#[command]` and `#[query]` with mistakes.
#![allow(unused)]

use catga::prelude::*;
use serde::Serialize;

#[derive(Clone, Serialize, Command)]
struct Nothing;

#[derive(Clone, Serialize, Command)]
#[command]
struct Bare;

#[derive(Clone, Serialize, Command)]
#[command()]
struct NoName;

#[derive(Clone, Serialize, Command)]
#[command(name = "no-output")]
struct NoOutput;

#[derive(Clone, Serialize, Command)]
#[command(name = "pay order", create)]
struct Wrong;

#[derive(Query)]
#[query(name = "order.get", validate)]
struct Flag;

#[derive(Query)]
#[query(name = "order.get")]
struct Generic<T>(T);

#[derive(Query)]
#[query(name = "order.get")]
enum NotAStruct {
    A,
}

fn main() {}
