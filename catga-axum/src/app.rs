//! Putting a service together.

use std::{fmt, fmt::Write as _, panic::Location, sync::Arc};

use axum::{
    Router,
    routing::{MethodFilter, MethodRouter},
};
use bytes::Bytes;
use catga::{Builder, Catga, handler::Kind};
use clap::{Args, CommandFactory};

use crate::{
    cli::{Cli, NoArgs},
    describe,
    endpoint::{At, Endpoint},
    feed,
    openapi::{self, Info, Operation},
    problem::{Lookup, Problem, ProblemDetails, ProblemKind, lookup},
    service::{Service, Shared, own_routes},
};

/// A service: a program of catga with its routes. [`main`](crate::main) runs it.
///
/// `A` are the flags of its own, if it has any.
pub struct App<A = NoArgs> {
    pub(crate) domain: Domain,
    about: &'static str,
    after_help: &'static str,
    tag: &'static str,
    routes: Routes,
    setup: Vec<Setup<A>>,
}

/// Adds to the program, knowing the service's own flags.
type Setup<A> = Box<dyn FnOnce(Builder, &A) -> Builder + Send>;

/// Adds to the router, knowing the running program.
type Merge = Box<dyn FnOnce(&Catga, Router) -> Router + Send>;

/// What a service is about, apart from its routes.
#[derive(Debug)]
pub struct Domain {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) errors: Vec<Lookup>,
    /// What a path answers whose key nothing can have.
    pub(crate) no_such_key: Problem,
    pub(crate) feeds: Vec<feed::Source>,
    pub(crate) listed: Vec<Listed>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) problems: Vec<ProblemKind>,
    /// The OpenAPI document.
    pub(crate) openapi: Bytes,
}

/// A query of the kit's own that the catalogue shows.
#[derive(Debug)]
pub(crate) struct Listed {
    pub(crate) name: &'static str,
    pub(crate) doc: String,
    pub(crate) at: &'static Location<'static>,
}

/// The routes of a service.
pub(crate) struct Routes {
    router: Router<Arc<Shared>>,
    /// The paths that are bounded and told apart in the metrics.
    paths: Vec<&'static str>,
    merges: Vec<Merge>,
}

impl App {
    /// A service called `name`, as people read it.
    pub fn new(name: &'static str) -> Self {
        let domain = Domain {
            name,
            version: "0.0.0",
            errors: Vec::new(),
            no_such_key: Problem::not_found(),
            feeds: Vec::new(),
            listed: Vec::new(),
            operations: Vec::new(),
            problems: Vec::new(),
            openapi: Bytes::new(),
        };
        let routes = Routes { router: own_routes(), paths: Vec::new(), merges: Vec::new() };
        Self { domain, about: "", after_help: "", tag: name, routes, setup: Vec::new() }
    }

    /// The service has flags of its own, beside those that every service has. [`setup`](App::setup) gets them.
    pub fn args<A: Args>(self) -> App<A> {
        let Self { domain, about, after_help, tag, routes, setup } = self;
        let setup = setup
            .into_iter()
            .map(|step| -> Setup<A> { Box::new(|builder, _| step(builder, &NoArgs {})) });
        App { domain, about, after_help, tag, routes, setup: setup.collect() }
    }
}

impl<A> App<A> {
    /// The version of the service: `env!("CARGO_PKG_VERSION")`.
    #[must_use]
    pub fn version(mut self, version: &'static str) -> Self {
        self.domain.version = version;
        self
    }

    /// What it is for, in a sentence: at the top of `--help` and of the API's page.
    #[must_use]
    pub fn about(self, about: &'static str) -> Self {
        Self { about, ..self }
    }

    /// What `--help` ends with: examples, mostly.
    #[must_use]
    pub fn after_help(self, after_help: &'static str) -> Self {
        Self { after_help, ..self }
    }

    /// What the routes that follow are listed under, on the API's page. Default: the service's name.
    #[must_use]
    pub fn tag(self, tag: &'static str) -> Self {
        Self { tag, ..self }
    }

    /// Handlers refuse with errors of type `E`. Those of other types are a 500 that says nothing.
    #[must_use]
    pub fn errors<E: ProblemDetails>(mut self) -> Self {
        self.domain.errors.push(lookup::<E>);
        self.domain.problems.extend(E::KINDS);
        self
    }

