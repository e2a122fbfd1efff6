//! Lists in pages: `?limit=`, `?cursor=`, `Link: <…>; rel="next"` and `X-Total-Count`.

use std::fmt;

use axum::{
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::Response,
};
use catga::{
    log::LogId,
    read_model::{self, Cursor, Row},
};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    message::number,
    respond::{ascii, json_response, percent},
};

/// The parameter that says where a page begins. A cursor carries the log whose rows it counts, as in `100000007@00c0ffee00c0ffee`.
pub(crate) const CURSOR: &str = "cursor";

/// How many rows a page holds at most: a field of a query, `#[serde(default)] limit: Limit`. 1 to 1000; 100 when the
/// request does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limit(pub usize);

impl Limit {
    const MOST: usize = 1000;

    pub(crate) fn parse(text: &str) -> Option<Self> {
        let limit = number(text).and_then(|limit| usize::try_from(limit).ok())?;
        (1..=Self::MOST).contains(&limit).then_some(Self(limit))
    }
}

impl Default for Limit {
    fn default() -> Self {
        Self(100)
    }
}

impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| D::Error::custom("1 to 1000 are allowed"))
    }
}

/// As a number, which is what the OpenAPI document shows as the default.
impl Serialize for Limit {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(serializer)
    }
}

impl JsonSchema for Limit {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Limit".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": 1, "maximum": Self::MOST, "default": 100 })
    }
}

/// A page of a list, as [`QueryRoute::page`](crate::QueryRoute::page) takes it. It is answered as a JSON array of
/// the items.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page<T> {
    /// What is on the page.
    pub items: Vec<T>,
    /// How many items match in all, for `X-Total-Count`.
    pub total: Option<u64>,
    /// Where the next page begins; `None` at the end.
    pub next: Option<Cursor>,
}

impl<T> Page<T> {
    /// A page of a [`Table`](read_model::Table), each row as `show` makes it.
    pub fn of<R: Row>(page: read_model::Page<R>, show: impl FnMut((R::Key, R)) -> T) -> Self {
        let read_model::Page { rows, total, next } = page;
        Self { items: rows.into_iter().map(show).collect(), total: Some(total), next }
    }
}

impl<T: Clone> Page<T> {
    /// A page of `rows`, which stand in the order they were made, newest first.
    pub fn newest_first(rows: &[T], cursor: Option<Cursor>, Limit(limit): Limit) -> Self {
        let before = cursor.map_or(rows.len(), |cursor| rows.len().min(cursor.place() as usize));
        let first = before.saturating_sub(limit);
        Self {
            items: rows[first..before].iter().rev().cloned().collect(),
            total: Some(rows.len() as u64),
            next: u32::try_from(first).ok().filter(|first| *first > 0).map(Cursor::new),
        }
    }
}

impl<T: Serialize> Page<T> {
    /// The answer to a request for `path` with `params`.
    pub(crate) fn respond(&self, log: LogId, path: &str, params: &[(String, String)]) -> Response {
        page_response(&self.items, self.total, self.next.as_ref(), log, path, params)
    }
}

/// The answer to a request for `path` with `params`: `items`, and where the next page of a list in `log` begins.
pub(crate) fn page_response(
    items: &[impl Serialize],
    total: Option<u64>,
    next: Option<&impl fmt::Display>,
    log: LogId,
    path: &str,
    params: &[(String, String)],
) -> Response {
    let mut response = json_response(StatusCode::OK, &items);
    let headers = response.headers_mut();
    if let Some(total) = total {
        headers.insert(HeaderName::from_static("x-total-count"), HeaderValue::from(total));
    }
    if let Some(next) = next {
        headers.insert(header::LINK, link(path, CURSOR, format_args!("{next}@{log}"), params));
    }
    response
}

/// The link to the next page: `path` with `params`, but from `next` on.
pub(crate) fn link(
    path: &str,
    name: &str,
    next: impl fmt::Display,
    params: &[(String, String)],
) -> HeaderValue {
    let given = params.iter().filter(|(given, _)| given != name);
    let others: String =
        given.map(|(name, text)| format!("&{}={}", percent(name), percent(text))).collect();
    ascii(format_args!("<{path}?{name}={next}{others}>; rel=\"next\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_stay_right_while_rows_are_added() {
        let mut rows: Vec<u32> = (0..7).collect();
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = Page::newest_first(&rows, cursor, Limit(3));
            assert_eq!(page.total, Some(rows.len() as u64));
            seen.extend(page.items);
            rows.push(99);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, [6, 5, 4, 3, 2, 1, 0]);
    }

    #[test]
    fn a_limit_is_read_as_a_parameter_and_written_as_a_number() {
        let read = |text: &str| serde_json::from_value::<Limit>(text.into()).ok();
        assert_eq!(read("1"), Some(Limit(1)));
        assert_eq!(read("1000"), Some(Limit(1000)));
        for wrong in ["0", "1001", "+1", "1.0", ""] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
        assert_eq!(serde_json::to_value(Limit(7)).unwrap(), serde_json::json!(7));
        let schema = Limit::json_schema(&mut SchemaGenerator::default());
        let default = serde_json::to_value(Limit::default()).unwrap();
        assert_eq!(schema.get("default"), Some(&default));
    }

    #[test]
    fn a_page_of_a_table_has_its_place_in_it() {
        let (rows, next) = (vec![("b".to_owned(), Counted(2))], Some(Cursor::new(1)));
        let page = read_model::Page { rows, total: 2, next };
        let page = Page::of(page, |(key, Counted(count))| (key, count));
        assert_eq!(page, Page { items: vec![("b".to_owned(), 2)], total: Some(2), next });
    }

    #[derive(Debug, Default, Serialize, Deserialize)]
    struct Counted(u32);

    impl Row for Counted {
        type Key = String;
        type Index<'a> = ();

        fn indexes(&self) -> impl IntoIterator<Item = ()> {
            []
        }
    }

    #[test]
    fn a_link_keeps_every_other_parameter() {
        let params = [("cursor", "1"), ("limit", "5"), ("consistency", "eventual"), ("q", "a b")];
        let params = params.map(|(name, text)| (name.to_owned(), text.to_owned()));
        let link = link("/orders", "cursor", Cursor::new(7), &params);
        let expected =
            "</orders?cursor=100000007&limit=5&consistency=eventual&q=a%20b>; rel=\"next\"";
        assert_eq!(link, expected);
    }
}
