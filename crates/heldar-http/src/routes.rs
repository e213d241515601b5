//! The route table: the only way to a handler, and the source of the access matrix and of the API description.
//!
//! Invariant (DESIGN 5): a route without an explicit access rule does not exist. [`RouteTable::add`] takes the rule, the
//! guard is put around the handler in [`RouteTable::build`], and nothing else makes an application. A table that
//! contradicts itself does not build.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, OnceLock};

use axum::extract::Request;
use axum::handler::Handler;
use axum::http::{HeaderValue, Method, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use bytes::Bytes;
use heldar_base::Role;
use utoipa::openapi::OpenApi;
use utoipa::openapi::path::HttpMethod;

use crate::access::{Access, Need, ScopeRule};
use crate::app::{API_ROOT, App, AppConfig};
use crate::doc::Doc;
use crate::exchange::Exchange;
use crate::guard::{Gate, GuardLayer, Rule};
use crate::openapi::{self, OperationSource};
use crate::{ApiError, Code, pages};

/// Below `/api/v1` only these paths are open without a principal (auth-system.md 11.4).
const OPEN_API_PATHS: [&str; 4] =
    ["/api/v1/auth/login", "/api/v1/auth/logout", "/api/v1/auth/methods", "/api/v1/auth/setup"];

/// Routes with their rules; `S` is the state that handlers share.
pub struct RouteTable<S> {
    title: &'static str,
    version: &'static str,
    entries: Vec<Entry<S>>,
    /// The text of the API description, for the route that serves it; made last.
    description: Arc<OnceLock<Bytes>>,
}

struct Entry<S> {
    method: Verb,
    path: &'static str,
    access: Access,
    doc: Doc,
    handler: MethodRouter<S>,
}

/// A method that routes may offer. HEAD comes with GET; preflights are answered before the routes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verb {
    Get,
    Post,
    Put,
    Patch,
    Delete,
    Options,
}

impl Verb {
    fn of(method: &Method) -> Option<Self> {
        Some(match *method {
            Method::GET => Verb::Get,
            Method::POST => Verb::Post,
            Method::PUT => Verb::Put,
            Method::PATCH => Verb::Patch,
            Method::DELETE => Verb::Delete,
            Method::OPTIONS => Verb::Options,
            _ => return None,
        })
    }

    fn as_str(self) -> &'static str {
        match self {
            Verb::Get => "GET",
            Verb::Post => "POST",
            Verb::Put => "PUT",
            Verb::Patch => "PATCH",
            Verb::Delete => "DELETE",
            Verb::Options => "OPTIONS",
        }
    }

    fn filter(self) -> MethodFilter {
        match self {
            Verb::Get => MethodFilter::GET,
            Verb::Post => MethodFilter::POST,
            Verb::Put => MethodFilter::PUT,
            Verb::Patch => MethodFilter::PATCH,
            Verb::Delete => MethodFilter::DELETE,
            Verb::Options => MethodFilter::OPTIONS,
        }
    }

    fn openapi(self) -> HttpMethod {
        match self {
            Verb::Get => HttpMethod::Get,
            Verb::Post => HttpMethod::Post,
            Verb::Put => HttpMethod::Put,
            Verb::Patch => HttpMethod::Patch,
            Verb::Delete => HttpMethod::Delete,
            Verb::Options => HttpMethod::Options,
        }
    }
}

/// A table that contradicts itself: defects of the program, found before the first request.
#[derive(Debug, thiserror::Error)]
#[error("the route table is defective: {}", .0.join("; "))]
pub struct TableError(pub Vec<String>);