    /// What a path answers whose key is none that anything can have: what is answered when nothing has it.
    ///
    /// An id in a path is data. `*`, a newline or 300 characters are the id of nothing, and no other error.
    #[must_use]
    pub fn not_found(mut self, error: impl ProblemDetails) -> Self {
        self.domain.no_such_key = Problem::of(&error);
        self
    }

    /// Puts a query or a history at `path`: `/orders/{id}`.
    ///
    /// # Panics
    /// When a parameter of the path is no field of the query, or when the path is taken.
    #[must_use]
    pub fn get(self, path: &'static str, endpoint: impl Endpoint) -> Self {
        self.endpoint(MethodFilter::GET, "GET", path, endpoint)
    }

    /// Puts a command at `path`: `/orders/{id}/pay`.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    #[must_use]
    pub fn post(self, path: &'static str, endpoint: impl Endpoint) -> Self {
        self.endpoint(MethodFilter::POST, "POST", path, endpoint)
    }

    /// Puts a command at `path`.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    #[must_use]
    pub fn put(self, path: &'static str, endpoint: impl Endpoint) -> Self {
        self.endpoint(MethodFilter::PUT, "PUT", path, endpoint)
    }

    /// Puts a command at `path`.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    #[must_use]
    pub fn patch(self, path: &'static str, endpoint: impl Endpoint) -> Self {
        self.endpoint(MethodFilter::PATCH, "PATCH", path, endpoint)
    }

    /// Puts a command at `path`.
    ///
    /// # Panics
    /// As [`get`](Self::get).
    #[must_use]
    pub fn delete(self, path: &'static str, endpoint: impl Endpoint) -> Self {
        self.endpoint(MethodFilter::DELETE, "DELETE", path, endpoint)
    }

    fn endpoint(
        mut self,
        method: MethodFilter,
        verb: &'static str,
        path: &'static str,
        endpoint: impl Endpoint,
    ) -> Self {
        let before = self.domain.operations.len();
        let handler = endpoint.mount(At { method, verb, path }, &mut self.domain);
        for operation in &mut self.domain.operations[before..] {
            self.tag.clone_into(&mut operation.tag);
        }
        self.routes.paths.push(path);
        self.routes.router = self.routes.router.route(path, handler);
        self
    }

    /// Puts a handler of axum's at `path`. Its requests are bounded, counted and timed as those of the domain are: it gets
    /// one when all of its body is here, at most 1 MiB. A router for larger ones is [merged](Self::merge).
    ///
    /// # Panics
    /// When the path is taken.
    #[must_use]
    pub fn route(self, path: &'static str, handler: MethodRouter) -> Self {
        let mut app = self.merge(move |_, router| router.route(path, handler));
        app.routes.paths.push(path);
        app
    }

    /// Changes the router: merges one of axum's with a state of its own, or puts layers around all routes that are
    /// there. The running program is given, for handlers that send commands.
    ///
    /// ```
    /// # use axum::{Router, extract::State, routing::get}; use catga::Catga;
    /// async fn head(State(catga): State<Catga>) -> String {
    ///     format!("{:?}", catga.head().await)
    /// }
    ///
    /// let app = catga_axum::App::new("Tickets").merge(|catga, router| {
    ///     let own = Router::new().route("/head", get(head)).with_state(catga.clone());
    ///     router.merge(own)
    /// });
    /// # let _ = app;
    /// ```
    #[must_use]
    pub fn merge(mut self, change: impl FnOnce(&Catga, Router) -> Router + Send + 'static) -> Self {
        self.routes.merges.push(Box::new(change));
        self
    }

    /// Adds to the program before it starts: resources of its handlers, behaviors, a clock.
    #[must_use]
    pub fn setup(mut self, setup: impl FnOnce(Builder, &A) -> Builder + Send + 'static) -> Self {
        self.setup.push(Box::new(setup));
        self
    }

    /// The OpenAPI 3.1 document of all routes but those that were merged.
    pub fn openapi(&self) -> String {
        let Domain { name, version, .. } = self.domain;
        let info = Info {
            title: name.to_owned(),
            version: version.to_owned(),
            description: self.about.to_owned(),
        };
        let mut operations = self.domain.operations.clone();
        for operation in &mut operations {
            operation.problems.extend(&self.domain.problems);
        }
        operations.extend(describe::own(self.tag));
        let document = openapi::document(&info, &operations);
        format!("{document:#}\n")
    }

