//! What an operation can answer when it fails ([RFC 9457](https://www.rfc-editor.org/rfc/rfc9457)).
//!
//! All problems of one status are one answer, since OpenAPI tells answers apart by their status.

use std::{borrow::Cow, collections::BTreeMap, iter};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::{Object, capitalized, operation::Answer, schema_of, schemas::Schemas};
use crate::problem::ProblemKind;

/// The media type of problems.
const MEDIA_TYPE: &str = "application/problem+json";

/// The answers that the operations refer to, by name.
#[derive(Default)]
pub(super) struct Problems(BTreeMap<String, Value>);

impl Problems {
    /// A reference to `answer`, under `name` or with a number behind it if that is another answer.
    pub(super) fn refer_to(&mut self, name: &str, answer: Answer) -> Value {
        let answer = answer.into_value();
        let numbered = (2..).map(|number| format!("{name}{number}"));
        let is_free = |name: &String| self.0.get(name).is_none_or(|other| *other == answer);
        let name = iter::once(name.to_owned()).chain(numbered).find(is_free);
        let name = name.expect("one of endlessly many names is free");
        let reference = json!({ "$ref": format!("#/components/responses/{name}") });
        self.0.insert(name, answer);
        reference
    }

    pub(super) fn into_responses(self) -> Object {
        self.0.into_iter().collect()
    }
}

/// The answer with any of `kinds`, which are of `status`, and a name for it.
pub(super) fn answer<'a>(
    status: u16,
    kinds: impl Iterator<Item = &'a ProblemKind>,
    schemas: &mut Schemas,
) -> (String, Answer) {
    let mut codes: Vec<&str> = Vec::new();
    let mut sentences = Vec::new();
    let mut extra: BTreeMap<&str, Vec<Value>> = BTreeMap::new();
    for kind in kinds {
        if !codes.contains(&kind.code) {
            codes.push(kind.code);
            sentences.push(sentence(kind));
        }
        for member in kind.extra {
            let schema = schemas.member(member.schema);
            let known = extra.entry(member.name).or_default();
            if !known.contains(&schema) {
                known.push(schema);
            }
        }
    }
    let name = codes.iter().map(|code| capitalized(code)).collect::<Vec<_>>().join("Or");
    let problem = schemas.answer(schema_of::<Problem>);
    let here = json!({ "type": "object", "properties": members(status, &codes, extra) });
    let content = json!({ "schema": { "allOf": [problem, here] } });
    let answer = Answer {
        descriptions: vec![sentences.join(" ")],
        headers: headers(status),
        content: Object::from_iter([(MEDIA_TYPE.to_owned(), content)]),
    };
    (name, answer)
}

/// When it is answered, the code, and which members it adds.
fn sentence(kind: &ProblemKind) -> String {
    let when = kind.description.trim().trim_end_matches('.');
    let code = kind.code;
    let members: Vec<_> = kind.extra.iter().map(|member| format!("`{}`", member.name)).collect();
    let with = match members.split_last() {
        None => String::new(),
        Some((last, [])) => format!(", with {last}"),
        Some((last, others)) => format!(", with {} and {last}", others.join(", ")),
    };
    match when {
        "" => format!("`{code}`{with}."),
        when => format!("{when} (`{code}`{with})."),
    }
}

fn members(status: u16, codes: &[&str], extra: BTreeMap<&str, Vec<Value>>) -> Object {
    let mut members = Object::new();
    for (name, mut schemas) in extra {
        let schema = match schemas.len() {
            1 => schemas.remove(0),
            _ => json!({ "anyOf": schemas }),
        };
        members.insert(name.to_owned(), schema);
    }
    members.insert("status".into(), json!({ "const": status }));
    members.insert("code".into(), json!({ "enum": codes }));
    members
}

/// The headers that RFC 9110 has for an answer of `status`.
fn headers(status: u16) -> Object {
    let mut headers = Object::new();
    match status {
        405 => headers.insert(
            "Allow".into(),
            json!({
                "description": "The methods that there are at this path",
                "schema": { "type": "string" }
            }),
        ),
        429 | 503 => headers.insert(
            "Retry-After".into(),
            json!({
                "description": "After how many seconds to try again",
                "schema": { "type": "integer", "minimum": 0 }
            }),
        ),
        _ => None,
    };
    headers
}

/// What all problems have in common.
struct Problem;

impl JsonSchema for Problem {
    fn schema_name() -> Cow<'static, str> {
        "Problem".into()
    }

    fn schema_id() -> Cow<'static, str> {
        concat!(module_path!(), "::Problem").into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "object",
            "description": "RFC 9457. Some codes add members",
            "properties": {
                "type": { "type": "string", "format": "uri-reference", "description": "`about:blank`, or where the kind of problem is explained" },
                "title": { "type": "string", "description": "The status in words" },
                "status": { "type": "integer", "minimum": 400, "maximum": 599, "description": "The HTTP status" },
                "detail": { "type": "string", "description": "What is wrong with this request" },
                "code": { "type": "string", "description": "The stable name of the kind of problem" }
            },
            "required": ["type", "title", "status", "detail", "code"]
        })
    }
}
