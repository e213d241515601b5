//! People, for administrators (auth-system.md 13.3).

use axum::extract::State;
use axum::http::{Method, StatusCode};
use heldar_access::{GrantError, Networks};
use heldar_base::{Capability, Secret, WallTime};
use heldar_http::{Access, ApiError, Code, Doc, Json, Patch, Path, RouteTable};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::requester::Requester;
use super::{Api, errors};
use crate::accounts::{AccountError, NewPerson, PersonChanges, PersonView, ScopeChanges};
use crate::kernel::Kernel;
use crate::registry::FieldFault;

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    let admin = || Access::fleet(Capability::Admin);
    table.add(
        Method::GET,
        "/api/v1/users",
        admin(),
        list,
        Doc::new("listUsers", "users", "List people").list::<User>(200, "By username."),
    );
    table.add(
        Method::POST,
        "/api/v1/users",
        admin(),
        create,
        Doc::new("createUser", "users", "Add a person")
            .body::<CreateUser>()
            .json::<User>(201, "The person.")
            .fails(&[Code::Conflict, Code::NotSupported]),
    );
    table.add(
        Method::GET,
        "/api/v1/users/{id}",
        admin(),
        one,
        Doc::new("getUser", "users", "Show a person")
            .json::<User>(200, "The person.")
            .fails(&[Code::NotFound]),
    );
    table.add(
        Method::PATCH,
        "/api/v1/users/{id}",
        admin(),
        change,
        Doc::new("changeUser", "users", "Change a person")
            .details("Clears locks. Ends the sign-ins when it deactivates the account or sets a password.")
            .body::<PatchUser>()
            .json::<User>(200, "The person.")
            .fails(&[Code::NotFound, Code::NotSupported, Code::Conflict]),
    );
    table.add(
        Method::DELETE,
        "/api/v1/users/{id}",
        admin(),
        delete,
        Doc::new("deleteUser", "users", "Delete a person").empty(204, "It is gone.").fails(&[Code::NotFound]),
    );
    table.add(
        Method::POST,
        "/api/v1/users/{id}/unlock",
        admin(),
        unlock,
        Doc::new("unlockUser", "users", "Let locked-out clients of an account try again")
            .json::<User>(200, "The person.")
            .fails(&[Code::NotFound]),
    );
    table.add(
        Method::GET,
        "/api/v1/users/{id}/sessions",
        admin(),
        sessions,
        Doc::new("listUserSessions", "users", "List a person's sign-ins")
            .list::<Session>(200, "The newest first.")
            .fails(&[Code::NotFound]),
    );
    table.add(
        Method::DELETE,
        "/api/v1/users/{id}/sessions",
        admin(),
        end_all,
        Doc::new("endUserSessions", "users", "End a person's sign-ins")
            .empty(204, "They have ended.")
            .fails(&[Code::NotFound]),
    );
    table.add(
        Method::DELETE,
        "/api/v1/users/{id}/sessions/{sid}",
        admin(),
        end_one,
        Doc::new("endUserSession", "users", "End one of a person's sign-ins")
            .empty(204, "It has ended.")
            .fails(&[Code::NotFound]),
    );
}

/// A person.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct User {
    /// Id.
    id: String,
    /// Name to sign in with.
    username: String,
    /// Role.
    role: String,
    /// What others see.
    display_name: Option<String>,
    /// Whether it may sign in.
    active: bool,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: WallTime,
    /// `all`, or `cameras` for those of the lists.
    #[schema(value_type = String)]
    scope_kind: &'static str,
    /// Camera ids.
    scope_cameras: Vec<String>,
    /// Site ids: every camera of them, now and later.
    scope_sites: Vec<String>,
    /// Ids in both lists that name nothing.
    unknown_scope_ids: Vec<String>,
    /// What it may do.
    #[schema(value_type = Vec<String>)]
    capabilities: Vec<Capability>,
    /// Networks that it may come from; empty: any.
    allowed_networks: Vec<String>,
    /// When it last signed in.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_login_at: Option<WallTime>,
    /// Until when some client is locked out of the account; the latest.
    #[schema(value_type = Option<String>, format = DateTime)]
    locked_until: Option<WallTime>,
    /// Whether a password must be chosen before anything else.
    must_change_password: bool,
}

impl User {
    pub(super) fn new(kernel: &Kernel, view: PersonView) -> Self {
        let PersonView { account, capabilities, locked_until } = view;
        let fields = account.fields;
        let stored = &fields.grant;
        let scope = heldar_access::ScopeSpec::stored(&stored.kind, &stored.cameras, &stored.sites);
        User {
            id: account.id,
            username: fields.username,
            role: fields.role,
            display_name: fields.display_name,
            active: fields.active,
            created_at: account.created_at,
            updated_at: account.updated_at,
            scope_kind: scope.kind(),
            unknown_scope_ids: scope.unknown(kernel.accounts.directory().sites()),
            scope_cameras: scope.cameras,
            scope_sites: scope.sites,
            capabilities,
            allowed_networks: Networks::stored(&stored.networks).texts(),
            last_login_at: account.last_login_at,
            locked_until,
            must_change_password: fields.must_change_password,
        }
    }
}

