//! Signing in and out, set-up, and what is one's own (auth-system.md 13.2).

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use heldar_access::ScopeSpec;
use heldar_base::{Capability, Credential, Micros, Principal, PrincipalKind, Role, Secret, WallTime};
use heldar_http::{
    Access, ApiError, Caller, Client, Code, Doc, Json, JsonUpTo, Path, Query, RequestId, RouteTable, Scheme,
    ScopeRule,
};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::Api;
use super::requester::Requester;
use super::users::{Session, User, refused};
use crate::accounts::{Attempt, NewPerson, SignedIn};
use crate::front::{SESSION_COOKIE, all_tokens, cleared_cookie, cookie, cookies};
use crate::kernel::Kernel;
use crate::registry::Author;

/// Name of the cookie by which a browser is known.
const DEVICE_COOKIE: &str = "heldar_device";
/// The only paths that it is sent to.
const DEVICE_PATH: &str = "/api/v1/auth";
/// How long it lasts.
const DEVICE_LIFE: Micros = Micros::from_hours(24 * 180);
/// Largest document of preferences, in bytes.
const MAX_PREFERENCES: usize = 64 * 1024;
/// Largest body of strangers, in bytes.
const SMALL: usize = 16 * 1024;

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::POST,
        "/api/v1/auth/login",
        Access::public(),
        login,
        Doc::new("login", "auth", "Sign in")
            .body::<Login>()
            .json::<SignIn>(200, "A sign-in; its token stands in a cookie too.")
            .headers(&[("Set-Cookie", "Session, and device where that was asked for.")])
            .fails(&[Code::Unauthenticated, Code::RateLimited]),
    );
    table.add(
        Method::POST,
        "/api/v1/auth/logout",
        Access::public(),
        logout,
        Doc::new("logout", "auth", "Sign out")
            .details("Ends every sign-in whose token is sent. Keys are not touched.")
            .empty(204, "Whatever was sent."),
    );
    table.add(
        Method::GET,
        "/api/v1/auth/methods",
        Access::public(),
        methods,
        Doc::new("listAuthMethods", "auth", "Tell how one may sign in").json::<Methods>(200, "The ways."),
    );
    table.add(
        Method::POST,
        "/api/v1/auth/setup",
        Access::public(),
        setup,
        Doc::new("setUp", "auth", "Make the first administrator")
            .details("With the token of the one-time link that the server's log shows and `heldar setup-link` prints.")
            .body::<Setup>()
            .json::<SignIn>(200, "Signed in as the new administrator.")
            .fails(&[Code::Unauthenticated, Code::Conflict, Code::RateLimited]),
    );
    table.add(
        Method::GET,
        "/api/v1/auth/me",
        Access::any_principal(ScopeRule::None),
        me,
        Doc::new("getMe", "auth", "Tell who asks, and what that may do").json::<Me>(200, "The principal."),
    );
    table.add(
        Method::POST,
        "/api/v1/auth/password",
        Access::any_principal(ScopeRule::None),
        password,
        Doc::new("changePassword", "auth", "Choose a new password")
            .details("Ends the account's other sign-ins.")
            .body::<NewPassword>()
            .empty(204, "It holds from now on.")
            .fails(&[Code::RateLimited]),
    );
    table.add(
        Method::GET,
        "/api/v1/auth/sessions",
        Access::any_principal(ScopeRule::None),
        sessions,
        Doc::new("listOwnSessions", "auth", "List one's own sign-ins")
            .list::<Session>(200, "The newest first."),
    );
    table.add(
        Method::DELETE,
        "/api/v1/auth/sessions",
        Access::any_principal(ScopeRule::None),
        end_all,
        Doc::new("endOwnSessions", "auth", "End one's own sign-ins")
            .query::<Which>()
            .empty(204, "They have ended."),
    );
    table.add(
        Method::DELETE,
        "/api/v1/auth/sessions/{id}",
        Access::any_principal(ScopeRule::None),
        end_one,
        Doc::new("endOwnSession", "auth", "End one of one's own sign-ins")
            .empty(204, "It has ended.")
            .fails(&[Code::NotFound]),
    );
    table.add(
        Method::GET,
        "/api/v1/me/preferences",
        Access::any_principal(ScopeRule::None),
        preferences,
        Doc::new("getPreferences", "auth", "What was left here: layouts, language, theme")
            .json::<serde_json::Value>(200, "`{}` before the first PUT."),
    );
    table.add(
        Method::PUT,
        "/api/v1/me/preferences",
        Access::any_principal(ScopeRule::None),
        set_preferences,
        Doc::new("setPreferences", "auth", "Replace what was left here")
            .body::<serde_json::Value>()
            .json::<serde_json::Value>(200, "The document.")
            .fails(&[Code::TooLarge]),
    );
}