    /// Every command, query, event, event handler and projection, with its source line.
    pub(crate) fn catalogue(&self) -> String {
        let mut rows: Vec<_> = catga::handler::catalogue()
            .into_iter()
            .map(|item| {
                let summary = item.doc.lines().next().unwrap_or_default();
                (item.kind, item.name, summary, item.file, item.line)
            })
            .collect();
        rows.extend(self.domain.listed.iter().map(|query| {
            (Kind::QueryHandler, query.name, query.doc.as_str(), query.at.file(), query.at.line())
        }));
        rows.sort_by_key(|&(kind, name, ..)| (kind, name));
        let mut table = String::new();
        for (kind, name, summary, file, line) in rows {
            let _ = writeln!(table, "{kind:<14} {name:<24} {summary:<48} {file}:{line}");
        }
        table
    }

    /// The program that `builder` begins, and what is served of it.
    pub(crate) fn build(self, mut builder: Builder, own: &A) -> (Domain, Builder, Routes) {
        let openapi = self.openapi().into();
        for setup in self.setup {
            builder = setup(builder, own);
        }
        (Domain { openapi, ..self.domain }, builder, self.routes)
    }
}

impl<A: Args> App<A> {
    /// The command line of the program called `program`.
    pub(crate) fn clap(&self, program: &'static str) -> clap::Command {
        let command = Cli::<A>::command().name(program).version(self.domain.version);
        command.about(self.about).after_help(self.after_help)
    }
}

impl Routes {
    /// All that answers requests.
    pub(crate) fn serve(self, shared: Arc<Shared>) -> Service {
        let catga = shared.catga.clone();
        let mut router = self.router.with_state(shared);
        for merge in self.merges {
            router = merge(&catga, router);
        }
        Service::new(router, &self.paths)
    }
}