/// A sign-in.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Session {
    /// Id.
    id: String,
    /// When it began.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// When it was last used.
    #[schema(value_type = String, format = DateTime)]
    last_used_at: WallTime,
    /// When it ends.
    #[schema(value_type = String, format = DateTime)]
    expires_at: WallTime,
    /// Where it began.
    ip: Option<String>,
    /// In which program.
    user_agent: Option<String>,
    /// Whether this request comes with it.
    current: bool,
}

impl Session {
    pub(super) fn new(session: heldar_access::SignIn, current: Option<&str>) -> Self {
        Session {
            current: current == Some(session.id.as_str()),
            id: session.id,
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at,
            ip: session.ip,
            user_agent: session.user_agent,
        }
    }
}

/// Refuses what would narrow access and is not part of this version.
pub(super) fn refuse_later(windows: &Option<Value>, footage: &Option<Value>) -> Result<(), ApiError> {
    let asks = |value: &Option<Value>| match value {
        None | Some(Value::Null) => false,
        Some(Value::Array(list)) => !list.is_empty(),
        Some(_) => true,
    };
    for (name, value) in [("scope_windows", windows), ("scope_footage", footage)] {
        if asks(value) {
            let text = format!("{name} is not supported by this version, and would not be obeyed");
            return Err(ApiError::new(Code::NotSupported, text).with_field(name));
        }
    }
    Ok(())
}

/// A new person.
#[derive(Deserialize, ToSchema)]
struct CreateUser {
    /// Name to sign in with, not blank, unique in any case.
    username: String,
    /// Password, at least 8 characters.
    password: String,
    /// `admin`, `manager`, `guard`, `viewer` or `integration`; `viewer` by default.
    #[serde(default)]
    role: Option<String>,
    /// What others see.
    #[serde(default)]
    display_name: Option<String>,
    /// Whether it may sign in; true by default.
    #[serde(default)]
    active: Option<bool>,
    /// Whether a password must be chosen before anything else.
    #[serde(default)]
    must_change_password: Option<bool>,
    /// `all`, or `cameras` for those of the lists.
    #[serde(default)]
    scope_kind: Option<String>,
    /// Camera ids.
    #[serde(default)]
    scope_cameras: Option<Vec<String>>,
    /// Site ids.
    #[serde(default)]
    scope_sites: Option<Vec<String>>,
    /// Networks that it may come from, in CIDR notation.
    #[serde(default)]
    allowed_networks: Option<Vec<String>>,
    #[serde(default)]
    #[schema(ignore)]
    scope_windows: Option<Value>,
    #[serde(default)]
    #[schema(ignore)]
    scope_footage: Option<Value>,
}

/// A change of a person: what is absent stays.
#[derive(Deserialize, ToSchema)]
struct PatchUser {
    /// A new password.
    #[serde(default)]
    password: Option<String>,
    /// `admin`, `manager`, `guard`, `viewer` or `integration`.
    #[serde(default)]
    role: Option<String>,
    /// What others see; null clears.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    display_name: Patch<String>,
    /// Whether it may sign in.
    #[serde(default)]
    active: Option<bool>,
    /// Whether a password must be chosen before anything else.
    #[serde(default)]
    must_change_password: Option<bool>,
    /// `all`, or `cameras` for those of the lists.
    #[serde(default)]
    scope_kind: Option<String>,
    /// Camera ids.
    #[serde(default)]
    scope_cameras: Option<Vec<String>>,
    /// Site ids.
    #[serde(default)]
    scope_sites: Option<Vec<String>>,
    /// Networks that it may come from, in CIDR notation.
    #[serde(default)]
    allowed_networks: Option<Vec<String>>,
    #[serde(default)]
    #[schema(ignore)]
    scope_windows: Option<Value>,
    #[serde(default)]
    #[schema(ignore)]
    scope_footage: Option<Value>,
}

async fn list(State(kernel): State<Api>) -> Result<Json<Vec<User>>, ApiError> {
    let people = kernel.accounts.people().await.map_err(refused)?;
    Ok(Json(people.into_iter().map(|view| User::new(&kernel, view)).collect()))
}

async fn create(
    State(kernel): State<Api>,
    Requester { author, .. }: Requester,
    Json(body): Json<CreateUser>,
) -> Result<(StatusCode, Json<User>), ApiError> {
    refuse_later(&body.scope_windows, &body.scope_footage)?;
    let base = NewPerson::default();
    let new = NewPerson {
        username: body.username,
        password: Secret::new(body.password),
        role: body.role.unwrap_or(base.role),
        display_name: body.display_name,
        active: body.active.unwrap_or(base.active),
        must_change_password: body.must_change_password.unwrap_or(base.must_change_password),
        scope: ScopeChanges {
            kind: body.scope_kind,
            cameras: body.scope_cameras,
            sites: body.scope_sites,
            networks: body.allowed_networks,
        },
    };
    let view = kernel.accounts.create_person(author, new).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(User::new(&kernel, view))))
}

