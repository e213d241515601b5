//! Who asks, from where, and by which right: the inputs that this crate takes from the rest of the system.
//!
//! Owns: the [`Caller`] that handlers see and the two traits behind it. Never: a session, a key, a password, a list of
//! networks; those live behind [`Resolver`] and [`Edge`].

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue};
use futures_util::future::BoxFuture;
use heldar_base::{CameraId, Capability, Principal, Scope};

use crate::{ApiError, Reason};

/// How the connection carries the request, as the browser sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain.
    Http,
    /// Over TLS, our own or a trusted proxy's.
    Https,
}

/// Which way the request came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Via {
    /// The peer is the client.
    Direct,
    /// The peer is a trusted proxy, whose forwarding headers count (auth-system.md 4.3).
    TrustedProxy,
}

/// Where a request comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// The other end of the connection.
    pub peer: SocketAddr,
    /// The client's own address: the peer's, or what a trusted proxy says.
    pub address: IpAddr,
    /// Which way it came.
    pub via: Via,
    /// How the browser reached us.
    pub scheme: Scheme,
    /// Under which host, with its port; from the request's `Host` or a trusted proxy.
    pub host: Option<String>,
}

/// What the deployment knows about addresses and origins. Pure: no answer waits for anything.
pub trait Edge: Send + Sync + 'static {
    /// True when this peer is a trusted proxy.
    fn trusts(&self, peer: IpAddr) -> bool;

    /// Where the request really comes from. `over` is how our own connection carries it.
    fn client(&self, peer: SocketAddr, over: Scheme, headers: &HeaderMap) -> Client;

    /// The value of `Access-Control-Allow-Origin` for this `Origin`: the origin, `*`, or `None` for no CORS header at all.
    fn cors_origin(&self, origin: &str) -> Option<String>;

    /// True unless `Origin` is neither our own nor a listed one, or `Sec-Fetch-Site` is `cross-site` (auth-system.md 4.4).
    fn origin_allowed(&self, client: &Client, headers: &HeaderMap) -> bool;
}

/// Turns the credentials of a request into a principal.
pub trait Resolver: Send + Sync + 'static {
    /// Resolves the caller (auth-system.md 11.4).
    ///
    /// # Errors
    /// 401 for no or a bad credential, 403 where open access is refused or the account must act first, 503 when the
    /// store is needed and lost.
    fn resolve<'a>(
        &'a self,
        client: &'a Client,
        request: &'a Parts,
    ) -> BoxFuture<'a, Result<Caller, ApiError>>;

    /// Learns of a refusal, for the audit trail. Must not block.
    fn denied(&self, denial: &Denial<'_>);

    /// Resolves when the right has ended that an answer stands on, which is then cut off (auth-system.md 14).
    fn ended(&self, right: Right) -> BoxFuture<'static, ()>;
}

/// The right that an answer stands on for as long as it runs.
#[derive(Clone, Debug)]
pub struct Right {
    /// Who.
    pub principal: Arc<Principal>,
    /// May do what; `None`: only be who it is.
    pub capability: Option<Capability>,
    /// Where.
    pub reach: Reach,
    /// From where it is used.
    pub address: IpAddr,
}

/// What a right that an answer stands on must go on to cover.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// No camera.
    Nothing,
    /// The camera that the route names.
    Camera(CameraId),
    /// The very scope under which the answer was made: it speaks of several cameras, or of one that only the store knows.
    Scope(Scope),
}

/// A request that was refused with 401 or 403.
#[derive(Debug)]
pub struct Denial<'a> {
    /// Where it came from.
    pub client: &'a Client,
    /// Its method.
    pub method: &'a str,
    /// The template of its route; `unmatched` when no route owns the path.
    pub route: &'a str,
    /// The id in the answer.
    pub request_id: &'a str,
    /// Why.
    pub reason: Option<Reason>,
    /// The capability that was missing.
    pub capability: Option<Capability>,
    /// The text in the place of a camera id, when the route has one.
    pub camera: Option<&'a str>,
    /// Who it was, when that was known.
    pub principal: Option<&'a Principal>,
}

/// What a request is authorised by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AuthorisedBy {
    /// A token that the client put there on purpose: `Authorization: Bearer` or `X-API-Key`.
    Token,
    /// A cookie, which a browser sends by itself.
    Cookie,
    /// Nothing: access control is off.
    OpenAccess,
}

/// The resolved principal of a request. Handlers of every route that is not public take it as an argument.
#[derive(Clone, Debug)]
pub struct Caller {
    principal: Arc<Principal>,
    by: AuthorisedBy,
    cookie: Option<HeaderValue>,
    /// The only paths that answer it, until it has chosen a password.
    only: Option<&'static [&'static str]>,
}

impl Caller {
    /// A principal and what it is authorised by.
    pub fn new(principal: Arc<Principal>, by: AuthorisedBy) -> Self {
        Caller { principal, by, cookie: None, only: None }
    }

    /// Sends the browser a cookie with whatever is answered, such as one whose end has moved.
    #[must_use]
    pub fn with_cookie(self, cookie: HeaderValue) -> Self {
        Caller { cookie: Some(cookie), ..self }
    }

    /// Has to choose a new password before any path but these answers it.
    #[must_use]
    pub fn only(self, paths: &'static [&'static str]) -> Self {
        Caller { only: Some(paths), ..self }
    }

    /// Checks that.
    pub(crate) fn check_path(&self, path: &str) -> Result<(), ApiError> {
        match self.only {
            Some(paths) if !paths.contains(&path) => Err(ApiError::password_change_required()),
            _ => Ok(()),
        }
    }

    pub(crate) fn cookie(&self) -> Option<&HeaderValue> {
        self.cookie.as_ref()
    }

    /// The principal.
    pub fn principal(&self) -> &Arc<Principal> {
        &self.principal
    }

    /// The cameras it may see; goes into every read of the store.
    pub fn scope(&self) -> &Scope {
        &self.principal.scope
    }

    /// What the request is authorised by.
    pub fn authorised_by(&self) -> AuthorisedBy {
        self.by
    }

    /// Checks a capability that only some uses of a route need.
    ///
    /// # Errors
    /// 403 `missing_capability`.
    pub fn require(&self, capability: Capability) -> Result<(), ApiError> {
        if self.principal.can(capability) { Ok(()) } else { Err(ApiError::missing_capability(capability)) }
    }

    /// The answer of a `res` route for a thing that is missing or foreign: 404 for unlimited principals, and one and the
    /// same 403 for limited ones, so that they cannot tell which it is.
    pub fn missing(&self, what: &str) -> ApiError {
        if self.scope().is_all() { ApiError::not_found(what) } else { ApiError::out_of_scope() }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Caller>()
            .cloned()
            .ok_or_else(|| ApiError::internal("a public route asks for its caller"))
    }
}

/// The camera in the path of a `cam` route, authorised before the handler runs.
#[derive(Clone, Debug)]
pub struct Camera(pub CameraId);

impl<S: Send + Sync> FromRequestParts<S> for Camera {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        parts
            .extensions
            .get::<Camera>()
            .cloned()
            .ok_or_else(|| ApiError::internal("a route without a camera rule asks for its camera"))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for Client {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, ApiError> {
        crate::exchange::Exchange::of(&parts.extensions).map(|exchange| exchange.client.clone())
    }
}