/// Why an application could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The table is defective.
    #[error(transparent)]
    Table(#[from] TableError),
    /// The system gave no random bytes.
    #[error("no random bytes for request ids: {0}")]
    Random(getrandom::Error),
    /// The description could not be written.
    #[error("the API description cannot be written: {0}")]
    Description(#[from] serde_json::Error),
}

impl<S: Clone + Send + Sync + 'static> RouteTable<S> {
    /// An empty table; title and version head the API description.
    pub fn new(title: &'static str, version: &'static str) -> Self {
        RouteTable { title, version, entries: Vec::new(), description: Arc::default() }
    }

    /// Adds a route. The path has parameters as `{id}` and may end in `{*rest}`; the camera of a `cam` rule is one of them.
    ///
    /// # Panics
    /// For a method that routes do not offer (HEAD comes with GET). Methods are literals of the program.
    pub fn add<H, T>(
        &mut self,
        method: Method,
        path: &'static str,
        access: Access,
        handler: H,
        doc: Doc,
    ) -> &mut Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let Some(verb) = Verb::of(&method) else { panic!("{path}: routes do not offer {method}") };
        let handler = on(verb.filter(), handler);
        self.entries.push(Entry { method: verb, path, access, doc, handler });
        self
    }

    /// Serves the API description of the whole table, itself included.
    pub fn add_description(&mut self, path: &'static str, access: Access, doc: Doc) -> &mut Self {
        let text = Arc::clone(&self.description);
        let serve = move || async move {
            let text = text.get().cloned().ok_or_else(|| ApiError::internal("no API description"))?;
            Ok::<_, ApiError>(([(header::CONTENT_TYPE, "application/json")], text))
        };
        self.add(Method::GET, path, access, serve, doc)
    }

    /// Route, capability, scope and roles of every operation as text, sorted by path. A role that may call it is named by its
    /// first letter: of an unlimited principal always, of one that is limited to cameras as the scope says.
    pub fn access_matrix(&self) -> String {
        let roles = |need: Need| {
            Role::ALL.iter().map(move |role| {
                let may = need.is_met(|capability| role.capabilities(false).contains(&capability));
                role.as_str().chars().next().filter(|_| may)
            })
        };
        let mut rows: Vec<(&str, Verb, String, &str, String)> = self
            .entries
            .iter()
            .map(|entry| {
                let (need, scope) = (entry.access.need, entry.access.scope.as_str());
                let letters = roles(need).map(|letter| letter.unwrap_or('-')).collect();
                (entry.path, entry.method, need.to_string(), scope, letters)
            })
            .collect();
        rows.sort_unstable();
        let width = rows.iter().map(|row| row.0.len()).max().unwrap_or(0);
        let mut text = String::new();
        for (path, method, need, scope, roles) in rows {
            // Writing to a string cannot fail.
            let _ok =
                writeln!(text, "{:<7} {path:<width$}  {need:<16}  {scope:<6}  {roles}", method.as_str());
        }
        text
    }

    /// The API description as a value.
    ///
    /// # Errors
    /// A table that contradicts itself.
    pub fn openapi(&self) -> Result<OpenApi, TableError> {
        let mut sources: Vec<OperationSource<'_>> = self
            .entries
            .iter()
            .map(|entry| OperationSource {
                method: entry.method.openapi(),
                path: entry.path,
                access: entry.access,
                doc: &entry.doc,
            })
            .collect();
        sources.sort_by_key(|source| (source.path, source.doc.id));
        let (api, mut defects) = openapi::document(self.title, self.version, &sources);
        defects.extend(self.defects());
        if defects.is_empty() { Ok(api) } else { Err(TableError(defects)) }
    }

    /// What the table says twice or against itself.
    fn defects(&self) -> Vec<String> {
        let mut defects = Vec::new();
        let mut seen = BTreeMap::new();
        for entry in &self.entries {
            let name = format!("{} {}", entry.method.as_str(), entry.path);
            if seen.insert((entry.path, entry.method), ()).is_some() {
                defects.push(format!("{name} is there twice"));
            }
            if !entry.path.starts_with('/') {
                defects.push(format!("{name} is no absolute path"));
            }
            if let ScopeRule::Cam(parameter) | ScopeRule::Live(parameter) = entry.access.scope
                && !openapi::path_parameters(entry.path).any(|name| name == parameter)
            {
                defects.push(format!("{name} has no parameter {{{parameter}}} for its camera"));
            }
            let public = entry.access.need == Need::Public;
            if public && entry.path.starts_with(API_ROOT) && !OPEN_API_PATHS.contains(&entry.path) {
                defects.push(format!("{name} is open to everyone below {API_ROOT}"));
            }
            if public && entry.access.scope != ScopeRule::None {
                defects.push(format!("{name} is open to everyone and limited to a scope"));
            }
            if entry.doc.answers.is_empty() {
                defects.push(format!("{name} documents no answer"));
            }
        }
        defects
    }

    /// Makes the application.
    ///
    /// # Errors
    /// A table that contradicts itself; no random bytes.
    ///
    /// # Panics
    /// When two paths of the table claim the same requests, such as `/a/{x}` and `/a/{y}`.
    pub fn build(self, state: S, config: AppConfig) -> Result<App, BuildError> {
        let api = self.openapi()?;
        let text = serde_json::to_vec(&api)?;
        // Only this line sets it, and the table is consumed.
        let _first = self.description.set(Bytes::from(text));
        let gate = Arc::new(Gate::new(&config));

        let mut paths: BTreeMap<&'static str, (MethodRouter<S>, Offer)> = BTreeMap::new();
        for entry in self.entries {
            let rule = Arc::new(Rule { template: entry.path.into(), access: entry.access });
            let guard = GuardLayer { rule, gate: Arc::clone(&gate) };
            let guarded = entry.handler.route_layer(guard);
            let slot = paths.entry(entry.path).or_insert_with(|| (MethodRouter::new(), Offer::default()));
            let others = std::mem::take(&mut slot.0);
            slot.0 = others.merge(guarded);
            slot.1.add(entry.method, entry.access);
        }
        let mut router = axum::Router::new();
        for (path, (methods, offer)) in paths {
            let refusal = Arc::new(Refusal { template: path.into(), offer, gate: Arc::clone(&gate) });
            let refuse = move |request: Request| async move { refusal.answer(request).await };
            router = router.route(path, methods.fallback(refuse));
        }
        let unowned = Arc::new(Unowned { config: config.clone(), gate });
        let answer = move |request: Request| async move { unowned.answer(request).await };
        let router = router.fallback(answer).with_state(state);
        App::new(router, config).map_err(BuildError::Random)
    }
}