async fn one(State(kernel): State<Api>, Path(id): Path<String>) -> Result<Json<User>, ApiError> {
    let view = kernel.accounts.view(&id).await.map_err(refused)?;
    Ok(Json(User::new(&kernel, view)))
}

async fn change(
    State(kernel): State<Api>,
    Path(id): Path<String>,
    Requester { author, .. }: Requester,
    Json(body): Json<PatchUser>,
) -> Result<Json<User>, ApiError> {
    refuse_later(&body.scope_windows, &body.scope_footage)?;
    let changes = PersonChanges {
        password: body.password.map(Secret::new),
        role: body.role,
        display_name: body.display_name,
        active: body.active,
        must_change_password: body.must_change_password,
        scope: ScopeChanges {
            kind: body.scope_kind,
            cameras: body.scope_cameras,
            sites: body.scope_sites,
            networks: body.allowed_networks,
        },
    };
    let view = kernel.accounts.change_person(author, id, changes).await.map_err(refused)?;
    Ok(Json(User::new(&kernel, view)))
}

async fn delete(
    State(kernel): State<Api>,
    Path(id): Path<String>,
    Requester { author, .. }: Requester,
) -> Result<StatusCode, ApiError> {
    kernel.accounts.delete_person(author, id).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn unlock(
    State(kernel): State<Api>,
    Path(id): Path<String>,
    Requester { author, .. }: Requester,
) -> Result<Json<User>, ApiError> {
    let view = kernel.accounts.unlock_person(author, id).await.map_err(refused)?;
    Ok(Json(User::new(&kernel, view)))
}

async fn sessions(
    State(kernel): State<Api>,
    Path(id): Path<String>,
    Requester { caller, .. }: Requester,
) -> Result<Json<Vec<Session>>, ApiError> {
    kernel.accounts.view(&id).await.map_err(refused)?;
    let current = caller.principal().credential.id();
    let list = kernel.accounts.sessions_of(&id);
    Ok(Json(list.into_iter().map(|session| Session::new(session, current)).collect()))
}

async fn end_all(
    State(kernel): State<Api>,
    Path(id): Path<String>,
    Requester { author, .. }: Requester,
) -> Result<StatusCode, ApiError> {
    kernel.accounts.end_sessions(author, id, None).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn end_one(
    State(kernel): State<Api>,
    Path((id, session)): Path<(String, String)>,
    Requester { author, .. }: Requester,
) -> Result<StatusCode, ApiError> {
    kernel.accounts.end_session(author, id, session).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A refusal as an answer.
pub(super) fn refused(error: AccountError) -> ApiError {
    let text = error.to_string();
    match error {
        AccountError::Field(field) => {
            let code = match field.fault {
                FieldFault::Value => Code::Validation,
                FieldFault::Target => Code::TargetNotAllowed,
            };
            ApiError::new(code, field.text).with_field(field.field)
        }
        AccountError::Element(field, index) => {
            ApiError::validation(field.field, field.text).with_index(index)
        }
        AccountError::Grant(GrantError::Unconfirmed(privileged)) => {
            let list: Vec<&str> = privileged.iter().map(|capability| capability.as_str()).collect();
            ApiError::new(Code::PrivilegeConfirmationRequired, text)
                .with_field("confirm_privileged")
                .with_detail("privileged", list)
        }
        AccountError::Grant(GrantError::Unknown(index)) => {
            ApiError::validation("capabilities", text).with_index(index)
        }
        AccountError::Grant(GrantError::Empty) => ApiError::validation("capabilities", text),
        AccountError::Grant(GrantError::LimitedByRole) => ApiError::validation("capabilities", text),
        AccountError::Grant(GrantError::LimitedAdmin) => ApiError::validation("scope_kind", text),
        AccountError::NotFound(what) => ApiError::not_found(what),
        AccountError::Taken => ApiError::conflict(),
        AccountError::SetUp => ApiError::new(Code::Conflict, text),
        AccountError::LastAdministrator | AccountError::OwnAccount => ApiError::new(Code::Validation, text),
        AccountError::SetUpToken => ApiError::new(Code::Unauthenticated, text),
        AccountError::SignIn | AccountError::Locked => ApiError::sign_in_failed(),
        AccountError::StoreLost => ApiError::of(Code::StoreUnavailable),
        AccountError::TooMany(spent) => ApiError::of(Code::RateLimited).with_retry_after(spent.seconds()),
        AccountError::Busy => ApiError::of(Code::Busy),
        AccountError::Changed => ApiError::new(Code::Conflict, "it was changed at the same time; try again"),
        AccountError::Store(error) => errors::store(error),
        error => ApiError::internal(error),
    }
}
