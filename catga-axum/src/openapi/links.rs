//! Links: from the answer of a create to what can be done with the created.
//!
//! Nobody has to write them: what is made by `POST /orders` is at `/orders/{id}`, so every operation whose path
//! starts with that and has no other parameter is linked, if the answer has a member for `{id}`.

use serde_json::{Value, json};

use super::{
    Object, capitalized,
    operation::Described,
    schemas::{Schemas, properties},
};

/// Adds the links to every 201 of `operations`.
pub(super) fn add(operations: &mut [Described], schemas: &Schemas) {
    let all: Vec<_> =
        operations.iter().map(|operation| links(operation, operations, schemas)).collect();
    for (operation, links) in operations.iter_mut().zip(all) {
        if !links.is_empty() {
            operation.responses()["201"]["links"] = links.into();
        }
    }
}

fn links(create: &Described, operations: &[Described], schemas: &Schemas) -> Object {
    let mut links = Object::new();
    let answer = &create.object["responses"]["201"]["content"]["application/json"]["schema"];
    if !create.names.is_empty() || answer.is_null() {
        return links;
    }
    let created = schemas.resolved(answer);
    for operation in operations {
        let [name] = operation.names.as_slice() else { continue };
        let collection = create.path.trim_end_matches('/');
        let behind = operation.path.strip_prefix(&format!("{collection}/{{{name}}}"));
        if !behind.is_some_and(|behind| behind.is_empty() || behind.starts_with('/')) {
            continue;
        }
        let Some(member) = member(created, name) else { continue };
        let member = member.replace('~', "~0").replace('/', "~1");
        let parameters = json!({ name: format!("$response.body#/{member}") });
        let link = json!({ "operationId": operation.id, "parameters": parameters });
        links.insert(operation.id.clone(), link);
    }
    links
}

/// The member of `created` that says which one it is, where the path says it in `{name}`.
fn member<'a>(created: &'a Value, name: &str) -> Option<&'a str> {
    let members: Vec<&str> = properties(created).map(|(member, _)| member.as_str()).collect();
    let exact = [name.to_owned(), format!("{name}Id"), format!("{name}_id"), "id".to_owned()];
    let find = |wanted: &String| members.iter().find(|member| **member == wanted.as_str());
    if let Some(member) = exact.iter().find_map(find) {
        return Some(member);
    }
    // `orderId` for `{id}`, if there is no other `…Id`.
    let ends = [capitalized(name), format!("_{name}")];
    let mut ending = members.iter().filter(|member| ends.iter().any(|end| member.ends_with(end)));
    ending.next().filter(|_| ending.next().is_none()).copied()
}
