//! A small application behind a real listener, and a client that knows nothing of HTTP libraries.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use heldar_base::{
    CameraId, Capability, Clock, Micros, Principal, PrincipalKind, Role, Scope, SimClock, WallTime,
};
use heldar_http::metrics::{HttpMetrics, Registry, TextFormat};
use heldar_http::{
    Access, ApiError, App, AppConfig, AppSlot, AuthorisedBy, Caller, Camera, Client, Denial, Doc, ETag, Edge,
    Freshness, Hsts, Json, JsonUpTo, Length, Lifecycle, Limit, Limits, List, Listeners, Page, Pages, Path,
    Phase, Query, Ranged, RequestId, Resolver, Right, RouteTable, Scheme, ScopeRule, StaticFile, Via, serve,
};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use utoipa::{IntoParams, ToSchema};

/// The proxy that the tests trust; loopback has many addresses.
pub(crate) const PROXY: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2));
pub(crate) const OWN_ORIGIN: &str = "http://heldar.test";
pub(crate) const FILE: &[u8] = b"0123456789abcdefghij";
/// Bytes of an answer that no window and no buffer holds.
pub(crate) const FLOOD: usize = 16 << 20;
pub(crate) const NOW: &str = "2026-01-31T12:00:00Z";

/// Whether access control is on.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum AccessControl {
    On,
    Off,
}

pub(crate) struct TestResolver {
    control: AccessControl,
    pub(crate) denials: Mutex<Vec<String>>,
    /// Names of those whose right has ended.
    pub(crate) ended: tokio::sync::watch::Sender<BTreeSet<String>>,
}

pub(crate) fn principal(name: &str, capabilities: &[Capability], cameras: Option<&[&str]>) -> Principal {
    Principal {
        kind: PrincipalKind::ApiKey,
        id: format!("key_{name}"),
        name: name.to_owned(),
        role: Role::Viewer,
        capabilities: capabilities.iter().copied().collect(),
        scope: cameras.map_or(Scope::All, |list| {
            Scope::Cameras(list.iter().map(|id| CameraId::new(id).unwrap()).collect::<BTreeSet<_>>())
        }),
        credential: heldar_base::Credential::Nothing,
    }
}

impl TestResolver {
    fn by_token(token: &str) -> Result<Principal, ApiError> {
        use Capability::{CameraRead, SystemRead, VideoPlayback};
        Ok(match token {
            "admin" => principal("admin", &[Capability::Admin], None),
            "viewer" => principal("viewer", &[CameraRead, VideoPlayback, SystemRead], None),
            "limited" => principal("limited", &[CameraRead, VideoPlayback, SystemRead], Some(&["gate"])),
            "nowhere" => principal("nowhere", &[CameraRead], Some(&[])),
            _ => return Err(ApiError::invalid_credential()),
        })
    }
}

impl Resolver for TestResolver {
    fn resolve<'a>(
        &'a self,
        _client: &'a Client,
        request: &'a Parts,
    ) -> BoxFuture<'a, Result<Caller, ApiError>> {
        Box::pin(async move {
            let text = |name| request.headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok());
            if let Some(token) = text(header::AUTHORIZATION).and_then(|v| v.strip_prefix("Bearer ")) {
                return Self::by_token(token).map(|p| Caller::new(p.into(), AuthorisedBy::Token));
            }
            if let Some(token) = text(header::COOKIE).and_then(|v| v.strip_prefix("heldar_session=")) {
                let clear = HeaderValue::from_static("heldar_session=; Max-Age=0");
                return Self::by_token(token)
                    .map(|p| Caller::new(p.into(), AuthorisedBy::Cookie))
                    .map_err(|error| error.with_header(header::SET_COOKIE, clear));
            }
            match self.control {
                AccessControl::On => Err(ApiError::no_credential()),
                AccessControl::Off => Ok(Caller::new(Principal::system().into(), AuthorisedBy::OpenAccess)),
            }
        })
    }

    fn denied(&self, denial: &Denial<'_>) {
        let text = format!(
            "{} {} {} {} {}",
            denial.method,
            denial.route,
            denial.reason.map_or("-", |reason| reason.as_str()),
            denial.camera.unwrap_or("-"),
            denial.principal.map_or("-", |principal| &principal.name),
        );
        self.denials.lock().unwrap().push(text);
    }

    fn ended(&self, right: Right) -> BoxFuture<'static, ()> {
        let (name, mut ended) = (right.principal.name.clone(), self.ended.subscribe());
        Box::pin(async move {
            // The sender lives as long as the world.
            let _ended = ended.wait_for(|ended| ended.contains(&name)).await;
        })
    }
}

