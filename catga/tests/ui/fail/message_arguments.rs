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
#[command(output = u32)]
struct NoName;

#[derive(Clone, Serialize, Command)]
#[command(name = "no-output")]
struct NoOutput;

#[derive(Clone, Serialize, Command)]
#[command(name = "pay order", output = u32, create, creates, creates)]
struct Wrong;

#[derive(Query)]
#[query(name = "order.get", output = u32, validate)]
struct Flag;

#[derive(Query)]
#[query(name = "order.get", output = u32)]
struct Generic<T>(T);

#[derive(Query)]
#[query(name = "order.get", output = u32)]
enum NotAStruct {
    A,
}

fn main() {}
