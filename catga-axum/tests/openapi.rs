//! The OpenAPI document of a small library, as a whole and in what matters of it.
//!
//! `CATGA_BLESS=1 cargo test -p catga-axum --test openapi` rewrites `openapi.json`; read the difference.

#![allow(dead_code)]

use std::{collections::BTreeSet, fs, path::Path};

use catga_axum::{
    openapi::{Body, Info, Operation, Parameter, Place, Response, document, schema_of},
    problem::{ExtraMember, ProblemKind},
};
use http::Method;
use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Where a book is.
#[derive(Serialize, Deserialize, JsonSchema)]
enum Shelf {
    Free,
    Lent,
}

/// Who wrote it.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Author {
    #[schemars(length(min = 1, max = 200), example = &"Ada")]
    first_name: String,
}

/// A copy of a book; a request may leave out how often.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Edition {
    #[serde(default)]
    #[schemars(range(max = 100))]
    number: u32,
}

/// An edition that was sold before; it differs since an edition does.
#[derive(Serialize, Deserialize, JsonSchema)]
struct Used {
    edition: Edition,
}

/// A book to add.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(example = json!({ "isbn": "9780000000002", "pageCount": 3, "price": 1.5, "authors": [] }))]
struct NewBook {
    /// Thirteen digits.
    #[schemars(regex(pattern = r"^[0-9]{13}$"))]
    isbn: String,
    #[schemars(range(min = 1, max = 10_000))]
    page_count: u32,
    #[schemars(range(min = 0), extend("multipleOf" = 0.01))]
    price: f64,
    #[schemars(length(max = 20))]
    authors: Vec<Author>,
    used: Option<Used>,
}

/// A book.
///
/// What is not known is left out.
#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
struct Book {
    book_id: String,
    shelf: Shelf,
    authors: Vec<Author>,
    #[serde(skip_serializing_if = "Option::is_none")]
    used: Option<Used>,
    /// When it is due.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(extend("format" = "date-time"))]
    due_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_shelf: Option<Shelf>,
    /// Null for a book that nobody may lend.
    days: Option<u8>,
}

/// Lends a book to somebody.
#[derive(Deserialize, JsonSchema)]
struct LendBook {
    /// Which book.
    #[schemars(length(max = 36))]
    book: String,
    /// To whom.
    reader: String,
    note: Option<String>,
}

/// Takes a book back.
#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct ReturnBook {
    /// Which book.
    book: String,
}

#[derive(Deserialize, JsonSchema)]
struct Filter {
    /// Only those there.
    shelf: Option<Shelf>,
    /// How many at most.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 1000))]
    limit: u16,
}

fn hundred() -> u16 {
    100
}

/// How the service is.
#[derive(Serialize, JsonSchema)]
struct Health {
    status: String,
}

const INVALID: ProblemKind = ProblemKind {
    status: 422,
    code: "validation_failed",
    description: "Some fields can't be accepted.",
    extra: &[ExtraMember::ERRORS],
};
const REUSED: ProblemKind = ProblemKind {
    status: 422,
    code: "idempotency_key_reused",
    description: "The key was used for another request",
    extra: &[],
};
const STALE: ProblemKind = ProblemKind {
    status: 412,
    code: "version_mismatch",
    description: "The book is at another version",
    extra: &[ExtraMember::VERSION, ExtraMember::new::<String>("since")],
};
const LENT: ProblemKind = ProblemKind {
    status: 409,
    code: "lent",
    description: "The book is lent.",
    extra: &[ExtraMember::new::<Shelf>("shelf")],
};
const RESERVED: ProblemKind = ProblemKind {
    status: 409,
    code: "reserved",
    description: "",
    extra: &[ExtraMember::new::<Option<u32>>("shelf")],
};
const NOT_FOUND: ProblemKind =
    ProblemKind { status: 404, code: "book_not_found", description: "No such book", extra: &[] };
const OVERLOADED: ProblemKind = ProblemKind {
    status: 503,
    code: "overloaded",
    description: "Too much is under way; nothing was done",
    extra: &[],
};

fn header(name: &str, description: &str, schema: schemars::Schema) -> Parameter {
    Parameter {
        name: name.into(),
        place: Place::Header,
        required: false,
        description: description.into(),
        schema,
    }
}

fn etag() -> Parameter {
    header("ETag", "The version, in quotes", json_schema!({ "type": "string" }))
}

fn key() -> Parameter {
    let schema =
        json_schema!({ "type": "string", "minLength": 1, "maxLength": 255, "pattern": "^[!-~]+$" });
    header("Idempotency-Key", "The same key has one effect", schema)
}

fn ok<T: JsonSchema>(status: u16, description: &str) -> Response {
    Response {
        status,
        description: description.into(),
        content: Some(("application/json", schema_of::<T>)),
        headers: Vec::new(),
    }
}

