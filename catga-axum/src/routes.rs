//! The names of the routes, by which requests are bounded, counted and timed.

use std::{fmt, sync::OnceLock, time::Duration};

use axum::http::{Method, StatusCode};
use metrics::Histogram;

/// The name of what no route takes.
const NONE: &str = "none";

/// Those that every service has, with whether their requests can pile up behind a slow store. Health, metrics and the
/// cluster's state are asked for most when they do.
const OWN: [(&str, bool); 13] = [
    ("/", false),
    ("/health", false),
    ("/health/live", false),
    ("/health/ready", false),
    ("/metrics", false),
    ("/openapi.json", false),
    ("/docs", false),
    ("/cluster", false),
    ("/events", false),
    ("/dead-letters", true),
    ("/dead-letters/retry", true),
    ("/dead-letters/{id}/retry", true),
    ("/dead-letters/{id}", true),
];

/// The routes at `paths`, which are asked for most and come first, those that every service has, and last the one that
/// takes all.
pub(super) fn table(paths: &[&'static str]) -> Vec<Route> {
    let mut routes: Vec<Route> = Vec::new();
    for &path in paths {
        if !routes.iter().any(|route| route.name == path) {
            routes.push(Route::new(path, true));
        }
    }
    // `/orders/mine` is not what `/orders/{id}` means.
    routes.sort_by_key(|route| route.pieces.len());
    routes.extend(OWN.map(|(path, is_bounded)| Route::new(path, is_bounded)));
    routes.push(Route::new(NONE, false));
    routes
}

/// The one of `routes` that takes `path`.
pub(super) fn find<'a>(routes: &'a [Route], path: &str) -> &'a Route {
    routes.iter().find(|route| route.takes(path)).expect("the last one takes all")
}

/// One route.
pub(super) struct Route {
    name: &'static str,
    /// What stands before, between and behind the parameters; each of those is a segment of the path.
    pieces: Vec<&'static str>,
    /// Whether the last parameter is all that is left of the path.
    is_open: bool,
    /// Whether it takes one of the places that there are for requests at work.
    pub(super) is_bounded: bool,
    /// The histograms of its requests. They are made as they are needed, from the first on, and kept: to find one by its
    /// labels costs more than all else that a request needs here.
    timers: [OnceLock<Timer>; 32],
}

/// That of the requests with this method and this answer.
struct Timer {
    method: &'static str,
    status: StatusCode,
    histogram: Histogram,
}

impl Route {
    fn new(name: &'static str, is_bounded: bool) -> Self {
        let mut rest = name;
        let mut pieces = Vec::new();
        while let Some((piece, behind)) = rest.split_once('{') {
            pieces.push(piece);
            rest = behind.split_once('}').map_or("", |(_, behind)| behind);
        }
        pieces.push(rest);
        let is_open = name.contains("{*");
        Self { name, pieces, is_open, is_bounded, timers: Default::default() }
    }

    fn takes(&self, path: &str) -> bool {
        let [only] = self.pieces.as_slice() else { return self.fits(path) };
        path == *only || *only == NONE
    }

    /// Whether `path` is this one, with text for each parameter.
    fn fits(&self, path: &str) -> bool {
        let (first, pieces) = self.pieces.split_first().expect("there is a piece at least");
        let Some(mut rest) = path.strip_prefix(first) else { return false };
        for piece in pieces {
            let end = rest.find('/').filter(|_| !self.is_open).unwrap_or(rest.len());
            let Some(behind) = rest[end..].strip_prefix(piece) else { return false };
            if end == 0 {
                return false;
            }
            rest = behind;
        }
        rest.is_empty()
    }

    /// Counts a request, and how long it took.
    pub(super) fn record(&self, method: &Method, status: StatusCode, time: Duration) {
        let method = known(method);
        let new = || Timer::new(self.name, method, status);
        let timer = self
            .timers
            .iter()
            .map(|timer| timer.get_or_init(new))
            .find(|timer| (timer.method, timer.status) == (method, status));
        match timer {
            Some(timer) => timer.histogram.record(time),
            None => new().histogram.record(time),
        }
    }
}

impl Timer {
    fn new(route: &str, method: &'static str, status: StatusCode) -> Self {
        let labels = [
            ("method", method.to_owned()),
            ("route", route.to_owned()),
            ("status", status.as_u16().to_string()),
        ];
        Self { method, status, histogram: metrics::histogram!("http_request_seconds", &labels) }
    }
}

impl fmt::Debug for Route {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Route").field("name", &self.name).finish_non_exhaustive()
    }
}

/// The method, if it is one that clients use: anything is well-formed as a method, and each label lives for ever.
fn known(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_told_by_its_route() {
        let paths =
            ["/orders/{id}", "/orders", "/orders/{id}/pay", "/orders", "/orders/{id}/items/{item}"];
        let paths = [&paths[..], &["/orders/mine", "/files/{*path}"]].concat();
        let routes = table(&paths);
        assert_eq!(routes.len(), paths.len() - 1 + OWN.len() + 1);
        for name in paths.into_iter().chain(OWN.map(|(name, _)| name)) {
            let path =
                name.replace("{id}", "7-x%2Fy").replace("{item}", "i").replace("{*path}", "a/b");
            assert_eq!(find(&routes, &path).name, name);
        }
        for path in [
            "",
            "*",
            "/orders/",
            "/orders//pay",
            "/orders/x/",
            "/orders/x/y/pay",
            "/ordersx",
            "/orders/x/items/",
        ] {
            assert_eq!(find(&routes, path).name, NONE, "{path}");
        }
        let is_bounded = |path| find(&routes, path).is_bounded;
        assert!(
            is_bounded("/orders/x/pay") && is_bounded("/dead-letters") && !is_bounded("/health")
        );
    }
}
