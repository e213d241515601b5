//! A kernel on a scratch folder and its application, called without sockets.
#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, Method, Request, header};
use futures_util::future::BoxFuture;
use heldar_base::{CameraId, Capability, Principal, PrincipalKind, Role, Scope};
use heldar_config::{Flags, HostFiles, Input, load};
use heldar_http::metrics::HttpMetrics;
use heldar_http::{
    ApiError, App, AppConfig, AuthorisedBy, Caller, Client, Denial, Edge, Hsts, Resolver, Right, Scheme, Via,
};
use heldar_kernel::api;
use heldar_kernel::apps::Verticals;
use heldar_kernel::health::Configuration;
use heldar_kernel::kernel::Kernel;
use serde_json::Value;

/// Names the capabilities of the caller, comma-separated; without it the caller is the system.
const CAPABILITIES: &str = "x-test-capabilities";
/// Names the cameras that the caller is limited to, comma-separated; without it all.
const CAMERAS: &str = "x-test-cameras";

/// Who asks.
#[derive(Clone, Copy, Debug)]
pub(crate) enum As<'a> {
    /// The principal of open access.
    System,
    /// One with these capabilities on every camera.
    With(&'a [Capability]),
    /// One with these capabilities on these cameras.
    Limited(&'a [Capability], &'a [&'a str]),
}

/// What came back.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Vec<u8>,
}

impl Answer {
    /// The body; null when it is no JSON.
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_default()
    }

    /// The body of a success.
    #[track_caller]
    pub(crate) fn ok(&self) -> Value {
        assert!((200..300).contains(&self.status), "{} {}", self.status, self.json());
        self.json()
    }

    /// Status and code of an error.
    pub(crate) fn error(&self) -> (u16, String) {
        (self.status, self.json()["code"].as_str().unwrap_or_default().to_owned())
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Path and query of the next page.
    pub(crate) fn next(&self) -> Option<String> {
        let (url, _) = self.header("link")?.strip_prefix('<')?.split_once(">; rel=\"next\"")?;
        Some(url.to_owned())
    }
}

/// A running kernel with its application.
pub(crate) struct World {
    pub(crate) kernel: Arc<Kernel>,
    app: App,
    folder: Option<tempfile::TempDir>,
}

impl World {
    pub(crate) async fn start() -> World {
        World::start_with(&[]).await
    }

    /// With variables of the environment.
    pub(crate) async fn start_with(env: &[(&str, &str)]) -> World {
        let folder = tempfile::tempdir().unwrap();
        World::start_in(folder, env).await
    }

    pub(crate) async fn start_in(folder: tempfile::TempDir, env: &[(&str, &str)]) -> World {
        World::start_with_apps(folder, env, Arc::new(())).await
    }

    /// With apps of batches.
    pub(crate) async fn start_with_apps(
        folder: tempfile::TempDir,
        env: &[(&str, &str)],
        apps: Arc<dyn Verticals>,
    ) -> World {
        let kernel = start_kernel_with(folder.path(), env, apps).await;
        let panics = kernel.metrics.counter("heldar_panics_total", "Panics caught.");
        let config = AppConfig {
            resolver: Arc::new(ByHeader),
            edge: Arc::new(Plain),
            pages: None,
            lifecycle: kernel.lifecycle.clone(),
            clock: Arc::new(kernel.clock),
            metrics: Arc::new(HttpMetrics::new(&kernel.metrics, panics)),
            requests_per_source: 256,
            hsts: Hsts::Silent,
        };
        let app = api::routes_with(&*kernel.apps).build(kernel.clone(), config).unwrap();
        World { kernel, app, folder: Some(folder) }
    }

    /// Stops the kernel in order and starts another over the same folder.
    pub(crate) async fn restart(mut self, env: &[(&str, &str)]) -> World {
        let folder = self.folder.take().unwrap();
        self.kernel.stop().await;
        World::start_in(folder, env).await
    }

    /// Stops the kernel in order; its folder.
    pub(crate) async fn stop(mut self) -> tempfile::TempDir {
        self.kernel.stop().await;
        self.folder.take().unwrap()
    }

    /// Where everything is stored.
    pub(crate) fn folder(&self) -> &std::path::Path {
        self.folder.as_ref().unwrap().path()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(As::System, Method::GET, path, None).await
    }

    pub(crate) async fn get_as(&self, who: As<'_>, path: &str) -> Answer {
        self.send(who, Method::GET, path, None).await
    }

    pub(crate) async fn send(&self, who: As<'_>, method: Method, path: &str, body: Option<&Value>) -> Answer {
        let mut request = Request::builder().method(method).uri(path).header(header::HOST, "localhost");
        let (capabilities, cameras) = match who {
            As::System => (None, None),
            As::With(capabilities) => (Some(capabilities), None),
            As::Limited(capabilities, cameras) => (Some(capabilities), Some(cameras)),
        };
        if let Some(list) = capabilities {
            let names: Vec<&str> = list.iter().map(|capability| capability.as_str()).collect();
            request = request.header(CAPABILITIES, names.join(","));
        }
        if let Some(list) = cameras {
            request = request.header(CAMERAS, list.join(","));
        }
        let body = match body {
            None => Body::empty(),
            Some(value) => {
                request = request.header(header::CONTENT_TYPE, "application/json");
                Body::from(value.to_string())
            }
        };
        let peer = SocketAddr::from(([127, 0, 0, 1], 40_000));
        let response = Box::pin(self.app.call(request.body(body).unwrap(), peer)).await;
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec();
        Answer { status: parts.status.as_u16(), headers: parts.headers, bytes }
    }
}

/// A kernel over a folder, with variables of the environment.
pub(crate) async fn start_kernel(folder: &std::path::Path, env: &[(&str, &str)]) -> Arc<Kernel> {
    start_kernel_with(folder, env, Arc::new(())).await
}

/// As `start_kernel`, with apps.
pub(crate) async fn start_kernel_with(
    folder: &std::path::Path,
    env: &[(&str, &str)],
    apps: Arc<dyn Verticals>,
) -> Arc<Kernel> {
    let mut all: Vec<(OsString, OsString)> =
        env.iter().map(|(name, value)| (name.into(), value.into())).collect();
    all.push(("HELDAR_DATA_DIR".into(), folder.into()));
    if env.iter().all(|(name, _)| *name != "HELDAR_MOTION_ENABLED") {
        all.push(("HELDAR_MOTION_ENABLED".into(), "false".into()));
    }
    if env.iter().all(|(name, _)| *name != "HELDAR_API_PORT") {
        all.push(("HELDAR_API_PORT".into(), "0".into()));
    }
    let input = Input { flags: Flags::take([]), env: all, files: &HostFiles };
    let loaded = load(&input);
    let configuration = Configuration::from(&loaded);
    let settings = loaded.settings.unwrap_or_else(|errors| panic!("{errors}"));
    let kernel = Box::pin(Kernel::start_with(settings, apps)).await.unwrap();
    kernel.health.configured(configuration);
    kernel
}

/// Believes the test headers.
struct ByHeader;

impl Resolver for ByHeader {
    fn resolve<'a>(
        &'a self,
        _client: &'a Client,
        request: &'a Parts,
    ) -> BoxFuture<'a, Result<Caller, ApiError>> {
        let list = |name: &str| -> Option<Vec<&str>> {
            let text = request.headers.get(name)?.to_str().ok()?;
            Some(text.split(',').filter(|item| !item.is_empty()).collect())
        };
        let principal = match list(CAPABILITIES) {
            None => Principal::system(),
            Some(names) => Principal {
                kind: PrincipalKind::ApiKey,
                id: "key_test".to_owned(),
                name: "test".to_owned(),
                role: Role::Viewer,
                capabilities: names.iter().map(|name| name.parse::<Capability>().unwrap()).collect(),
                scope: list(CAMERAS).map_or(Scope::All, |ids| {
                    Scope::Cameras(ids.iter().map(|id| CameraId::new(id).unwrap()).collect::<BTreeSet<_>>())
                }),
                credential: heldar_base::Credential::Nothing,
            },
        };
        Box::pin(async move { Ok(Caller::new(principal.into(), AuthorisedBy::OpenAccess)) })
    }

    fn denied(&self, _denial: &Denial<'_>) {}

    fn ended(&self, _right: Right) -> BoxFuture<'static, ()> {
        Box::pin(std::future::pending())
    }
}

/// No proxy and one origin.
struct Plain;

impl Edge for Plain {
    fn trusts(&self, _peer: IpAddr) -> bool {
        false
    }

    fn client(&self, peer: SocketAddr, over: Scheme, _headers: &HeaderMap) -> Client {
        Client {
            peer,
            address: peer.ip(),
            via: Via::Direct,
            scheme: over,
            host: Some("localhost".to_owned()),
        }
    }

    fn cors_origin(&self, _origin: &str) -> Option<String> {
        None
    }

    fn origin_allowed(&self, _client: &Client, _headers: &HeaderMap) -> bool {
        true
    }
}