/// Which origins may read answers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Cors {
    SameOrigin,
    Any,
    Only(&'static str),
}

struct TestEdge(Cors);

impl Edge for TestEdge {
    fn trusts(&self, peer: IpAddr) -> bool {
        peer == PROXY
    }

    fn client(&self, peer: SocketAddr, over: Scheme, headers: &HeaderMap) -> Client {
        let via = if self.trusts(peer.ip()) { Via::TrustedProxy } else { Via::Direct };
        let forwarded = headers.get("x-forwarded-for").and_then(|value| value.to_str().ok()?.parse().ok());
        let host = headers.get(header::HOST).and_then(|host| host.to_str().ok().map(str::to_owned));
        let address = forwarded.filter(|_| via == Via::TrustedProxy).unwrap_or(peer.ip());
        Client { peer, address, via, scheme: over, host }
    }

    fn cors_origin(&self, origin: &str) -> Option<String> {
        match self.0 {
            Cors::SameOrigin => None,
            Cors::Any => Some("*".to_owned()),
            Cors::Only(only) => (origin == only).then(|| origin.to_owned()),
        }
    }

    fn origin_allowed(&self, _client: &Client, headers: &HeaderMap) -> bool {
        headers.get(header::ORIGIN).is_none_or(|origin| origin == OWN_ORIGIN)
            && headers.get("sec-fetch-site").is_none_or(|site| site != "cross-site")
    }
}

struct TestPages;

impl Pages for TestPages {
    fn file<'a>(&'a self, path: &'a str) -> BoxFuture<'a, Option<StaticFile>> {
        let (text, content_type, freshness) = match path {
            "index.html" => ("<!doctype html>", "text/html; charset=utf-8", Freshness::AskEachTime),
            "assets/app.js" => ("export {}", "text/javascript", Freshness::Immutable),
            _ => return Box::pin(async { None }),
        };
        let file = StaticFile {
            bytes: Bytes::from_static(text.as_bytes()),
            content_type: HeaderValue::from_static(content_type),
            etag: ETag::strong(&text.len().to_string()).unwrap(),
            freshness,
        };
        Box::pin(async move { Some(file) })
    }
}

/// What handlers share.
#[derive(Clone)]
pub(crate) struct State {
    /// Lets the `wait` route go on.
    pub(crate) release: Arc<Notify>,
    /// Told when the `wait` route runs.
    pub(crate) waiting: Arc<Notify>,
    /// Told when the `wait` route's handler is no more, whichever way it ended.
    pub(crate) ended: Arc<Notify>,
    registry: Registry,
}

#[derive(Deserialize, ToSchema)]
pub(crate) struct NewCamera {
    name: String,
    rtsp_port: Option<u16>,
}

#[derive(Serialize, ToSchema)]
pub(crate) struct CameraView {
    id: String,
    name: String,
    rtsp_port: Option<u16>,
}

#[derive(Deserialize, IntoParams)]
#[expect(dead_code, reason = "read to be checked")]
struct Window {
    #[param(value_type = Option<String>)]
    from: Option<WallTime>,
    #[serde(default)]
    #[param(inline)]
    limit: Limit<2, 1, 3>,
}

fn view(id: &str) -> CameraView {
    CameraView { id: id.to_owned(), name: id.to_owned(), rtsp_port: None }
}

const CAMERAS: [&str; 5] = ["door", "gate", "hall", "roof", "yard"];

async fn list(
    caller: Caller,
    Query(window): Query<Window>,
    list: List,
) -> Result<Page<CameraView>, ApiError> {
    let after: Option<String> = list.position()?;
    let seen = |id: &&str| caller.scope().covers(&CameraId::new(id).unwrap());
    let later = |id: &&str| after.as_deref().is_none_or(|after| *id > after);
    let limit = window.limit.get() as usize;
    let mut found: Vec<&str> = CAMERAS.into_iter().filter(seen).filter(later).collect();
    let more = found.len() > limit;
    found.truncate(limit);
    let next = found.last().filter(|_| more).map(|id| (*id).to_owned());
    Ok(list.page(found.into_iter().map(view).collect(), next))
}

async fn create(Json(new): Json<NewCamera>) -> impl IntoResponse {
    (
        axum::http::StatusCode::CREATED,
        Json(CameraView { id: "new".into(), name: new.name, rtsp_port: new.rtsp_port }),
    )
}

async fn one(Camera(id): Camera) -> Result<Json<CameraView>, ApiError> {
    if CAMERAS.contains(&id.as_str()) {
        Ok(Json(view(id.as_str())))
    } else {
        Err(ApiError::not_found("camera"))
    }
}