fn operation(method: Method, path: &str, id: &str) -> Operation {
    Operation {
        method,
        path: path.into(),
        id: id.into(),
        summary: String::new(),
        description: String::new(),
        tag: "Books".into(),
        parameters: Vec::new(),
        request: None,
        responses: vec![ok::<Book>(200, "The book")],
        problems: vec![NOT_FOUND, OVERLOADED],
    }
}

fn command<T: JsonSchema>() -> Option<Body> {
    Some(Body { schema: schema_of::<T>, except: &[] })
}

fn library() -> Vec<Operation> {
    let location = header("Location", "The book's path", json_schema!({ "type": "string" }));
    vec![
        Operation {
            summary: "Add a book".into(),
            description: "It can be lent from then on.".into(),
            parameters: vec![key()],
            request: command::<NewBook>(),
            responses: vec![Response {
                headers: vec![etag(), location],
                ..ok::<Book>(201, "Added")
            }],
            problems: vec![INVALID, REUSED, INVALID, OVERLOADED],
            ..operation(Method::POST, "/books", "addBook")
        },
        Operation {
            parameters: Parameter::all_of::<Filter>(Place::Query),
            responses: vec![ok::<Vec<Book>>(200, "The books")],
            problems: Vec::new(),
            ..operation(Method::GET, "/books", "listBooks")
        },
        Operation {
            responses: vec![
                Response { headers: vec![etag()], ..ok::<Book>(200, "The book") },
                Response {
                    status: 304,
                    description: "It is what `If-None-Match` names".into(),
                    content: None,
                    headers: vec![etag()],
                },
            ],
            ..operation(Method::GET, "/books/{book}", "getBook")
        },
        Operation {
            parameters: vec![key()],
            request: command::<LendBook>(),
            problems: vec![NOT_FOUND, LENT, RESERVED, STALE, INVALID, REUSED],
            ..operation(Method::POST, "/books/{book}/lend", "move")
        },
        Operation {
            request: command::<ReturnBook>(),
            problems: vec![ProblemKind { description: "No longer", ..NOT_FOUND }],
            ..operation(Method::POST, "/books/{book}/return", "move")
        },
        Operation {
            tag: "System".into(),
            responses: vec![ok::<Health>(200, "Healthy"), ok::<Health>(503, "Not healthy")],
            problems: vec![OVERLOADED],
            ..operation(Method::GET, "/health", "health")
        },
        Operation {
            tag: String::new(),
            responses: vec![Response {
                status: 200,
                description: "The log as it grows".into(),
                content: Some(("text/event-stream", schema_of::<String>)),
                headers: Vec::new(),
            }],
            problems: Vec::new(),
            ..operation(Method::GET, "/files/{*path}", "file")
        },
        operation(Method::CONNECT, "/tunnel", "tunnel"),
    ]
}

fn info() -> Info {
    Info { title: "Library".into(), version: "1.2.3".into(), description: "Lends books.".into() }
}

fn made() -> Value {
    document(&info(), &library())
}

#[test]
fn the_document_is_the_golden_one() {
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/openapi.json");
    let text = serde_json::to_string_pretty(&made()).unwrap() + "\n";
    if std::env::var_os("CATGA_BLESS").is_some() {
        fs::write(&golden, &text).unwrap();
    }
    assert!(text == fs::read_to_string(golden).unwrap(), "see how to rewrite it above:\n{text}");
}

#[test]
fn every_reference_leads_to_something_and_every_component_is_referred_to() {
    let document = made();
    let mut references = BTreeSet::new();
    collect_references(&document, &mut references);
    for reference in &references {
        let pointer = reference.strip_prefix('#').unwrap();
        assert!(document.pointer(pointer).is_some(), "{reference} leads nowhere");
    }
    for (kind, components) in document["components"].as_object().unwrap() {
        for name in components.as_object().unwrap().keys() {
            let reference = format!("#/components/{kind}/{name}");
            assert!(references.contains(&reference), "nothing refers to {reference}");
        }
    }
}

fn collect_references(value: &Value, references: &mut BTreeSet<String>) {
    match value {
        Value::Array(values) => {
            values.iter().for_each(|value| collect_references(value, references));
        }
        Value::Object(members) => {
            references.extend(members.get("$ref").and_then(Value::as_str).map(ToOwned::to_owned));
            members.values().for_each(|value| collect_references(value, references));
        }
        _ => {}
    }
}

#[test]
fn a_type_of_requests_and_answers_has_one_schema_unless_it_is_read_otherwise_than_written() {
    let document = made();
    let schemas = &document["components"]["schemas"];
    let used = &schemas["NewBook"]["properties"]["used"]["anyOf"][0]["$ref"];
    assert_eq!(used, "#/components/schemas/UsedInput");
    assert_eq!(
        schemas["UsedInput"]["properties"]["edition"]["$ref"],
        "#/components/schemas/EditionInput"
    );
    assert_eq!(schemas["EditionInput"].get("required"), None);
    assert_eq!(schemas["Edition"]["required"], json!(["number"]));
    assert_eq!(
        schemas["Book"]["properties"]["used"],
        json!({ "$ref": "#/components/schemas/Used" })
    );
    assert_eq!(
        schemas["NewBook"]["properties"]["authors"]["items"],
        schemas["Book"]["properties"]["authors"]["items"]
    );
    assert_eq!(schemas.get("AuthorInput"), None);
}

