//! What stands in front of every handler: principal, origin, capability, scope, in this order.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::extract::{FromRequestParts, RawPathParams, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, header};
use axum::response::{IntoResponse, Response};
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tower::{Layer, Service};

use crate::access::{self, Access, Need, ScopeRule};
use crate::app::AppConfig;
use crate::caller::{AuthorisedBy, Caller, Camera, Client, Edge, Reach, Resolver, Right};
use crate::exchange::Exchange;
use crate::{ApiError, Code};

/// A request that took so long has its right looked at once more before it is answered.
const HELD: Duration = Duration::from_millis(500);

/// What a guard asks.
pub(crate) struct Gate {
    resolver: Arc<dyn Resolver>,
    edge: Arc<dyn Edge>,
}

impl Gate {
    pub(crate) fn new(config: &AppConfig) -> Self {
        Gate { resolver: Arc::clone(&config.resolver), edge: Arc::clone(&config.edge) }
    }

    /// Whether a right has ended since it was found.
    fn has_ended(&self, right: Right) -> bool {
        self.resolver.ended(right).now_or_never().is_some()
    }

    /// Finds out who asks, and lets no page of another origin act on what a browser sends by itself.
    pub(crate) async fn admit(&self, exchange: &Exchange, parts: &mut Parts) -> Result<Caller, ApiError> {
        let caller = self.resolver.resolve(&exchange.client, parts).await?;
        // Set once per request: each meets one guard or one fallback.
        let _first = exchange.principal.set(Arc::clone(caller.principal()));
        if let Some(cookie) = caller.cookie() {
            let _first = exchange.cookie.set(cookie.clone());
        }
        caller.check_path(parts.uri.path())?;
        self.check_origin(&caller, &exchange.client, parts)?;
        parts.extensions.insert(caller.clone());
        Ok(caller)
    }

    /// A route that is open to everyone may act on a cookie all the same, or set one, as the one that signs out.
    fn check_stranger(&self, client: &Client, parts: &Parts) -> Result<(), ApiError> {
        if guarded_by_origin(&parts.method, &parts.headers)
            && !self.edge.origin_allowed(client, &parts.headers)
        {
            return Err(ApiError::origin_not_allowed());
        }
        Ok(())
    }

    /// auth-system.md 4.4: concerns cookies and open access; a token is put there on purpose.
    fn check_origin(&self, caller: &Caller, client: &Client, parts: &Parts) -> Result<(), ApiError> {
        let by_itself = matches!(caller.authorised_by(), AuthorisedBy::Cookie | AuthorisedBy::OpenAccess);
        if by_itself
            && guarded_by_origin(&parts.method, &parts.headers)
            && !self.edge.origin_allowed(client, &parts.headers)
        {
            return Err(ApiError::origin_not_allowed());
        }
        Ok(())
    }
}

/// State-changing requests, upgrades and event streams.
fn guarded_by_origin(method: &Method, headers: &HeaderMap) -> bool {
    let changes = !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE);
    let streams = headers
        .get_all(header::ACCEPT)
        .iter()
        .any(|value| value.to_str().is_ok_and(|text| text.contains("text/event-stream")));
    changes || streams || headers.contains_key(header::UPGRADE)
}

/// The rule of one route.
pub(crate) struct Rule {
    pub(crate) template: Arc<str>,
    pub(crate) access: Access,
}

impl Rule {
    /// Decides whether the handler runs, and leaves behind what it may know.
    async fn authorise(&self, gate: &Gate, parts: &mut Parts) -> Result<(), ApiError> {
        let exchange = Exchange::of(&parts.extensions)?;
        // The first guard names the route; there is one.
        let _first = exchange.route.set(Arc::clone(&self.template));
        let parameters = RawPathParams::from_request_parts(parts, &()).await;
        if self.access.need == Need::Public {
            gate.check_stranger(&exchange.client, parts)?;
        } else {
            let caller = gate.admit(&exchange, parts).await?;
            let camera = match (self.access.scope, &parameters) {
                (ScopeRule::Cam(wanted) | ScopeRule::Live(wanted), Ok(parameters)) => {
                    parameters.iter().find(|(name, _)| *name == wanted).map(|(_, value)| value)
                }
                _ => None,
            };
            if let Some(text) = camera {
                let _first = exchange.camera.set(text.to_owned());
            }
            let camera = access::decide(&self.access, caller.principal(), camera)?;
            let _first = exchange.right.set(Right {
                principal: Arc::clone(caller.principal()),
                capability: self.access.need.capability(),
                reach: match (&camera, self.access.scope) {
                    (Some(camera), _) => Reach::Camera(camera.clone()),
                    (None, ScopeRule::None) => Reach::Nothing,
                    (None, _) => Reach::Scope(caller.scope().clone()),
                },
                address: exchange.client.address,
            });
            if let Some(camera) = camera {
                parts.extensions.insert(Camera(camera));
            }
        }
        // Only those who may come in learn what is wrong with their path.
        let parameters =
            parameters.map_err(|_| ApiError::new(Code::Validation, "the path is not valid UTF-8"))?;
        match parameters.iter().find(|(_, value)| value.contains('\0')) {
            Some((name, _)) => Err(ApiError::validation(name, "text must not hold the character U+0000")),
            None => Ok(()),
        }
    }
}

/// Puts a guard around the handler of a route.
#[derive(Clone)]
pub(crate) struct GuardLayer {
    pub(crate) rule: Arc<Rule>,
    pub(crate) gate: Arc<Gate>,
}

impl<H> Layer<H> for GuardLayer {
    type Service = Guard<H>;

    fn layer(&self, handler: H) -> Guard<H> {
        Guard { layer: self.clone(), handler }
    }
}

/// A handler behind its rule.
#[derive(Clone)]
pub(crate) struct Guard<H> {
    layer: GuardLayer,
    handler: H,
}

impl<H> Service<Request> for Guard<H>
where
    H: Service<Request, Response = Response, Error = Infallible> + Clone + Send + 'static,
    H::Future: Send,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.handler.poll_ready(cx)
    }

    fn call(&mut self, request: Request) -> Self::Future {
        let GuardLayer { rule, gate } = self.layer.clone();
        // The handler that was polled ready is the one that runs.
        let clone = self.handler.clone();
        let mut handler = std::mem::replace(&mut self.handler, clone);
        Box::pin(async move {
            let (mut parts, body) = request.into_parts();
            if let Err(error) = rule.authorise(&gate, &mut parts).await {
                return Ok(error.into_response());
            }
            let reads = matches!(parts.method, Method::GET | Method::HEAD);
            let right =
                Exchange::of(&parts.extensions).ok().and_then(|exchange| exchange.right.get().cloned());
            let began = Instant::now();
            let response = handler.call(Request::from_parts(parts, body)).await?;
            // Whoever was made to wait may have lost the right to what came meanwhile.
            let ended =
                right.filter(|_| reads && began.elapsed() >= HELD).is_some_and(|right| gate.has_ended(right));
            Ok(if ended { ApiError::invalid_credential().into_response() } else { response })
        })
    }
}