impl<A> fmt::Debug for App<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").field("name", &self.domain.name).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use axum::{
        body::{Body, to_bytes},
        extract::{Path, State},
        http::{HeaderValue, Request, StatusCode},
        middleware::map_response,
        response::Response,
        routing::get,
    };
    use catga::{
        Clock,
        prelude::*,
        store::{Backend, MemoryKvStore, MemoryStore, TaskTrouble},
        testing::ScriptedStore,
    };
    use metrics_exporter_prometheus::PrometheusBuilder;
    use schemars::JsonSchema;
    use serde::Deserialize;
    use tokio::sync::Semaphore;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::{query, service::Node};

    /// Whom to greet.
    #[derive(Debug, Deserialize, JsonSchema, Query)]
    #[query(name = "test.greet")]
    struct Greet {
        name: String,
        #[serde(default)]
        times: u8,
    }

    struct Greeting(&'static str);

    /// Says hello.
    #[query_handler]
    fn greet(query: Greet, greeting: &catga::State<Greeting>) -> Result<String, catga::Error> {
        Ok(format!("{} {}", greeting.0, query.name).repeat(query.times.into()))
    }

    #[derive(Debug, Args)]
    struct Own {
        /// How to greet
        #[arg(long, default_value = "hello")]
        greeting: String,
    }

    async fn hello(Path(name): Path<String>) -> String {
        name
    }

    async fn position(State(catga): State<Catga>) -> String {
        catga.head().await.unwrap().to_string()
    }

    async fn marked(mut response: Response) -> Response {
        response.headers_mut().insert("x-mark", HeaderValue::from_static("seen"));
        response
    }

    async fn service<A>(app: App<A>, own: A) -> Service {
        let (domain, builder, routes) = app.build(Catga::builder(), &own);
        let node = Node {
            id: "n".to_owned(),
            address: String::new(),
            transport: "inmemory",
            persistence: "inmemory",
            started_at: Clock::system().now(),
        };
        routes.serve(Arc::new(Shared {
            catga: builder.start().await.unwrap(),
            node,
            metrics: PrometheusBuilder::new().build_recorder().handle(),
            draining: CancellationToken::new(),
            domain,
            feeds: Arc::new(Semaphore::new(1)),
        }))
    }

    async fn ask(service: &Service, method: &str, path: &str) -> (StatusCode, bool, String) {
        let request = Request::builder().method(method).uri(path).body(Body::empty()).unwrap();
        let answer = service.answer(request).await;
        let (status, is_marked) = (answer.status(), answer.headers().contains_key("x-mark"));
        let body = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, is_marked, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn own_routers_layers_states_and_flags_go_beside_the_kit() {
        let app = App::new("Test")
            .args::<Own>()
            .setup(|builder, own| builder.state(Greeting(own.greeting.clone().leak())))
            .get("/greet/{name}", query::<Greet>())
            .route("/hello/{name}", get(hello))
            .merge(|catga, router| {
                let own = Router::new().route("/head", get(position)).with_state(catga.clone());
                router.merge(own).layer(map_response(marked))
            });
        let service = service(app, Own { greeting: "hi".to_owned() }).await;
        let ok = |text: &str| (StatusCode::OK, true, text.to_owned());
        assert_eq!(ask(&service, "GET", "/hello/x").await, ok("x"));
        assert_eq!(ask(&service, "GET", "/head").await, ok("0"));
        assert_eq!(ask(&service, "GET", "/greet/x?times=2").await, ok("\"hi xhi x\""));
        // The layer is around the kit's routes, and a wrong path or method is a problem as elsewhere.
        assert!(ask(&service, "GET", "/health/live").await.1);
        let (status, _, problem) = ask(&service, "POST", "/hello/x").await;
        assert!(status == 405 && problem.contains("method_not_allowed"), "{problem}");
        assert_eq!(ask(&service, "GET", "/nowhere").await.0, 404);
        let (status, _, problem) = ask(&service, "GET", "/greet/x?times=x").await;
        assert!(status == 400 && problem.contains("times is"), "{problem}");
    }

    #[tokio::test]
    async fn a_task_of_the_store_that_fails_is_in_health() {
        let store = Arc::new(ScriptedStore::new(Arc::new(MemoryStore::new())));
        let scripted = store.clone();
        let app = App::new("Test").setup(move |builder, _| {
            let backend = Backend::new(scripted.clone(), Arc::new(MemoryKvStore::new()));
            builder.state(Greeting("hi")).backend(backend)
        });
        let service = service(app, NoArgs {}).await;
        for (is_lasting, code, status) in [(false, 200, "degraded"), (true, 503, "unhealthy")] {
            let reason = "it panicked: a bug".to_owned();
            store.trouble([TaskTrouble { task: "follower of the log", reason, is_lasting }]);
            let (answered, _, health) = ask(&service, "GET", "/health").await;
            let health: serde_json::Value = serde_json::from_str(&health).unwrap();
            assert_eq!((answered.as_u16(), health["status"].as_str()), (code, Some(status)));
            let tasks = &health["checks"]["tasks"];
            assert_eq!((tasks["status"].as_str()), Some(status));
            assert_eq!(tasks["reason"], "follower of the log: it panicked: a bug");
        }
        store.trouble([]);
        assert_eq!(ask(&service, "GET", "/health").await.0, 200);
    }

    #[tokio::test]
    async fn feeds_have_a_share_of_their_own() {
        let app = App::new("Test").setup(|builder, _| builder.state(Greeting("hi")));
        let service = service(app, NoArgs {}).await;
        let request = || Request::get("/events").body(Body::empty()).unwrap();
        let open = service.answer(request()).await;
        assert_eq!(open.status(), StatusCode::OK);
        let (status, _, problem) = ask(&service, "GET", "/events").await;
        assert!(status == 503 && problem.contains("overloaded"), "{problem}");
        assert_eq!(ask(&service, "GET", "/health/live").await.0, 200);
        drop(open);
        assert_eq!(service.answer(request()).await.status(), StatusCode::OK);
    }

    #[test]
    #[should_panic(expected = "has no field `who`")]
    fn a_parameter_that_is_no_field_is_found_before_the_start() {
        let _ = App::new("Test").get("/greet/{who}", query::<Greet>());
    }

    #[test]
    fn the_help_and_the_catalogue_know_what_is_the_services_own() {
        let app = App::new("Test").version("1.2.3").about("Greets").args::<Own>();
        let help = app.clap("greeter").render_long_help().to_string();
        for part in ["Greets", "--greeting", "--persistence", "Usage: greeter"] {
            assert!(help.contains(part), "{part}: {help}");
        }
        assert!(app.catalogue().contains("test.greet"));
    }
}
