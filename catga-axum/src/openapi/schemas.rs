//! The schemas of all types, each under one name.
//!
//! Requests and answers have a generator each, since a type can be read more leniently than it is written. What
//! comes of the two is brought together at the end, where a reference into either becomes one into the document.

use std::collections::{BTreeMap, BTreeSet};

use schemars::{
    JsonSchema, Schema, SchemaGenerator,
    generate::SchemaSettings,
    transform::{RecursiveTransform, Transform},
};
use serde_json::Value;

use super::{Object, SchemaOf, unique};

/// Where the document has its schemas, and where those of answers are from the start.
const SCHEMAS: &str = "#/components/schemas/";
/// Where those of requests are until they are brought together.
const REQUESTS: &str = "#/components/requests/";

/// The schemas that were asked for so far.
pub(super) struct Schemas {
    requests: SchemaGenerator,
    answers: SchemaGenerator,
}

impl Default for Schemas {
    fn default() -> Self {
        let at = |path: &'static str| {
            SchemaSettings::draft2020_12().with(|settings| {
                settings.meta_schema = None;
                settings.definitions_path = path.trim_end_matches('/').into();
            })
        };
        Self {
            requests: at(REQUESTS).for_deserialize().into_generator(),
            answers: at(SCHEMAS)
                .for_serialize()
                .with_transform(RecursiveTransform(never_null_where_optional))
                .into_generator(),
        }
    }
}

impl Schemas {
    /// The schema of what is read.
    pub(super) fn request(&mut self, of: SchemaOf) -> Value {
        of(&mut self.requests).to_value()
    }

    /// The schema of what is written.
    pub(super) fn answer(&mut self, of: SchemaOf) -> Value {
        let mut schema = of(&mut self.answers);
        RecursiveTransform(never_null_where_optional).transform(&mut schema);
        schema.to_value()
    }

    /// The schema of what is written, or left out if it is null.
    pub(super) fn member(&mut self, of: SchemaOf) -> Value {
        let schema = self.answer(of);
        let Ok(mut schema) = Schema::try_from(schema.clone()) else { return schema };
        remove_null(&mut schema);
        schema.to_value()
    }

    /// `schema`, or what it refers to.
    pub(super) fn resolved<'a>(&'a self, schema: &'a Value) -> &'a Value {
        let Some(reference) = schema.get("$ref").and_then(Value::as_str) else { return schema };
        let definition = if let Some(name) = reference.strip_prefix(REQUESTS) {
            self.requests.definitions().get(&decoded(name))
        } else {
            let name = reference.strip_prefix(SCHEMAS).unwrap_or_default();
            self.answers.definitions().get(&decoded(name))
        };
        definition.unwrap_or(schema)
    }

    /// Adds to `document` the schemas that it refers to, each under one name.
    pub(super) fn add_to(mut self, document: &mut Value) {
        let requests = self.requests.take_definitions(true);
        let answers = self.answers.take_definitions(true);
        let names = Names::choose(&requests, &answers);
        let named = |(name, schema): (String, Value), names: &BTreeMap<String, String>| {
            (names.get(&name).cloned().unwrap_or(name), schema)
        };
        let requests = requests.into_iter().map(|entry| named(entry, &names.requests));
        let answers = answers.into_iter().map(|entry| named(entry, &names.answers));
        let mut schemas: BTreeMap<_, _> = requests.chain(answers).collect();
        for schema in schemas.values_mut().chain([&mut *document]) {
            for_each_reference(schema, &mut |reference| names.rename(reference));
        }
        let used = reachable(document, &mut schemas);
        schemas.retain(|name, _| used.contains(name));
        if !schemas.is_empty() {
            document["components"]["schemas"] = Value::Object(schemas.into_iter().collect());
        }
    }
}

/// Under which name each schema is in the document.
struct Names {
    requests: BTreeMap<String, String>,
    answers: BTreeMap<String, String>,
}

