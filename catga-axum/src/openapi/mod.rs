//! The OpenAPI 3.1 document of a service, made from its types.
//!
//! Schemas come from [`schemars`]: serde's attributes say the names, `#[schemars(range(..), length(..),
//! regex(..), example = ..)]` the limits, doc comments the texts. A request is described as it is read, an answer
//! as it is written: a field that `skip_serializing_if` leaves out is optional and never null in an answer.
//! A type that requests and answers share has one schema where both are the same; otherwise the requests' schema
//! has `Input` behind its name.
//!
//! # Modules, in reading order
//! - `operation`: one operation, from its description to JSON
//! - `parameter`: parameters and headers, and those that the members of a type make
//! - `path`: axum's syntax of paths in OpenAPI's
//! - `problems`: what an operation can answer when it fails
//! - `links`: from the answer of a create to what can be done with the created
//! - `schemas`: the schemas of all types, each under one name
//! - `shared`: what many operations say alike, said once

use std::collections::BTreeSet;

use http::Method;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value, json};

mod links;
mod operation;
mod parameter;
mod path;
mod problems;
mod schemas;
mod shared;

pub use self::parameter::{Parameter, Place};
use self::{operation::Described, problems::Problems, schemas::Schemas};
use crate::problem::ProblemKind;

/// A JSON object.
type Object = Map<String, Value>;

/// Makes the schema of a type: [`schema_of::<T>`](schema_of), or a function of your own.
pub type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of `T`, as a reference if it has a name.
pub fn schema_of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

/// What the document says of the service as a whole.
#[derive(Debug, Clone)]
pub struct Info {
    /// The service's name.
    pub title: String,
    /// The version of its API.
    pub version: String,
    /// What it is for; empty for nothing to say.
    pub description: String,
}

/// One thing that can be asked of the service.
#[derive(Debug, Clone)]
pub struct Operation {
    /// The HTTP method; OpenAPI has no word for methods beyond RFC 9110's and `PATCH`, nor for `CONNECT`.
    pub method: Method,
    /// The path as axum takes it: `/orders/{id}`, `/files/{*path}`.
    pub path: String,
    /// Its name for generated clients. A name that was taken before gets a number behind it.
    pub id: String,
    /// What it does, in a few words; empty for nothing to say.
    pub summary: String,
    /// More about it, in Markdown; empty for nothing to say.
    pub description: String,
    /// What it is listed under; empty for nothing.
    pub tag: String,
    /// What it takes beside the body. A parameter of the path that is not here is taken from the members of
    /// `request`, or is a string.
    pub parameters: Vec<Parameter>,
    /// What it takes in the body. Members that the path has are left out of the schema; where nothing is left,
    /// there is no body.
    pub request: Option<Body>,
    /// What it answers, apart from `problems`. Answers with the same status become one.
    pub responses: Vec<Response>,
    /// How it can fail.
    pub problems: Vec<ProblemKind>,
}

/// A JSON body of a request. It must be there if it has a member that must.
#[derive(Debug, Clone, Copy)]
pub struct Body {
    /// The schema of its type.
    pub schema: SchemaOf,
    /// Members of the type that no body has, beside those that the path has.
    pub except: &'static [&'static str],
}

/// An answer of an operation.
#[derive(Debug, Clone)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// When it is answered, or what it holds.
    pub description: String,
    /// The media type of its body and the schema; `None` for an answer without a body.
    pub content: Option<(&'static str, SchemaOf)>,
    /// Its headers; only the name, the text and the schema of each matter.
    pub headers: Vec<Parameter>,
}

/// The OpenAPI 3.1 document of a service with `operations`.
///
/// The same operations in the same order make the same document, with the members of every object in alphabetical
/// order. Tags are listed in the order in which they are first used.
#[must_use]
pub fn document(info: &Info, operations: &[Operation]) -> Value {
    let mut schemas = Schemas::default();
    let mut problems = Problems::default();
    let mut ids = BTreeSet::new();
    let mut described: Vec<_> = operations
        .iter()
        .filter(|operation| has_a_word_for(&operation.method))
        .map(|operation| {
            let id = unique(&operation.id, &mut ids);
            Described::new(operation, id, &mut schemas, &mut problems)
        })
        .collect();
    links::add(&mut described, &schemas);
    let mut components = Object::new();
    components.insert("responses".into(), problems.into_responses().into());
    components.insert("parameters".into(), shared::parameters(&mut described).into());
    components.insert("headers".into(), shared::headers(&mut described).into());

    let mut document = json!({
        "openapi": "3.1.0",
        "info": { "title": info.title, "version": info.version },
        "tags": tags(operations),
        "paths": paths(described),
    });
    if !info.description.is_empty() {
        document["info"]["description"] = info.description.as_str().into();
    }
    components.retain(|_, entries| entries.as_object().is_some_and(|entries| !entries.is_empty()));
    document["components"] = components.into();
    schemas.add_to(&mut document);
    // Whether serde_json keeps the order of insertion depends on the features that the whole program asks for.
    document.sort_all_objects();
    document
}

fn has_a_word_for(method: &Method) -> bool {
    const WORDS: [&str; 8] = ["GET", "PUT", "POST", "DELETE", "OPTIONS", "HEAD", "PATCH", "TRACE"];
    WORDS.contains(&method.as_str())
}

/// `name`, with a number behind it if it is among `taken`; it is among them afterwards.
fn unique(name: &str, taken: &mut BTreeSet<String>) -> String {
    let numbered = (2..).map(|number| format!("{name}{number}"));
    let free = std::iter::once(name.to_owned()).chain(numbered).find(|name| !taken.contains(name));
    let free = free.expect("one of endlessly many names is free");
    taken.insert(free.clone());
    free
}

fn tags(operations: &[Operation]) -> Vec<Value> {
    let mut names: Vec<&str> = Vec::new();
    for Operation { tag, .. } in operations {
        if !tag.is_empty() && !names.contains(&tag.as_str()) {
            names.push(tag);
        }
    }
    names.into_iter().map(|name| json!({ "name": name })).collect()
}

fn paths(operations: Vec<Described>) -> Object {
    let mut paths = Object::new();
    for operation in operations {
        let path = paths.entry(operation.path).or_insert_with(|| json!({}));
        path[operation.method] = operation.object.into();
    }
    paths
}

/// `text` as one word with a capital at the start of each part: `Idempotency-Key` is `IdempotencyKey`.
fn capitalized(text: &str) -> String {
    let words = text.split(|character: char| !character.is_ascii_alphanumeric());
    words
        .flat_map(|word| {
            word.chars().take(1).map(|first| first.to_ascii_uppercase()).chain(word.chars().skip(1))
        })
        .collect()
}

/// Says a text, if there is one.
fn insert_text(object: &mut Object, name: &str, text: &str) {
    if !text.is_empty() {
        object.insert(name.to_owned(), text.into());
    }
}