#[test]
fn what_an_answer_leaves_out_is_never_null() {
    let document = made();
    let book = &document["components"]["schemas"]["Book"]["properties"];
    assert_eq!(book["dueAt"]["type"], "string");
    assert_eq!(book["dueAt"]["format"], "date-time");
    assert_eq!(book["previousShelf"], json!({ "$ref": "#/components/schemas/Shelf" }));
    assert_eq!(book["days"]["type"], json!(["integer", "null"]));
}

#[test]
fn what_the_path_has_is_no_part_of_the_body() {
    let document = made();
    let lend = &document["paths"]["/books/{book}/lend"]["post"];
    let body = &lend["requestBody"]["content"]["application/json"]["schema"];
    let names: Vec<_> = body["properties"].as_object().unwrap().keys().collect();
    assert_eq!(names, ["note", "reader"]);
    assert_eq!(body["required"], json!(["reader"]));
    assert_eq!(
        lend["parameters"][0],
        json!({
            "name": "book", "in": "path", "required": true, "description": "Which book.",
            "schema": { "type": "string", "maxLength": 36 },
        })
    );
    let give_back = &document["paths"]["/books/{book}/return"]["post"];
    assert_eq!(give_back.get("requestBody"), None);
    assert_eq!(document["components"]["schemas"].get("LendBook"), None);
}

#[test]
fn operations_have_ids_of_their_own() {
    let document = made();
    assert_eq!(document["paths"]["/books/{book}/lend"]["post"]["operationId"], "move");
    assert_eq!(document["paths"]["/books/{book}/return"]["post"]["operationId"], "move2");
    assert_eq!(document["paths"].get("/tunnel"), None);
    assert_eq!(document["tags"], json!([{ "name": "Books" }, { "name": "System" }]));
}

#[test]
fn problems_of_one_status_are_one_answer() {
    let document = made();
    let responses = &document["paths"]["/books/{book}/lend"]["post"]["responses"];
    let conflict = &responses["409"]["$ref"];
    assert_eq!(conflict, "#/components/responses/LentOrReserved");
    let conflict = &document["components"]["responses"]["LentOrReserved"];
    let description = "The book is lent (`lent`, with `shelf`). `reserved`, with `shelf`.";
    assert_eq!(conflict["description"], description);
    let schema = &conflict["content"]["application/problem+json"]["schema"]["allOf"][1];
    assert_eq!(schema["properties"]["code"]["enum"], json!(["lent", "reserved"]));
    assert_eq!(schema["properties"]["status"]["const"], 409);
    assert_eq!(schema["properties"]["shelf"]["anyOf"][0]["$ref"], "#/components/schemas/Shelf");
    let number = json!({ "type": "integer", "format": "uint32", "minimum": 0 });
    assert_eq!(schema["properties"]["shelf"]["anyOf"][1], number);
    // The same answer of other operations is the same component; one with another text is another.
    let add = &document["paths"]["/books"]["post"]["responses"]["422"];
    assert_eq!(*add, responses["422"]);
    assert_eq!(responses["404"]["$ref"], "#/components/responses/BookNotFound");
    let give_back = &document["paths"]["/books/{book}/return"]["post"]["responses"]["404"]["$ref"];
    assert_eq!(give_back, "#/components/responses/BookNotFound2");
    // Another answer with the same status has its own body beside the problem's.
    let unhealthy = &document["paths"]["/health"]["get"]["responses"]["503"];
    let bodies: Vec<_> = unhealthy["content"].as_object().unwrap().keys().collect();
    assert_eq!(bodies, ["application/json", "application/problem+json"]);
    assert!(unhealthy["headers"]["Retry-After"].is_object());
}

#[test]
fn a_created_thing_links_to_what_can_be_done_with_it() {
    let document = made();
    let links = &document["paths"]["/books"]["post"]["responses"]["201"]["links"];
    let names: Vec<_> = links.as_object().unwrap().keys().collect();
    assert_eq!(names, ["getBook", "move", "move2"]);
    assert_eq!(links["getBook"]["parameters"]["book"], "$response.body#/bookId");
}

#[test]
fn members_of_a_type_become_parameters() {
    let parameters = Parameter::all_of::<Filter>(Place::Query);
    let [limit, shelf] = parameters.as_slice() else { panic!("{parameters:?}") };
    assert!(limit.name == "limit" && !limit.required && limit.description == "How many at most.");
    assert_eq!(limit.schema.get("maximum"), Some(&json!(1000)));
    assert_eq!(limit.schema.get("default"), Some(&json!(100)));
    assert_eq!((shelf.name.as_str(), shelf.required), ("shelf", false));
    assert_eq!(shelf.schema.get("enum"), Some(&json!(["Free", "Lent"])));
    assert!(Parameter::all_of::<String>(Place::Query).is_empty());
}
