//! serde's attributes that postcard's bytes can't carry.
#![allow(unused)]

use std::collections::HashMap;

use catga::prelude::*;
use serde::{Deserialize, Serialize};

#[catga::event]
struct LeftOut {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    note: Option<String>,
    #[serde(skip_serializing)]
    hidden: u32,
    #[serde(skip_deserializing)]
    unread: u32,
    #[serde(skip)]
    cached: u32,
    #[serde(skip_serializing, skip_deserializing)]
    cached_too: u32,
}

#[catga::event]
struct Flattened {
    #[serde(flatten)]
    more: HashMap<String, u32>,
}

#[catga::event]
#[serde(rename_all = "camelCase", tag = "kind")]
struct Tagged {
    by: String,
}

#[catga::event]
enum Happened {
    NotedBy {
        #[serde(skip_serializing_if = "Vec::is_empty", rename = "tags")]
        labels: Vec<String>,
    },
    Imported {
        #[serde(flatten)]
        more: HashMap<String, u32>,
    },
}

#[catga::event]
#[serde(untagged)]
enum Untagged {
    Opened { by: String },
}

#[derive(Serialize, Deserialize, Event)]
#[serde(tag = "kind", content = "data")]
enum TaggedApart {
    Closed { by: String },
}

#[catga::command]
struct Note {
    #[key]
    order: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(flatten)]
    more: HashMap<String, u32>,
}

#[command_handler]
fn note(_: Note) {}

fn main() {}
