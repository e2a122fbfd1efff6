//! Parameters and headers.

use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use super::{Object, insert_text, schemas};

/// A parameter of an operation, or a header of an answer.
#[derive(Debug, Clone)]
pub struct Parameter {
    /// Its name.
    pub name: String,
    /// Where it is; of no meaning for the header of an answer.
    pub place: Place,
    /// Whether it must be there. A parameter in the path must be, whatever this says.
    pub required: bool,
    /// What it is for, in Markdown; empty for nothing to say.
    pub description: String,
    /// What it may be.
    pub schema: Schema,
}

/// Where a parameter of a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// A segment of the path.
    Path,
    /// The query string.
    Query,
    /// A header.
    Header,
}

impl Place {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Path => "path",
            Self::Query => "query",
            Self::Header => "header",
        }
    }
}

impl Parameter {
    /// The members of `T` as parameters, in alphabetical order: those of a query string, for example.
    ///
    /// A member is required unless it is an `Option` or has a default, and its doc comment is the description.
    /// A `T` that is not a struct with named fields has no parameters.
    #[must_use]
    pub fn all_of<T: JsonSchema>(place: Place) -> Vec<Self> {
        let schema = schemas::inline::<T>();
        let mut names: Vec<_> =
            schemas::properties(&schema).map(|(name, _)| name.clone()).collect();
        names.sort();
        names.iter().filter_map(|name| Self::member(&schema, name, place)).collect()
    }

    /// The member `name` of the object that `schema` describes.
    pub(super) fn member(schema: &Value, name: &str, place: Place) -> Option<Self> {
        let (name, member) = schemas::properties(schema).find(|(member, _)| *member == name)?;
        let required = schemas::required(schema).any(|required| required == name);
        let mut member = Schema::try_from(member.clone()).ok()?;
        schemas::remove_null(&mut member);
        let description = match member.remove("description") {
            Some(Value::String(description)) => description,
            _ => String::new(),
        };
        Some(Self { name: name.clone(), place, required, description, schema: member })
    }

    /// A parameter of the path that is known by nothing but its name.
    pub(super) fn segment(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            place: Place::Path,
            required: true,
            description: String::new(),
            schema: schemars::json_schema!({ "type": "string" }),
        }
    }

    /// As a parameter of an operation.
    pub(super) fn to_value(&self) -> Value {
        let mut object = Object::new();
        object.insert("name".into(), self.name.as_str().into());
        object.insert("in".into(), self.place.name().into());
        if self.required || self.place == Place::Path {
            object.insert("required".into(), true.into());
        }
        insert_text(&mut object, "description", &self.description);
        object.insert("schema".into(), self.schema.as_value().clone());
        object.into()
    }

    /// As a header of an answer.
    pub(super) fn to_header(&self) -> Value {
        let mut header = json!({ "schema": self.schema });
        if self.required {
            header["required"] = true.into();
        }
        if !self.description.is_empty() {
            header["description"] = self.description.as_str().into();
        }
        header
    }
}
