//! What commands, queries and histories have in common as routes.

use std::{any::type_name, sync::Arc};

use axum::routing::{MethodFilter, MethodRouter};
use catga::handler::Kind;
use serde::de::DeserializeOwned;

use crate::{
    app::Domain,
    message::fields_of,
    openapi::Operation,
    path::{self, Names},
    service::Shared,
};

/// What [`App::get`](crate::App::get), [`App::post`](crate::App::post) and the like put at a path: a
/// [`command`](crate::command), a [`query`](crate::query) or a [`history`](crate::history).
pub trait Endpoint: Sized {
    /// The handler of requests, which is also described in `domain`.
    #[doc(hidden)]
    fn mount(self, at: At, domain: &mut Domain) -> MethodRouter<Arc<Shared>>;
}

/// Where an endpoint is put.
#[derive(Debug, Clone, Copy)]
pub struct At {
    pub(crate) method: MethodFilter,
    pub(crate) verb: &'static str,
    pub(crate) path: &'static str,
}

impl At {
    /// An operation at this place, of which no more is known than what its handler's doc comment says.
    pub(crate) fn operation(&self, id: String, texts: (String, String)) -> Operation {
        Operation {
            method: self.verb.parse().expect("it is a method"),
            path: self.path.to_owned(),
            id,
            summary: texts.0,
            description: texts.1,
            tag: String::new(),
            parameters: Vec::new(),
            request: None,
            responses: Vec::new(),
            problems: Vec::new(),
        }
    }

    /// The fields of `T` that the path holds: those of its parameters' names, or else the key.
    ///
    /// # Panics
    /// When a parameter is no field.
    pub(crate) fn names<T: DeserializeOwned>(&self, key: Option<&'static str>) -> Names {
        let fields = fields::<T>();
        let mut names = Names::default();
        for parameter in path::parameters(self.path) {
            let name = field(fields, parameter).or_else(|| field(fields, key?));
            let name = name.unwrap_or_else(|| {
                panic!("{}: `{}` has no field `{parameter}`", self.path, type_name::<T>())
            });
            names.push(name);
        }
        names
    }
}

/// The names by which serde reads the fields of `T`.
///
/// # Panics
/// When it is no struct.
pub(crate) fn fields<T: DeserializeOwned>() -> &'static [&'static str] {
    fields_of::<T>().unwrap_or_else(|| {
        let name = type_name::<T>();
        panic!("`{name}` must be a struct with named fields, without `#[serde(flatten)]`")
    })
}

/// The one of `fields` that is `name` but for underscores and case: `orderId` for `order_id`.
pub(crate) fn field(fields: &[&'static str], name: &str) -> Option<&'static str> {
    let plain = |name: &str| name.replace(['_', '-'], "").to_ascii_lowercase();
    fields.iter().copied().find(|field| plain(field) == plain(name))
}

/// The name of an operation on `T`: `payOrder` for `PayOrder`.
pub(crate) fn operation_id<T>() -> String {
    let name = type_name::<T>();
    let name = name.split('<').next().unwrap_or(name).rsplit("::").next().unwrap_or(name);
    let (first, rest) = name.split_at(1);
    first.to_ascii_lowercase() + rest
}

/// What the doc comment of a message's handler says: the first line, and the rest.
pub(crate) fn texts(kind: Kind, name: &str) -> (String, String) {
    let handler =
        catga::handler::catalogue().into_iter().find(|item| (item.kind, item.name) == (kind, name));
    let doc = handler.map_or("", |handler| handler.doc);
    let (first, rest) = doc.split_once('\n').unwrap_or((doc, ""));
    (first.trim().trim_end_matches('.').to_owned(), rest.trim().to_owned())
}