/// Name and password.
#[derive(Deserialize, ToSchema)]
struct Login {
    /// Name, in any case.
    username: String,
    /// Password.
    password: String,
    /// Makes this browser known, for 180 days: it is not locked out with others.
    #[serde(default)]
    remember_device: bool,
    /// Leaves the token out of the answer.
    #[serde(default)]
    cookie_only: bool,
}

/// A sign-in.
#[derive(Serialize, ToSchema)]
struct SignIn {
    /// Token, shown once; absent with `cookie_only`.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    token: Option<String>,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: WallTime,
    /// Who.
    user: User,
}

/// Somebody without a credential, as the audit knows it.
fn stranger(client: &Client, headers: &HeaderMap, id: &RequestId) -> Author {
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    Author::nobody().by_request(client.address.to_string(), user_agent, id.as_str())
}

async fn login(
    State(kernel): State<Api>,
    client: Client,
    id: RequestId,
    headers: HeaderMap,
    JsonUpTo(body): JsonUpTo<Login, SMALL>,
) -> Result<Response, ApiError> {
    let attempt = Attempt {
        username: body.username,
        password: Secret::new(body.password),
        address: client.address,
        device: cookies(&headers, DEVICE_COOKIE).next().map(str::to_owned),
        remember_device: body.remember_device,
        author: stranger(&client, &headers, &id),
    };
    let signed_in = kernel.accounts.sign_in(attempt).await.map_err(refused)?;
    Ok(welcome(&kernel, &client, signed_in, body.cookie_only))
}

fn welcome(kernel: &Kernel, client: &Client, signed_in: SignedIn, cookie_only: bool) -> Response {
    let SignedIn { token, expires_at, device, person } = signed_in;
    let settings = kernel.accounts.settings();
    let secure = settings.cookie_secure || client.scheme == Scheme::Https;
    let session = token.text().expose();
    let user = User::new(kernel, person);
    let body = SignIn { token: (!cookie_only).then(|| session.clone()), expires_at, user };
    let mut answer = Json(body).into_response();
    let headers = answer.headers_mut();
    headers.append(header::SET_COOKIE, cookie(SESSION_COOKIE, session, "/", settings.session_ttl, secure));
    if let Some(device) = device {
        let device = cookie(DEVICE_COOKIE, device.text().expose(), DEVICE_PATH, DEVICE_LIFE, secure);
        headers.append(header::SET_COOKIE, device);
    }
    answer
}

async fn logout(
    State(kernel): State<Api>,
    client: Client,
    id: RequestId,
    headers: HeaderMap,
) -> (StatusCode, [(header::HeaderName, HeaderValue); 1]) {
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let author = move |principal: &Principal| {
        Author::new(principal).by_request(client.address.to_string(), user_agent.as_deref(), id.as_str())
    };
    let tokens = all_tokens(&headers);
    // On a task of its own: what has begun is written down, whether the caller waits for it or not.
    let signing_out = tokio::spawn(async move {
        for entry in kernel.accounts.sign_out(author, &tokens).await {
            kernel.journal.push(entry);
        }
    });
    // An error would be a panic, which is reported where it happens.
    let _done = signing_out.await;
    (StatusCode::NO_CONTENT, [(header::SET_COOKIE, cleared_cookie())])
}

/// How one may sign in.
#[derive(Serialize, ToSchema)]
struct Methods {
    /// Whether callers must identify themselves.
    auth_enabled: bool,
    /// Whether everybody is served as administrator.
    open: bool,
    /// Whether name and password do.
    password: bool,
    /// Whether there is nobody yet.
    setup_needed: bool,
}

