//! One operation, from its description to JSON.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::{
    Body, Object, Operation, Parameter, Place, Response, insert_text,
    path::Path,
    problems::{self, Problems},
    schemas::{self, Schemas},
};

/// An operation as the document has it, and what others need to know of it.
pub(super) struct Described {
    /// The path in OpenAPI's syntax.
    pub(super) path: String,
    /// The names of the path's parameters.
    pub(super) names: Vec<String>,
    /// The method, in lower case.
    pub(super) method: String,
    pub(super) id: String,
    /// What the document says of it.
    pub(super) object: Object,
}

impl Described {
    pub(super) fn new(
        operation: &Operation,
        id: String,
        schemas: &mut Schemas,
        problems: &mut Problems,
    ) -> Self {
        let Path { text, names } = Path::read(&operation.path);
        let request = operation.request.map(|body| Request::read(body, &names, schemas));
        let members = request.as_ref().map_or(&Value::Null, |request| &request.whole);
        let mut object = Object::new();
        object.insert("operationId".into(), id.as_str().into());
        insert_text(&mut object, "summary", &operation.summary);
        insert_text(&mut object, "description", &operation.description);
        let tags = [operation.tag.as_str()].into_iter().filter(|tag| !tag.is_empty());
        object.insert("tags".into(), tags.collect());
        let parameters = parameters(&operation.parameters, &names, members);
        if !parameters.is_empty() {
            object.insert("parameters".into(), parameters.into());
        }
        if let Some(body) = request.and_then(|request| request.into_body(schemas)) {
            object.insert("requestBody".into(), body);
        }
        object.insert("responses".into(), responses(operation, schemas, problems).into());
        Self { path: text, names, method: operation.method.as_str().to_lowercase(), id, object }
    }

    /// Its answers by status.
    pub(super) fn responses(&mut self) -> &mut Object {
        let responses = self.object.get_mut("responses").and_then(Value::as_object_mut);
        responses.expect("an operation has an object of responses")
    }
}

/// What a request carries in its body, and what of it is in the path.
struct Request {
    /// The schema with all members.
    whole: Value,
    /// The schema of the body; `None` if the path has all members.
    body: Option<Value>,
}

impl Request {
    fn read(body: Body, path: &[String], schemas: &mut Schemas) -> Self {
        let schema = schemas.request(body.schema);
        let whole = schemas.resolved(&schema).clone();
        let except = body.except.iter().map(|name| (*name).to_owned());
        let elsewhere: Vec<String> = path.iter().cloned().chain(except).collect();
        let body_schema =
            match schemas::properties(&whole).any(|(name, _)| elsewhere.contains(name)) {
                true => without(&whole, &elsewhere),
                false => Some(schema),
            };
        Self { whole, body: body_schema }
    }

    fn into_body(self, schemas: &Schemas) -> Option<Value> {
        let schema = self.body?;
        let is_required = schemas::required(schemas.resolved(&schema)).next().is_some();
        let content = json!({ "application/json": { "schema": schema } });
        Some(json!({ "required": is_required, "content": content }))
    }
}

/// `schema` without the members `names`; `None` if it says nothing of other members.
fn without(schema: &Value, names: &[String]) -> Option<Value> {
    // What can stand in the schema of an object that has no members.
    const NO_MEMBERS: [&str; 5] = ["type", "title", "description", "examples", "properties"];
    let mut schema = schema.clone();
    let object = schema.as_object_mut()?;
    let properties = object.get_mut("properties")?.as_object_mut()?;
    properties.retain(|name, _| !names.contains(name));
    let is_empty = properties.is_empty();
    if let Some(Value::Array(required)) = object.get_mut("required") {
        required.retain(|required| !names.iter().any(|name| required == name));
        if required.is_empty() {
            object.remove("required");
        }
    }
    let says_more = |(key, value): (&String, &Value)| {
        !NO_MEMBERS.contains(&key.as_str()) && (key != "additionalProperties" || value != false)
    };
    (!is_empty || object.iter().any(says_more)).then_some(schema)
}

/// All parameters: those of the path first, in its order.
fn parameters(given: &[Parameter], path: &[String], members: &Value) -> Vec<Value> {
    let in_path = path.iter().map(|name| {
        let is_it =
            |parameter: &&Parameter| parameter.place == Place::Path && parameter.name == *name;
        given
            .iter()
            .find(is_it)
            .cloned()
            .or_else(|| Parameter::member(members, name, Place::Path))
            .unwrap_or_else(|| Parameter::segment(name))
            .to_value()
    });
    let elsewhere = given.iter().filter(|parameter| parameter.place != Place::Path);
    in_path.chain(elsewhere.map(Parameter::to_value)).collect()
}

/// An answer of one status, as it comes together.
#[derive(Default)]
pub(super) struct Answer {
    pub(super) descriptions: Vec<String>,
    pub(super) headers: Object,
    pub(super) content: Object,
}

impl Answer {
    fn add(&mut self, response: &Response, schemas: &mut Schemas) {
        let description = &response.description;
        if !description.is_empty() && !self.descriptions.contains(description) {
            self.descriptions.push(description.clone());
        }
        for header in &response.headers {
            self.headers.entry(header.name.clone()).or_insert_with(|| header.to_header());
        }
        if let Some((media_type, schema)) = response.content {
            let schema = schemas.answer(schema);
            self.content.entry(media_type).or_insert_with(|| json!({ "schema": schema }));
        }
    }

    /// Adds what `other` has beside this.
    fn join(&mut self, other: Self) {
        self.descriptions.extend(other.descriptions);
        for (name, header) in other.headers {
            self.headers.entry(name).or_insert(header);
        }
        for (media_type, content) in other.content {
            self.content.entry(media_type).or_insert(content);
        }
    }

    pub(super) fn into_value(self) -> Value {
        let mut object = Object::new();
        object.insert("description".into(), self.descriptions.join("\n\n").into());
        for (name, entries) in [("headers", self.headers), ("content", self.content)] {
            if !entries.is_empty() {
                object.insert(name.into(), entries.into());
            }
        }
        object.into()
    }
}

fn responses(operation: &Operation, schemas: &mut Schemas, problems: &mut Problems) -> Object {
    let mut answers: BTreeMap<u16, Answer> = BTreeMap::new();
    for response in &operation.responses {
        answers.entry(response.status).or_default().add(response, schemas);
    }
    let mut responses = Object::new();
    let failures: BTreeSet<u16> = operation.problems.iter().map(|kind| kind.status).collect();
    for status in failures {
        let kinds = operation.problems.iter().filter(|kind| kind.status == status);
        let (name, failure) = problems::answer(status, kinds, schemas);
        match answers.get_mut(&status) {
            Some(answer) => answer.join(failure),
            None => {
                responses.insert(status.to_string(), problems.refer_to(&name, failure));
            }
        }
    }
    for (status, answer) in answers {
        responses.insert(status.to_string(), answer.into_value());
    }
    responses
}
