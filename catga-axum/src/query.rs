//! Queries as routes.

use std::{fmt, sync::Arc};

use axum::{
    extract::{Request, State},
    http::{HeaderMap, StatusCode, Uri, header, request::Parts},
    response::{IntoResponse, Response},
    routing::{MethodRouter, on},
};
use catga::{
    Catga, Consistency, Query,
    handler::{Handled, Kind},
};
use schemars::JsonSchema;
use serde::{Serialize, de::DeserializeOwned};

use crate::{
    app::Domain,
    describe,
    endpoint::{At, Endpoint, fields, operation_id, texts},
    message::{self, Place, TextError},
    page::{CURSOR, Page},
    path::{Names, Values},
    problem::{Failure, Problem},
    request::{self, Params, is_unchanged},
    respond::{etag, json_response},
    service::Shared,
};

/// A route that asks a query.
///
/// The query is made of the path's and the query string's parameters; a parameter of the path that no field is named
/// after is the field marked `#[key]`, and a parameter of the query string that is no field is refused. The answer is
/// the query's output as JSON. `?consistency=latest|eventual` and `X-Catga-Position` say how fresh it must be.
pub fn query<Q: Query + Handled>() -> QueryRoute<Q, Q::Output> {
    QueryRoute { view: |output| output, version: None }
}

/// See [`query`].
pub struct QueryRoute<Q: Query + Handled, V> {
    view: fn(Q::Output) -> V,
    version: Option<fn(&V) -> u64>,
}

/// A [`query`] that is answered a page at a time.
pub struct PageRoute<Q: Query + Handled, T> {
    page: fn(Q::Output) -> Page<T>,
}

impl<Q: Query + Handled, V> QueryRoute<Q, V> {
    /// The answer is what `view` makes of the query's output.
    pub fn map<W>(self, view: fn(Q::Output) -> W) -> QueryRoute<Q, W> {
        QueryRoute { view, version: None }
    }

    /// The answer has a version: it carries `ETag`, and is 304 when `If-None-Match` has the same.
    #[must_use]
    pub fn etag(self, version: fn(&V) -> u64) -> Self {
        Self { version: Some(version), ..self }
    }

    /// The answer is a page of a list, a JSON array, with `Link` to the next one and `X-Total-Count`.
    pub fn page<T>(self, page: fn(Q::Output) -> Page<T>) -> PageRoute<Q, T> {
        PageRoute { page }
    }
}

impl<Q: Query + Handled, V> fmt::Debug for QueryRoute<Q, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryRoute").field("query", &Q::NAME).finish_non_exhaustive()
    }
}

impl<Q: Query + Handled, T> fmt::Debug for PageRoute<Q, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageRoute").field("query", &Q::NAME).finish_non_exhaustive()
    }
}

impl<Q, V> Endpoint for QueryRoute<Q, V>
where
    Q: Query + Handled + DeserializeOwned + JsonSchema,
    V: Serialize + JsonSchema + Send + 'static,
{
    fn mount(self, at: At, domain: &mut Domain) -> MethodRouter<Arc<Shared>> {
        let plan = Plan::of::<Q>(&at, false);
        let operation = at.operation(operation_id::<Q>(), texts(Kind::QueryHandler, Q::NAME));
        let has_tag = self.version.is_some();
        domain.operations.push(describe::query::<Q, V>(operation, &plan.names, has_tag));
        let Self { view, version } = self;
        on(at.method, move |State(shared): State<Arc<Shared>>, request: Request| async move {
            let outcome = async {
                let Asked { query, consistency, asker } =
                    plan.read::<Q>(&shared.catga, request).await?;
                let output = shared.catga.query(query).consistency(consistency).await?;
                Ok(respond(&view(output), version, &asker.headers))
            };
            outcome.await.map_err(|failure: Failure| failure.into_problem(&shared))
        })
    }
}

impl<Q, T> Endpoint for PageRoute<Q, T>
where
    Q: Query + Handled + DeserializeOwned + JsonSchema,
    T: Serialize + JsonSchema + Send + 'static,
{
    fn mount(self, at: At, domain: &mut Domain) -> MethodRouter<Arc<Shared>> {
        let plan = Plan::of::<Q>(&at, true);
        let operation = at.operation(operation_id::<Q>(), texts(Kind::QueryHandler, Q::NAME));
        domain.operations.push(describe::page::<Q, T>(operation, &plan.names));
        let page = self.page;
        on(at.method, move |State(shared): State<Arc<Shared>>, request: Request| async move {
            let outcome = async {
                let Asked { query, consistency, asker } =
                    plan.read::<Q>(&shared.catga, request).await?;
                let output = shared.catga.query(query).consistency(consistency).await?;
                let log = shared.catga.store().log_id();
                Ok(page(output).respond(log, asker.uri.path(), asker.params.pairs()))
            };
            outcome.await.map_err(|failure: Failure| failure.into_problem(&shared))
        })
    }
}

/// How requests become queries.
struct Plan {
    names: Names,
    /// The query parameters that there are.
    known: Vec<&'static str>,
    /// Whether the answer is a page, whose link holds a cursor.
    is_paged: bool,
}

/// A query with what the request said about it.
struct Asked<Q> {
    query: Q,
    consistency: Consistency,
    asker: Asker,
}

/// What an answer depends on beside the query.
struct Asker {
    headers: HeaderMap,
    uri: Uri,
    params: Params,
}

impl Plan {
    /// Of `Q`. The routes live as long as the program, and each request would count its use of them.
    fn of<Q: Query + DeserializeOwned>(at: &At, is_paged: bool) -> &'static Self {
        let names = at.names::<Q>(Q::KEY);
        let is_param = |field: &&'static str| !names.as_slice().contains(field);
        let mut known: Vec<_> = fields::<Q>().iter().copied().filter(is_param).collect();
        known.push(request::CONSISTENCY);
        Box::leak(Box::new(Self { names, known, is_paged }))
    }

    async fn read<Q: DeserializeOwned>(
        &self,
        catga: &Catga,
        request: Request,
    ) -> Result<Asked<Q>, Failure> {
        let (mut parts, _) = request.into_parts();
        let mut values = Values::of(&mut parts, &self.names).ok_or(Failure::NoSuchKey)?;
        let Parts { headers, uri, .. } = parts;
        let mut params = Params::of(&uri)?;
        params.only(&self.known)?;
        if self.is_paged {
            params.take_log_of(CURSOR, catga)?;
        }
        let consistency = params.consistency(&headers, catga).await?;
        let mut is_path_wrong = false;
        let (names, is_wrong) = (&self.names, &mut is_path_wrong);
        let place = Place { names, values: &mut values, is_path_wrong: is_wrong };
        let query = message::from_pairs(place, params.pairs()).map_err(|TextError(reason)| {
            if is_path_wrong { Failure::NoSuchKey } else { Problem::bad_request(reason).into() }
        })?;
        Ok(Asked { query, consistency, asker: Asker { headers, uri, params } })
    }
}

fn respond<V: Serialize>(
    view: &V,
    version: Option<fn(&V) -> u64>,
    headers: &HeaderMap,
) -> Response {
    let Some(version) = version else { return json_response(StatusCode::OK, view) };
    let tag = etag(version(view).into());
    let mut response = match is_unchanged(headers, tag.to_str().unwrap_or_default()) {
        true => StatusCode::NOT_MODIFIED.into_response(),
        false => json_response(StatusCode::OK, view),
    };
    response.headers_mut().insert(header::ETAG, tag);
    response
}