async fn methods(State(kernel): State<Api>) -> Json<Methods> {
    Json(Methods {
        auth_enabled: kernel.accounts.required(),
        open: kernel.settings.access.open,
        password: true,
        setup_needed: kernel.accounts.required() && kernel.accounts.nobody(),
    })
}

/// The first administrator.
#[derive(Deserialize, ToSchema)]
struct Setup {
    /// Token of the one-time link.
    setup_token: String,
    /// Name to sign in with.
    username: String,
    /// Password, at least 8 characters.
    password: String,
    /// What others see.
    #[serde(default)]
    display_name: Option<String>,
    /// Leaves the token out of the answer.
    #[serde(default)]
    cookie_only: bool,
}

async fn setup(
    State(kernel): State<Api>,
    client: Client,
    id: RequestId,
    headers: HeaderMap,
    JsonUpTo(body): JsonUpTo<Setup, SMALL>,
) -> Result<Response, ApiError> {
    let new = NewPerson {
        username: body.username,
        password: Secret::new(body.password),
        display_name: body.display_name,
        ..NewPerson::default()
    };
    let (author, address) = (stranger(&client, &headers, &id), client.address);
    let made = kernel.accounts.set_up(&kernel.sealer, author, address, &body.setup_token, new).await;
    Ok(welcome(&kernel, &client, made.map_err(refused)?, body.cookie_only))
}

/// Where rights hold.
#[derive(Serialize, ToSchema)]
struct ScopeView {
    /// `all`, or `cameras` for those of the lists.
    #[schema(value_type = String)]
    kind: &'static str,
    /// Camera ids.
    cameras: Vec<String>,
    /// Site ids: every camera of them.
    sites: Vec<String>,
}

impl From<ScopeSpec> for ScopeView {
    fn from(spec: ScopeSpec) -> Self {
        ScopeView { kind: spec.kind(), cameras: spec.cameras, sites: spec.sites }
    }
}

/// Rights, and where they hold.
#[derive(Serialize, ToSchema)]
struct GrantView {
    /// What one may do.
    #[schema(value_type = Vec<String>)]
    capabilities: Vec<Capability>,
    /// Where.
    scope: ScopeView,
}

/// The sign-in that the request came with.
#[derive(Serialize, ToSchema)]
struct OwnSession {
    /// Id.
    id: String,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: WallTime,
    /// When it ends if it is not used; null where that does not happen.
    #[schema(value_type = Option<String>, format = DateTime)]
    idle_expires_at: Option<WallTime>,
}

/// How this server is set up.
#[derive(Serialize, ToSchema)]
struct AuthState {
    /// Whether callers must identify themselves.
    enabled: bool,
    /// Whether everybody is served as administrator.
    open: bool,
}

/// Who asks.
#[derive(Serialize, ToSchema)]
struct Me {
    /// Id.
    id: String,
    /// What others see.
    name: String,
    /// Role.
    #[schema(value_type = String)]
    role: Role,
    /// `user`, `api_key` or `system`.
    #[schema(value_type = String)]
    kind: PrincipalKind,
    /// Name to sign in with; null for machines.
    username: Option<String>,
    /// What it may do.
    #[schema(value_type = Vec<String>)]
    capabilities: Vec<Capability>,
    /// Where.
    scope: ScopeView,
    /// The same, right by right.
    grants: Vec<GrantView>,
    /// The sign-in; null for machines.
    session: Option<OwnSession>,
    /// Whether a password must be chosen before anything else.
    must_change_password: bool,
    /// How this server is set up.
    auth: AuthState,
}

async fn me(State(kernel): State<Api>, caller: Caller) -> Json<Me> {
    let principal = caller.principal();
    let directory = kernel.accounts.directory();
    let person = directory.person(&principal.id);
    let scope = || match &principal.credential {
        Credential::Nothing => ScopeSpec::default(),
        Credential::Session(_) => person.map(|person| person.scope.clone()).unwrap_or_default(),
        Credential::Key(secret) => {
            directory.key(&secret.key).map(|key| key.scope.clone()).unwrap_or_default()
        }
    };
    let session = match &principal.credential {
        Credential::Session(id) => directory.session(id).map(|session| OwnSession {
            idle_expires_at: directory.idle_end(id),
            expires_at: session.expires_at,
            id: session.id,
        }),
        _ => None,
    };
    let capabilities: Vec<Capability> = principal.capabilities.iter().copied().collect();
    Json(Me {
        id: principal.id.clone(),
        name: principal.name.clone(),
        role: principal.role,
        kind: principal.kind,
        username: person.map(|person| person.username.clone()),
        scope: scope().into(),
        grants: vec![GrantView { capabilities: capabilities.clone(), scope: scope().into() }],
        capabilities,
        session,
        must_change_password: person.is_some_and(|person| person.must_change_password),
        auth: AuthState { enabled: kernel.accounts.required(), open: kernel.settings.access.open },
    })
}