impl Names {
    fn choose(requests: &Object, answers: &Object) -> Self {
        let mut taken = BTreeSet::new();
        let mut choose = |name: &str| (name.to_owned(), unique(&allowed(name), &mut taken));
        let answer_names: BTreeMap<_, _> = answers.keys().map(|name| choose(name)).collect();
        let different = different(requests, answers);
        let mut request_names = BTreeMap::new();
        for name in requests.keys() {
            let chosen = match answer_names.get(name) {
                Some(_) if different.contains(name) => choose(&format!("{name}Input")).1,
                Some(chosen) => chosen.clone(),
                None => choose(name).1,
            };
            request_names.insert(name.clone(), chosen);
        }
        Self { requests: request_names, answers: answer_names }
    }

    /// Makes a reference into either generator one into the document.
    fn rename(&self, reference: &mut String) {
        let (names, name) = match reference.strip_prefix(REQUESTS) {
            Some(name) => (&self.requests, name),
            None => (&self.answers, reference.strip_prefix(SCHEMAS).unwrap_or_default()),
        };
        if let Some(name) = names.get(&decoded(name)) {
            *reference = format!("{SCHEMAS}{name}");
        }
    }
}

/// The names that stand for one thing in a request and for another in an answer.
fn different(requests: &Object, answers: &Object) -> BTreeSet<String> {
    let mut common: BTreeMap<&String, (Value, Vec<String>)> = BTreeMap::new();
    for (name, schema) in requests.iter().filter(|(name, _)| answers.contains_key(*name)) {
        let mut schema = schema.clone();
        let mut names = Vec::new();
        for_each_reference(&mut schema, &mut |reference| {
            if let Some(name) = reference.strip_prefix(REQUESTS) {
                names.push(decoded(name));
                *reference = format!("{SCHEMAS}{name}");
            }
        });
        common.insert(name, (schema, names));
    }
    let mut different: BTreeSet<String> = common
        .iter()
        .filter(|(name, (schema, _))| answers[name.as_str()] != *schema)
        .map(|(name, _)| (*name).clone())
        .collect();
    // What refers to something different is different itself.
    loop {
        let before = different.len();
        for (name, (_, references)) in &common {
            if references.iter().any(|reference| different.contains(reference)) {
                different.insert((*name).clone());
            }
        }
        if different.len() == before {
            return different;
        }
    }
}

/// The names of the schemas that `document` refers to, and those that these refer to.
fn reachable(document: &mut Value, schemas: &mut BTreeMap<String, Value>) -> BTreeSet<String> {
    let mut reached = BTreeSet::new();
    let mut next = referenced(document);
    while let Some(name) = next.pop() {
        if let Some(schema) = schemas.get_mut(&name)
            && reached.insert(name)
        {
            next.extend(referenced(schema));
        }
    }
    reached
}

/// The names of the schemas that `value` refers to itself.
fn referenced(value: &mut Value) -> Vec<String> {
    let mut names = Vec::new();
    for_each_reference(value, &mut |reference| {
        names.extend(reference.strip_prefix(SCHEMAS).map(ToOwned::to_owned));
    });
    names
}

fn for_each_reference(value: &mut Value, visit: &mut impl FnMut(&mut String)) {
    match value {
        Value::Array(values) => {
            values.iter_mut().for_each(|value| for_each_reference(value, visit));
        }
        Value::Object(members) => {
            for (name, value) in members {
                match value {
                    Value::String(reference) if name == "$ref" => visit(reference),
                    value => for_each_reference(value, visit),
                }
            }
        }
        _ => {}
    }
}

/// `name` in the characters that a name in a document may have.
fn allowed(name: &str) -> String {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "._-".contains(character);
    name.chars().map(|character| if allowed(character) { character } else { '_' }).collect()
}

/// The name that schemars wrote into a reference: percent-encoded, with `~` and `/` as in a JSON pointer.
fn decoded(name: &str) -> String {
    let mut bytes = Vec::new();
    let mut left = name.as_bytes();
    while let [first, rest @ ..] = left {
        let code = rest.get(..2).and_then(|code| std::str::from_utf8(code).ok());
        let code = code.and_then(|code| u8::from_str_radix(code, 16).ok());
        match (first, code) {
            (b'%', Some(byte)) => {
                bytes.push(byte);
                left = &rest[2..];
            }
            _ => {
                bytes.push(*first);
                left = rest;
            }
        }
    }
    String::from_utf8_lossy(&bytes).replace("~1", "/").replace("~0", "~")
}