/// Clips are named after their camera.
async fn clip(caller: Caller, Path(id): Path<String>) -> Result<Json<CameraView>, ApiError> {
    let camera = CameraId::new(&id).map_err(|_| caller.missing("clip"))?;
    if !CAMERAS.contains(&id.as_str()) || !caller.scope().covers(&camera) {
        return Err(caller.missing("clip"));
    }
    Ok(Json(view(&id)))
}

async fn recording(
    axum::extract::State(_): axum::extract::State<State>,
    Path((_camera, file)): Path<(String, String)>,
    method: Method,
    headers: HeaderMap,
) -> Result<impl IntoResponse, ApiError> {
    let etag = ETag::strong("seg-1").unwrap();
    let length = match file.as_str() {
        "sealed.mp4" => Length::Final(FILE.len() as u64),
        "open.mp4" => Length::SoFar(FILE.len() as u64),
        "short.mp4" => Length::Final(FILE.len() as u64 + 10),
        _ => return Err(ApiError::not_found("file")),
    };
    let now = WallTime::parse(NOW).unwrap();
    let ranged = Ranged {
        content_type: HeaderValue::from_static("video/mp4"),
        length,
        etag: Some(&etag),
        last_modified: Some(now - Micros::from_secs(60)),
        cache_control: Some(HeaderValue::from_static("private, max-age=60")),
    };
    ranged.respond(&method, &headers, now, Bytes::from_static(FILE))
}

async fn wait(axum::extract::State(state): axum::extract::State<State>, client: Client) -> String {
    struct End(Arc<Notify>);
    impl Drop for End {
        fn drop(&mut self) {
            self.0.notify_one();
        }
    }
    let _end = End(Arc::clone(&state.ended));
    state.waiting.notify_one();
    state.release.notified().await;
    client.address.to_string()
}

/// Takes the connection over and sends back what comes, word by word.
async fn upgrade(request: axum::extract::Request) -> impl IntoResponse {
    tokio::spawn(async move {
        let upgraded = hyper::upgrade::on(request).await.unwrap();
        let mut io = hyper_util::rt::TokioIo::new(upgraded);
        let mut word = [0; 8];
        while io.read_exact(&mut word).await.is_ok() {
            io.write_all(&word).await.unwrap();
            io.flush().await.unwrap();
        }
    });
    let fields = [(header::CONNECTION, "upgrade"), (header::UPGRADE, "echo")];
    (axum::http::StatusCode::SWITCHING_PROTOCOLS, fields)
}

async fn panics() -> Json<CameraView> {
    panic!("hunter2")
}

async fn scrape(
    axum::extract::State(state): axum::extract::State<State>,
    headers: HeaderMap,
) -> impl IntoResponse {
    let format = TextFormat::negotiate(&headers);
    ([(header::CONTENT_TYPE, format.content_type())], state.registry.render(format))
}