/// A person; machines and the system have neither password nor sign-ins.
fn person(caller: &Caller) -> Result<&Principal, ApiError> {
    let principal = caller.principal();
    match principal.kind {
        PrincipalKind::User => Ok(principal),
        _ => Err(ApiError::new(Code::Forbidden, "only somebody who has signed in may do this")),
    }
}

/// Two passwords.
#[derive(Deserialize, ToSchema)]
struct NewPassword {
    /// The one that holds.
    current_password: String,
    /// The one that is to hold.
    new_password: String,
}

async fn password(
    State(kernel): State<Api>,
    Requester { caller, author }: Requester,
    client: Client,
    JsonUpTo(body): JsonUpTo<NewPassword, SMALL>,
) -> Result<StatusCode, ApiError> {
    let principal = person(&caller)?;
    let passwords = (Secret::new(body.current_password), Secret::new(body.new_password));
    kernel.accounts.change_password(author, principal, client.address, passwords).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn sessions(State(kernel): State<Api>, caller: Caller) -> Result<Json<Vec<Session>>, ApiError> {
    let principal = person(&caller)?;
    let current = principal.credential.id();
    let list = kernel.accounts.sessions_of(&principal.id);
    Ok(Json(list.into_iter().map(|session| Session::new(session, current)).collect()))
}

/// Which sign-ins.
#[derive(Debug, Deserialize, IntoParams)]
struct Which {
    /// The one that this request comes with as well.
    #[serde(default)]
    include_current: bool,
}

async fn end_all(
    State(kernel): State<Api>,
    Requester { caller, author }: Requester,
    Query(which): Query<Which>,
) -> Result<StatusCode, ApiError> {
    let principal = person(&caller)?;
    let current = principal.credential.id().map(str::to_owned).filter(|_| !which.include_current);
    kernel.accounts.end_sessions(author, principal.id.clone(), current).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end_one(
    State(kernel): State<Api>,
    Requester { caller, author }: Requester,
    Path(id): Path<String>,
) -> Result<StatusCode, ApiError> {
    let principal = person(&caller)?;
    kernel.accounts.end_session(author, principal.id.clone(), id).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// People and the system have preferences.
fn has_preferences(caller: &Caller) -> Result<&Principal, ApiError> {
    let principal = caller.principal();
    match principal.kind {
        PrincipalKind::User | PrincipalKind::System => Ok(principal),
        PrincipalKind::ApiKey => Err(ApiError::new(Code::Forbidden, "keys have no preferences")),
    }
}

async fn preferences(State(kernel): State<Api>, caller: Caller) -> Result<Json<serde_json::Value>, ApiError> {
    let document = kernel.accounts.preferences(has_preferences(&caller)?).await.map_err(refused)?;
    Ok(Json(serde_json::from_str(&document).unwrap_or_else(|_| serde_json::json!({}))))
}

async fn set_preferences(
    State(kernel): State<Api>,
    caller: Caller,
    document: Result<Json<serde_json::Value>, ApiError>,
) -> Result<Json<serde_json::Value>, ApiError> {
    let principal = has_preferences(&caller)?;
    let Json(document) = document.map_err(|error| match error.code() {
        Code::InvalidBody => ApiError::new(Code::Validation, "preferences are a JSON object"),
        _ => error,
    })?;
    let text = document.to_string();
    if text.len() > MAX_PREFERENCES {
        return Err(ApiError::new(Code::TooLarge, "preferences have at most 64 KiB"));
    }
    kernel.accounts.set_preferences(principal, text).await.map_err(refused)?;
    Ok(Json(document))
}