/// The schema of a `T` that is read, with everything in place.
pub(super) fn inline<T: JsonSchema>() -> Value {
    let settings = SchemaSettings::draft2020_12().for_deserialize();
    let settings = settings.with(|settings| settings.inline_subschemas = true);
    T::json_schema(&mut settings.into_generator()).to_value()
}

/// The members of the object that `schema` describes.
pub(super) fn properties(schema: &Value) -> impl Iterator<Item = (&String, &Value)> {
    schema.get("properties").and_then(Value::as_object).into_iter().flatten()
}

/// The members that the object must have.
pub(super) fn required(schema: &Value) -> impl Iterator<Item = &str> {
    let required = schema.get("required").and_then(Value::as_array);
    required.into_iter().flatten().filter_map(Value::as_str)
}

/// In an answer, a member that may be left out is left out rather than null.
fn never_null_where_optional(schema: &mut Schema) {
    let required: BTreeSet<String> = required(schema.as_value()).map(ToOwned::to_owned).collect();
    let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) else {
        return;
    };
    for (_, member) in properties.iter_mut().filter(|(name, _)| !required.contains(*name)) {
        if let Ok(member) = <&mut Schema>::try_from(member) {
            remove_null(member);
        }
    }
}

/// Takes null from what `schema` allows beside other values.
pub(super) fn remove_null(schema: &mut Schema) {
    let Some(object) = schema.as_object_mut() else { return };
    if let Some(Value::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [only] = types.as_slice() {
            object["type"] = only.clone();
        }
        if let Some(Value::Array(values)) = object.get_mut("enum") {
            values.retain(|value| !value.is_null());
        }
    }
    if let Some(Value::Array(options)) = object.get_mut("anyOf") {
        options.retain(|option| option["type"] != "null");
        if let [only] = options.as_slice() {
            let only = only.as_object().cloned().unwrap_or_default();
            object.remove("anyOf");
            // What is said of the member goes before what is said of its type.
            for (name, value) in only {
                object.entry(name).or_insert(value);
            }
        }
    }
    if object.get("default").is_some_and(Value::is_null) {
        object.remove("default");
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_name_in_a_reference_is_read_as_schemars_wrote_it() {
        for (written, name) in [
            ("Order", "Order"),
            ("Page%3COrder%3E", "Page<Order>"),
            ("a~1b~0c%25d", "a/b~c%d"),
            ("Gr%C3%B6%C3%9Fe", "Größe"),
            ("100%", "100%"),
        ] {
            assert_eq!(decoded(written), name);
        }
        assert_eq!(allowed("Page<Größe>"), "Page_Gr__e_");
    }

    #[test]
    fn null_goes_and_the_rest_stays() {
        for (nullable, other) in [
            (json!({ "type": ["string", "null"] }), json!({ "type": "string" })),
            (
                json!({ "type": ["string", "null"], "enum": ["a", null], "default": null }),
                json!({ "type": "string", "enum": ["a"] }),
            ),
            (
                json!({ "anyOf": [{ "$ref": "#/x" }, { "type": "null" }], "description": "d" }),
                json!({ "$ref": "#/x", "description": "d" }),
            ),
            (
                json!({ "anyOf": [{ "$ref": "#/x" }, { "$ref": "#/y" }, { "type": "null" }] }),
                json!({ "anyOf": [{ "$ref": "#/x" }, { "$ref": "#/y" }] }),
            ),
            (json!({ "type": "null" }), json!({ "type": "null" })),
            (json!(true), json!(true)),
        ] {
            let mut schema = Schema::try_from(nullable).unwrap();
            remove_null(&mut schema);
            assert_eq!(schema.to_value(), other);
        }
    }
}