pub(crate) fn table() -> RouteTable<State> {
    use Capability::{CameraRead, RegistryManage, SystemRead, VideoPlayback};
    let mut table = RouteTable::new("Heldar", "0.1.0");
    let doc = Doc::new;
    let ok = |id, tag| doc(id, tag, "An operation.").content(200, "text/plain", "Text.");
    table
        .add(
            Method::GET,
            "/api/v1/cameras",
            Access::filter(CameraRead),
            list,
            doc("list_cameras", "cameras", "Cameras by id.").query::<Window>().page::<CameraView>("A page."),
        )
        .add(
            Method::POST,
            "/api/v1/cameras",
            Access::body(RegistryManage),
            create,
            doc("create_camera", "cameras", "Adds one.")
                .body::<NewCamera>()
                .json::<CameraView>(201, "Added."),
        )
        .add(
            Method::GET,
            "/api/v1/cameras/{id}",
            Access::cam(CameraRead),
            one,
            doc("get_camera", "cameras", "One camera.").json::<CameraView>(200, "It."),
        )
        .add(
            Method::DELETE,
            "/api/v1/cameras/{id}",
            Access::cam(Capability::Admin),
            async || axum::http::StatusCode::NO_CONTENT,
            doc("delete_camera", "cameras", "Removes one.").empty(204, "Gone."),
        )
        .add(
            Method::GET,
            "/api/v1/clips/{id}",
            Access::res(CameraRead),
            clip,
            doc("get_clip", "clips", "One clip.").json::<CameraView>(200, "It."),
        )
        .add(
            Method::PUT,
            "/api/v1/small",
            Access::any_principal(ScopeRule::None),
            async |JsonUpTo(new): JsonUpTo<NewCamera, 64>| new.name,
            ok("put_small", "test").body::<NewCamera>(),
        )
        .add(
            Method::POST,
            "/api/v1/empty",
            Access::any_principal(ScopeRule::None),
            async || "done",
            ok("empty", "test"),
        )
        .add(Method::GET, "/api/v1/box", Access::fleet(SystemRead), async || "box", ok("get_box", "test"))
        .add(
            Method::GET,
            "/api/v1/panic",
            Access::any_principal(ScopeRule::None),
            panics,
            ok("panic", "test"),
        )
        .add(Method::GET, "/api/v1/wait", Access::any_principal(ScopeRule::None), wait, ok("wait", "test"))
        .add(
            Method::GET,
            "/api/v1/host",
            Access::any_principal(ScopeRule::None),
            async |client: Client| client.host.unwrap_or_default(),
            ok("host", "test"),
        )
        .add(
            Method::GET,
            "/api/v1/scheme",
            Access::any_principal(ScopeRule::None),
            async |client: Client| format!("{:?}", client.scheme),
            ok("scheme", "test"),
        )
        .add(
            Method::GET,
            "/api/v1/flood",
            Access::any_principal(ScopeRule::None),
            async || vec![b'x'; FLOOD],
            ok("flood", "test"),
        )
        .add(
            Method::GET,
            "/api/v1/upgrade",
            Access::any_principal(ScopeRule::None),
            upgrade,
            ok("upgrade", "test"),
        )
        .add(
            Method::GET,
            "/api/v1/foreign",
            Access::any_principal(ScopeRule::None),
            async || (axum::http::StatusCode::IM_A_TEAPOT, "a layer that knows nothing of ours"),
            ok("foreign", "test"),
        )
        .add(
            Method::GET,
            "/api/v1/number/{n}",
            Access::any_principal(ScopeRule::None),
            async |Path(n): Path<u32>| n.to_string(),
            ok("number", "test"),
        )
        .add(
            Method::GET,
            "/api/v1/disk",
            Access::any_principal(ScopeRule::None),
            async || Err::<(), _>(ApiError::from(std::io::Error::other("/secret/path rtsp://u:hunter2@h"))),
            ok("disk", "test"),
        )
        .add(
            Method::POST,
            "/api/v1/auth/login",
            Access::public(),
            async |id: RequestId| id.as_str().to_owned(),
            ok("login", "auth"),
        )
        .add(
            Method::GET,
            "/media/recordings/{camera}/{file}",
            Access::cam_in("camera", VideoPlayback),
            recording,
            ok("recording", "media"),
        )
        .add(
            Method::GET,
            "/healthz",
            Access::public(),
            async || Json(serde_json::json!({"status": "ok"})),
            ok("healthz", "health"),
        )
        .add(Method::GET, "/metrics", Access::fleet(SystemRead), scrape, ok("metrics", "health"))
        .add_description(
            "/api/v1/openapi.json",
            Access::any_principal(ScopeRule::None),
            ok("openapi", "system"),
        );
    table
}

/// What a test may vary.
pub(crate) struct Setup {
    pub(crate) control: AccessControl,
    pub(crate) cors: Cors,
    pub(crate) limits: Limits,
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) tls: Option<Arc<rustls::ServerConfig>>,
    pub(crate) hsts: Hsts,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            control: AccessControl::On,
            cors: Cors::Only("http://localhost:5173"),
            limits: Limits::default(),
            addresses: vec!["127.0.0.1:0".parse().unwrap()],
            tls: None,
            hsts: Hsts::Silent,
        }
    }
}

/// A running server.
pub(crate) struct World {
    pub(crate) addresses: Vec<SocketAddr>,
    pub(crate) state: State,
    pub(crate) resolver: Arc<TestResolver>,
    pub(crate) lifecycle: Arc<Lifecycle>,
    pub(crate) registry: Registry,
    stop: Option<oneshot::Sender<()>>,
    server: JoinHandle<()>,
}