/// The methods that a path offers.
#[derive(Default)]
struct Offer {
    methods: Vec<Verb>,
    public: bool,
}

impl Offer {
    fn add(&mut self, method: Verb, access: Access) {
        self.methods.push(method);
        self.public |= access.need == Need::Public;
    }

    /// The `Allow` header (RFC 9110 10.2.1).
    fn allow(&self) -> HeaderValue {
        let mut names: Vec<&str> = self.methods.iter().map(|method| method.as_str()).collect();
        if names.contains(&"GET") {
            names.push("HEAD");
        }
        HeaderValue::from_str(&names.join(",")).unwrap_or_else(|_| HeaderValue::from_static(""))
    }
}

/// True for a path below the root of the API, the root itself included.
fn in_api(path: &str) -> bool {
    path.strip_prefix(API_ROOT).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Answers a method that a path does not offer.
struct Refusal {
    template: Arc<str>,
    offer: Offer,
    gate: Arc<Gate>,
}

impl Refusal {
    /// 405; below the API root only to a principal, unless the path is open to everyone.
    async fn answer(&self, request: Request) -> Response {
        let (mut parts, _body) = request.into_parts();
        let admitted = match Exchange::of(&parts.extensions) {
            Ok(exchange) => {
                // The guard of a route sets it too, but no request meets both.
                let _first = exchange.route.set(Arc::clone(&self.template));
                if in_api(&self.template) && !self.offer.public {
                    self.gate.admit(&exchange, &mut parts).await.map(|_caller| ())
                } else {
                    Ok(())
                }
            }
            Err(error) => Err(error),
        };
        match admitted {
            Ok(()) => ApiError::of(Code::MethodNotAllowed)
                .with_header(header::ALLOW, self.offer.allow())
                .into_response(),
            Err(error) => error.into_response(),
        }
    }
}

/// Answers paths that no route owns: below the API root to a principal only, else by the pages.
struct Unowned {
    config: AppConfig,
    gate: Arc<Gate>,
}

impl Unowned {
    async fn answer(&self, request: Request) -> Response {
        let (mut parts, _body) = request.into_parts();
        if in_api(parts.uri.path()) {
            let admitted = match Exchange::of(&parts.extensions) {
                Ok(exchange) => self.gate.admit(&exchange, &mut parts).await,
                Err(error) => Err(error),
            };
            if let Err(error) = admitted {
                return error.into_response();
            }
        }
        let pages = self.config.pages.as_deref();
        let now = self.config.clock.wall();
        pages::fallback(pages, &parts.method, parts.uri.path(), &parts.headers, now).await
    }
}
