//! What many operations say alike, said once.
//!
//! A parameter or header moves to the components if it is used more than once and means the same wherever its name
//! is used, so that another operation never changes the name of a component.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Object, capitalized, operation::Described};

/// Moves the parameters that operations share out of them; answers them by name.
pub(super) fn parameters(operations: &mut [Described]) -> Object {
    let mut seen = Seen::default();
    for_each_parameter(operations, |parameter| seen.add(parameter_name(parameter), parameter));
    let shared = seen.shared();
    for_each_parameter(operations, |parameter| {
        let name = parameter_name(parameter);
        refer_to("parameters", &name, &shared, parameter);
    });
    shared
}

/// Moves the headers that answers of operations share out of them; answers them by name.
pub(super) fn headers(operations: &mut [Described]) -> Object {
    let mut seen = Seen::default();
    for_each_header(operations, |name, header| {
        if name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)) {
            seen.add(name.to_owned(), header);
        }
    });
    let shared = seen.shared();
    for_each_header(operations, |name, header| refer_to("headers", name, &shared, header));
    shared
}

/// Every name with what it was used for; `None` if that was not always the same.
#[derive(Default)]
struct Seen(BTreeMap<String, (Option<Value>, usize)>);

impl Seen {
    fn add(&mut self, name: String, value: &Value) {
        let (seen, times) = self.0.entry(name).or_insert_with(|| (Some(value.clone()), 0));
        *times += 1;
        if seen.as_ref() != Some(value) {
            *seen = None;
        }
    }

    fn shared(self) -> Object {
        let often = self.0.into_iter().filter(|(_, (_, times))| *times > 1);
        often.filter_map(|(name, (value, _))| Some((name, value?))).collect()
    }
}

fn refer_to(kind: &str, name: &str, shared: &Object, value: &mut Value) {
    if shared.contains_key(name) {
        *value = json!({ "$ref": format!("#/components/{kind}/{name}") });
    }
}

/// The parameter's name in the components: `IdempotencyKeyHeader`.
fn parameter_name(parameter: &Value) -> String {
    ["name", "in"].iter().map(|part| capitalized(parameter[part].as_str().unwrap_or(""))).collect()
}

fn for_each_parameter(operations: &mut [Described], mut visit: impl FnMut(&mut Value)) {
    for operation in operations {
        let parameters = operation.object.get_mut("parameters").and_then(Value::as_array_mut);
        parameters.into_iter().flatten().for_each(&mut visit);
    }
}

fn for_each_header(operations: &mut [Described], mut visit: impl FnMut(&str, &mut Value)) {
    for operation in operations {
        for response in operation.responses().values_mut() {
            let headers = response.get_mut("headers").and_then(Value::as_object_mut);
            headers.into_iter().flatten().for_each(|(name, header)| visit(name, header));
        }
    }
}