impl World {
    pub(crate) async fn start(setup: Setup) -> World {
        let registry = Registry::new();
        let panics = registry.counter("heldar_panics_total", "Panics.");
        let resolver = Arc::new(TestResolver {
            control: setup.control,
            denials: Mutex::default(),
            ended: tokio::sync::watch::Sender::default(),
        });
        let lifecycle = Arc::new(Lifecycle::new(Phase::Running));
        let clock: Arc<dyn Clock> = Arc::new(SimClock::new(WallTime::parse(NOW).unwrap()));
        let config = AppConfig {
            resolver: Arc::clone(&resolver) as Arc<dyn Resolver>,
            edge: Arc::new(TestEdge(setup.cors)),
            pages: Some(Arc::new(TestPages)),
            lifecycle: Arc::clone(&lifecycle),
            clock,
            metrics: Arc::new(HttpMetrics::new(&registry, panics)),
            requests_per_source: 1,
            hsts: setup.hsts,
        };
        let state = State {
            release: Arc::default(),
            waiting: Arc::default(),
            ended: Arc::default(),
            registry: registry.clone(),
        };
        let app: App = table().build(state.clone(), config).unwrap();
        let mut listeners = Listeners::bind(&setup.addresses).await.unwrap();
        if let Some(config) = setup.tls {
            listeners = listeners.with_tls(config);
        }
        let addresses = listeners.addresses();
        let (stop, stopped) = oneshot::channel::<()>();
        let server = tokio::spawn(async move {
            let stopped = async { drop(stopped.await) };
            serve(listeners, AppSlot::new(app), setup.limits, stopped).await;
        });
        World { addresses, state, resolver, lifecycle, registry, stop: Some(stop), server }
    }

    pub(crate) async fn connect(&self) -> Connection {
        Connection(TcpStream::connect(self.addresses[0]).await.unwrap())
    }

    /// A connection that comes from another of loopback's addresses.
    pub(crate) async fn connect_from(&self, source: IpAddr) -> Connection {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(SocketAddr::new(source, 0)).unwrap();
        Connection(socket.connect(self.addresses[0]).await.unwrap())
    }

    /// Sends one request on a connection of its own.
    pub(crate) async fn send(&self, request: &str) -> Answer {
        let mut connection = self.connect().await;
        connection.send(request).await
    }

    /// A GET with a token.
    pub(crate) async fn get(&self, path: &str, token: &str) -> Answer {
        self.send(&format!("GET {path} HTTP/1.1\r\nHost: h\r\nAuthorization: Bearer {token}\r\n\r\n")).await
    }

    pub(crate) fn begin_stop(&mut self) {
        drop(self.stop.take());
    }

    pub(crate) async fn stopped(self) {
        self.server.await.unwrap();
    }

    pub(crate) fn metrics(&self) -> String {
        self.registry.render(TextFormat::Prometheus)
    }
}

pub(crate) struct Connection<S = TcpStream>(pub S);

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).await.unwrap();
    }

    pub(crate) async fn send(&mut self, request: &str) -> Answer {
        self.write(request.as_bytes()).await;
        let head_only = request.starts_with("HEAD ");
        self.answer(head_only).await.expect("an answer")
    }

    /// Reads one answer; `None` when the connection ends before one.
    pub(crate) async fn answer(&mut self, head_only: bool) -> Option<Answer> {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match self.0.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return None,
            }
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.split("\r\n");
        let status = lines.next().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        let headers: Vec<(String, String)> = lines
            .filter_map(|line| line.split_once(": "))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new(), complete: true };
        if !head_only && !matches!(status, 101 | 204 | 304) {
            let len: usize = answer.header("content-length").expect("a length").parse().unwrap();
            let mut taken = (&mut self.0).take(len as u64);
            let read = taken.read_to_end(&mut answer.body).await;
            answer.complete = read.is_ok() && answer.body.len() == len;
        }
        Some(answer)
    }

    /// Waits for the other side to end the connection.
    pub(crate) async fn ended(&mut self) {
        let mut rest = Vec::new();
        tokio::time::timeout(Duration::from_secs(20), self.0.read_to_end(&mut rest)).await.unwrap().ok();
        assert!(rest.is_empty(), "{}", String::from_utf8_lossy(&rest));
    }
}

#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
    pub(crate) complete: bool,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&self.body)))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    /// Checks the form of every error: status, code, JSON, request id.
    pub(crate) fn assert_error(&self, status: u16, code: &str, request: &str) -> serde_json::Value {
        assert_eq!(self.status, status, "{request}: {self:?}");
        assert_eq!(self.header("content-type"), Some("application/json"), "{request}");
        assert_eq!(self.header("cache-control"), Some("no-store"), "{request}");
        assert_eq!(self.header("x-content-type-options"), Some("nosniff"), "{request}");
        let id = self.header("x-request-id").expect("a request id").to_owned();
        let body = self.json();
        assert_eq!(body["code"], code, "{request}: {body}");
        assert_eq!(body["request_id"], id.as_str(), "{request}: {body}");
        assert!(body["error"].as_str().is_some_and(|text| !text.is_empty()), "{request}: {body}");
        body
    }
}
