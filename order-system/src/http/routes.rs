//! The names of the routes, by which requests are bounded, counted and timed.

use std::{fmt, sync::OnceLock, time::Duration};

use axum::http::{Method, StatusCode};
use metrics::Histogram;

/// All of them; those that are asked for most come first, and what no route takes comes last.
pub(super) const NAMES: [&str; 21] = [
    "/orders",
    "/orders/{id}",
    "/orders/{id}/pay",
    "/orders/{id}/ship",
    "/orders/{id}/deliver",
    "/orders/{id}/cancel",
    "/orders/{id}/history",
    "/",
    "/health",
    "/health/live",
    "/health/ready",
    "/stats",
    "/metrics",
    "/openapi.json",
    "/docs",
    "/cluster",
    "/events",
    "/dead-letters",
    "/dead-letters/{id}/retry",
    "/dead-letters/{id}",
    NONE,
];

const NONE: &str = "none";

/// The one of `routes` that takes `path`.
pub(super) fn find<'a>(routes: &'a [Route], path: &str) -> &'a Route {
    routes.iter().find(|route| route.takes(path)).expect("the last one takes all")
}

/// One route.
pub(super) struct Route {
    name: &'static str,
    /// What stands before an id, and behind it.
    around_id: Option<(&'static str, &'static str)>,
    /// Whether requests can pile up behind a slow store. Health, metrics and the cluster's state are asked for most when
    /// they do.
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
    pub(super) fn new(name: &'static str) -> Self {
        let is_bounded =
            ["/orders", "/stats", "/dead-letters"].iter().any(|bounded| name.starts_with(bounded));
        let timers = Default::default();
        Self { name, around_id: name.split_once("{id}"), is_bounded, timers }
    }

    fn takes(&self, path: &str) -> bool {
        match self.around_id {
            None => path == self.name || self.name == NONE,
            Some((before, behind)) => path
                .strip_prefix(before)
                .and_then(|rest| rest.strip_suffix(behind))
                .is_some_and(|id| !id.is_empty() && !id.contains('/')),
        }
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
    fn every_documented_path_has_a_name() {
        let document: serde_json::Value = serde_json::from_str(super::super::OPENAPI).unwrap();
        let mut paths: Vec<_> = document["paths"].as_object().unwrap().keys().collect();
        let mut names: Vec<_> = NAMES.into_iter().filter(|name| *name != NONE).collect();
        paths.sort();
        names.sort_unstable();
        assert_eq!(paths, names);
    }

    #[test]
    fn a_path_is_told_by_its_route() {
        let routes: Vec<_> = NAMES.into_iter().map(Route::new).collect();
        for name in NAMES {
            assert_eq!(find(&routes, &name.replace("{id}", "7-x%2Fy")).name, name);
        }
        for path in
            ["", "*", "/orders/", "/orders//pay", "/orders/x/", "/orders/x/y/pay", "/ordersx"]
        {
            assert_eq!(find(&routes, path).name, NONE, "{path}");
        }
        let is_bounded = |path| find(&routes, path).is_bounded;
        assert!(is_bounded("/orders/x/pay") && is_bounded("/stats") && !is_bounded("/health"));
    }
}
