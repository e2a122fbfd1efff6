//! The parameters of a path: which fields of a message they are, and their values in a request.

use std::{convert::Infallible, fmt, mem::take};

use axum::{
    extract::{FromRequestParts, Path},
    http::request::Parts,
};
use catga::log::StreamId;
use futures_util::FutureExt;
use serde::{
    Deserialize, Deserializer,
    de::{SeqAccess, Visitor},
};

/// The most parameters that a path can have.
const MOST: usize = 4;

/// The fields of a message that its path holds, in the order of the path, as serde names them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Names {
    names: [&'static str; MOST],
    length: usize,
}

impl Names {
    /// # Panics
    /// When there are more than a path can have.
    pub(crate) fn push(&mut self, name: &'static str) {
        assert!(self.length < MOST, "a path has at most {MOST} parameters");
        self.names[self.length] = name;
        self.length += 1;
    }

    pub(crate) fn as_slice(&self) -> &[&'static str] {
        &self.names[..self.length]
    }
}

/// The parameters of `path`, as axum writes it: `id` of `/orders/{id}`.
pub(crate) fn parameters(path: &str) -> impl Iterator<Item = &str> {
    let behind = path.split('{').skip(1);
    behind.filter_map(|rest| Some(rest.split_once('}')?.0.trim_start_matches('*')))
}

/// The values of a path's parameters. Most paths have one at most, which then takes no list.
#[derive(Debug, Default)]
pub(crate) struct Values {
    first: String,
    rest: Vec<String>,
}

impl Values {
    pub(crate) fn one(value: String) -> Self {
        Self { first: value, rest: Vec::new() }
    }

    /// The value with this index, which is gone then.
    pub(crate) fn take(&mut self, index: usize) -> String {
        match index {
            0 => take(&mut self.first),
            _ => self.rest.get_mut(index - 1).map(take).unwrap_or_default(),
        }
    }

    /// Those of a request whose path holds `names`; `None` when one of them is no text that a key could be.
    ///
    /// An id in a path is data: whatever it is, it is at most something that is not there.
    pub(crate) fn of(parts: &mut Parts, names: &Names) -> Option<Self> {
        if names.length == 0 {
            return Some(Self::default());
        }
        // It waits for nothing.
        let Path(values) = Path::<Self>::from_request_parts(parts, &()).now_or_never()?.ok()?;
        let mut all = std::iter::once(&values.first).chain(&values.rest);
        all.all(|value| StreamId::is_part(value)).then_some(values)
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Texts;

        impl<'de> Visitor<'de> for Texts {
            type Value = Values;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("the parameters of a path")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut values: A) -> Result<Values, A::Error> {
                let mut all = Values::one(values.next_element()?.unwrap_or_default());
                while let Some(value) = values.next_element()? {
                    all.rest.push(value);
                }
                Ok(all)
            }
        }

        deserializer.deserialize_seq(Texts)
    }
}

/// An extractor that is never refused: the parameter `{id}` of the kit's own routes.
pub(crate) struct Id(pub(crate) Option<String>);

impl<S: Send + Sync> FromRequestParts<S> for Id {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Infallible> {
        let id = Path::<String>::from_request_parts(parts, state).await;
        // Text that is not even UTF-8 is an id of nothing.
        Ok(Self(id.ok().map(|Path(id)| id)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parameters_of_a_path_are_found() {
        let found = |path| parameters(path).collect::<Vec<_>>();
        assert_eq!(found("/orders"), [""; 0]);
        assert_eq!(found("/orders/{id}/items/{item}"), ["id", "item"]);
        assert_eq!(found("/files/{*path}"), ["path"]);
    }
}
