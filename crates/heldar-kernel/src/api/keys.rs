//! API keys, for administrators (auth-system.md 13.4).

use axum::extract::State;
use axum::http::{Method, StatusCode};
use heldar_access::Networks;
use heldar_base::{Capability, WallTime};
use heldar_http::{Access, ApiError, Code, Doc, Json, JsonOrNothing, Patch, Path, RouteTable};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::ToSchema;

use super::Api;
use super::requester::Requester;
use super::users::{refuse_later, refused};
use crate::accounts::{KeyChanges, KeyView, NewKey, ScopeChanges};

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    let admin = || Access::fleet(Capability::Admin);
    table.add(
        Method::GET,
        "/api/v1/api-keys",
        admin(),
        list,
        Doc::new("listApiKeys", "api-keys", "List keys").list::<ApiKey>(200, "The newest first."),
    );
    table.add(
        Method::POST,
        "/api/v1/api-keys",
        admin(),
        create,
        Doc::new("createApiKey", "api-keys", "Make a key")
            .body::<CreateApiKey>()
            .json::<Minted>(201, "The key, with its secret, which is shown here only.")
            .fails(&[Code::PrivilegeConfirmationRequired, Code::NotSupported]),
    );
    table.add(
        Method::GET,
        "/api/v1/api-keys/{id}",
        admin(),
        one,
        Doc::new("getApiKey", "api-keys", "Show a key")
            .json::<ApiKey>(200, "The key.")
            .fails(&[Code::NotFound]),
    );
    table.add(
        Method::PATCH,
        "/api/v1/api-keys/{id}",
        admin(),
        change,
        Doc::new("changeApiKey", "api-keys", "Change a key")
            .details("If any field of the grant is present, the whole resulting grant is checked as for a new key.")
            .body::<PatchApiKey>()
            .json::<ApiKey>(200, "The key.")
            .fails(&[
                Code::NotFound,
                Code::PrivilegeConfirmationRequired,
                Code::NotSupported,
                Code::Conflict,
            ]),
    );
    table.add(
        Method::DELETE,
        "/api/v1/api-keys/{id}",
        admin(),
        delete,
        Doc::new("deleteApiKey", "api-keys", "Delete a key")
            .empty(204, "It is gone.")
            .fails(&[Code::NotFound]),
    );
    table.add(
        Method::POST,
        "/api/v1/api-keys/{id}/rotate",
        admin(),
        rotate,
        Doc::new("rotateApiKey", "api-keys", "Give a key a new secret")
            .optional_body::<Rotate>()
            .json::<Rotated>(200, "The new secret, which is shown here only.")
            .fails(&[Code::NotFound]),
    );
}

/// A key.
#[derive(Debug, Serialize, ToSchema)]
struct ApiKey {
    /// Id.
    id: String,
    /// Name.
    name: String,
    /// First characters of its secret.
    key_prefix: String,
    /// Role.
    role: String,
    /// Whether it works.
    active: bool,
    /// When it was last used.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_used_at: Option<WallTime>,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// What it may do.
    #[schema(value_type = Vec<String>)]
    capabilities: Vec<Capability>,
    /// Whether that follows from its role.
    legacy_role_expansion: bool,
    /// Slugs in its grant that this version does not know; they grant nothing.
    unknown_capabilities: Vec<String>,
    /// `all`, or `cameras` for those of the lists.
    #[schema(value_type = String)]
    scope_kind: &'static str,
    /// Camera ids.
    scope_cameras: Vec<String>,
    /// Site ids: every camera of them, now and later.
    scope_sites: Vec<String>,
    /// Ids in both lists that name nothing.
    unknown_scope_ids: Vec<String>,
    /// When it ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<WallTime>,
    /// When it was withdrawn.
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<WallTime>,
    /// What it is for.
    description: Option<String>,
    /// Networks that it may be used from; empty: any.
    allowed_networks: Vec<String>,
    /// From where it was last used.
    last_used_ip: Option<String>,
    /// Who made it.
    created_by: Option<String>,
}

impl From<KeyView> for ApiKey {
    fn from(view: KeyView) -> Self {
        let KeyView { key, capabilities, unknown_capabilities, by_role, unknown_scope_ids, last_used } = view;
        let fields = key.fields;
        let stored = &fields.grant;
        let scope = heldar_access::ScopeSpec::stored(&stored.kind, &stored.cameras, &stored.sites);
        let (last_used_at, last_used_ip) = last_used.map_or((None, None), |(at, ip)| (Some(at), ip));
        ApiKey {
            id: key.id,
            name: fields.name,
            key_prefix: fields.key_prefix,
            role: fields.role,
            active: fields.active,
            last_used_at,
            created_at: key.created_at,
            capabilities,
            legacy_role_expansion: by_role,
            unknown_capabilities,
            scope_kind: scope.kind(),
            scope_cameras: scope.cameras,
            scope_sites: scope.sites,
            unknown_scope_ids,
            expires_at: fields.expires_at,
            revoked_at: fields.revoked_at,
            description: fields.description,
            allowed_networks: Networks::stored(&stored.networks).texts(),
            last_used_ip,
            created_by: key.created_by,
        }
    }
}

/// A new key.
#[derive(Deserialize, ToSchema)]
struct CreateApiKey {
    /// Name, not blank.
    name: String,
    /// `admin`, `manager`, `guard`, `viewer` or `integration`, the default.
    #[serde(default)]
    role: Option<String>,
    /// What it may do; absent: what its role may.
    #[serde(default)]
    capabilities: Option<Vec<String>>,
    /// `all`, or `cameras` for those of the lists.
    #[serde(default)]
    scope_kind: Option<String>,
    /// Camera ids.
    #[serde(default)]
    scope_cameras: Option<Vec<String>>,
    /// Site ids.
    #[serde(default)]
    scope_sites: Option<Vec<String>>,
    /// When it ends; absent: never.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<WallTime>,
    /// Must be true when it may do `admin`, `registry:manage` or `gate:operate`.
    #[serde(default)]
    confirm_privileged: bool,
    /// What it is for.
    #[serde(default)]
    description: Option<String>,
    /// Networks that it may be used from, in CIDR notation.
    #[serde(default)]
    allowed_networks: Option<Vec<String>>,
    #[serde(default)]
    #[schema(ignore)]
    scope_windows: Option<Value>,
    #[serde(default)]
    #[schema(ignore)]
    scope_footage: Option<Value>,
}

/// A key that was just made.
#[derive(Serialize, ToSchema)]
struct Minted {
    /// Id.
    id: String,
    /// Name.
    name: String,
    /// Role.
    role: String,
    /// The secret, shown once.
    key: String,
    /// What it may do; null where that follows from its role.
    #[schema(value_type = Option<Vec<String>>)]
    capabilities: Option<Vec<Capability>>,
    /// Whether that follows from its role.
    legacy_role_expansion: bool,
    /// `all`, or `cameras` for those of the lists.
    #[schema(value_type = String)]
    scope_kind: &'static str,
    /// Camera ids.
    scope_cameras: Vec<String>,
    /// Site ids.
    scope_sites: Vec<String>,
    /// When it ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<WallTime>,
}

/// A change of a key: what is absent stays.
#[derive(Deserialize, ToSchema)]
struct PatchApiKey {
    /// Name, not blank.
    #[serde(default)]
    name: Option<String>,
    /// What it is for; null clears.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    description: Patch<String>,
    /// Whether it works.
    #[serde(default)]
    active: Option<bool>,
    /// What it may do.
    #[serde(default)]
    capabilities: Option<Vec<String>>,
    /// `all`, or `cameras` for those of the lists.
    #[serde(default)]
    scope_kind: Option<String>,
    /// Camera ids.
    #[serde(default)]
    scope_cameras: Option<Vec<String>>,
    /// Site ids.
    #[serde(default)]
    scope_sites: Option<Vec<String>>,
    /// When it ends; null keeps.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    expires_at: Option<WallTime>,
    /// Takes its end away.
    #[serde(default)]
    never_expires: Option<bool>,
    /// Withdraws it at once and for good; null keeps.
    #[serde(default)]
    #[schema(value_type = Option<String>, format = DateTime)]
    revoked_at: Option<WallTime>,
    /// Must be true when it may then do `admin`, `registry:manage` or `gate:operate`.
    #[serde(default)]
    confirm_privileged: Option<bool>,
    /// Networks that it may be used from, in CIDR notation.
    #[serde(default)]
    allowed_networks: Option<Vec<String>>,
    #[serde(default)]
    #[schema(ignore)]
    scope_windows: Option<Value>,
    #[serde(default)]
    #[schema(ignore)]
    scope_footage: Option<Value>,
}

/// How a secret is exchanged.
#[derive(Default, Deserialize, ToSchema)]
struct Rotate {
    /// Minutes for which the old one works too, moved into 0..10080.
    #[serde(default)]
    grace_minutes: i64,
}

/// A key with a new secret.
#[derive(Serialize, ToSchema)]
struct Rotated {
    /// Id.
    id: String,
    /// The secret, shown once.
    key: String,
    /// Its first characters.
    key_prefix: String,
    /// Until when the old one works too.
    #[schema(value_type = Option<String>, format = DateTime)]
    old_valid_until: Option<WallTime>,
}

async fn list(State(kernel): State<Api>) -> Result<Json<Vec<ApiKey>>, ApiError> {
    let keys = kernel.accounts.keys().await.map_err(refused)?;
    Ok(Json(keys.into_iter().map(ApiKey::from).collect()))
}

async fn create(
    State(kernel): State<Api>,
    Requester { author, .. }: Requester,
    Json(body): Json<CreateApiKey>,
) -> Result<(StatusCode, Json<Minted>), ApiError> {
    refuse_later(&body.scope_windows, &body.scope_footage)?;
    let new = NewKey {
        name: body.name,
        role: body.role,
        capabilities: body.capabilities,
        scope: ScopeChanges {
            kind: body.scope_kind,
            cameras: body.scope_cameras,
            sites: body.scope_sites,
            networks: body.allowed_networks,
        },
        expires_at: body.expires_at,
        confirm_privileged: body.confirm_privileged,
        description: body.description,
    };
    let minted = kernel.accounts.create_key(author, new).await.map_err(refused)?;
    let by_role = minted.view.by_role;
    let key = ApiKey::from(minted.view);
    let answer = Minted {
        id: key.id,
        name: key.name,
        role: key.role,
        key: minted.token.text().expose().clone(),
        capabilities: (!by_role).then_some(key.capabilities),
        legacy_role_expansion: by_role,
        scope_kind: key.scope_kind,
        scope_cameras: key.scope_cameras,
        scope_sites: key.scope_sites,
        expires_at: key.expires_at,
    };
    Ok((StatusCode::CREATED, Json(answer)))
}

async fn one(State(kernel): State<Api>, Path(id): Path<String>) -> Result<Json<ApiKey>, ApiError> {
    let view = kernel.accounts.key(&id).await.map_err(refused)?;
    Ok(Json(view.into()))
}

async fn change(
    State(kernel): State<Api>,
    Path(id): Path<String>,
    Requester { author, .. }: Requester,
    Json(body): Json<PatchApiKey>,
) -> Result<Json<ApiKey>, ApiError> {
    refuse_later(&body.scope_windows, &body.scope_footage)?;
    let changes = KeyChanges {
        name: body.name,
        description: body.description,
        active: body.active,
        capabilities: body.capabilities,
        scope: ScopeChanges {
            kind: body.scope_kind,
            cameras: body.scope_cameras,
            sites: body.scope_sites,
            networks: body.allowed_networks,
        },
        expires_at: body.expires_at,
        never_expires: body.never_expires.unwrap_or(false),
        revoked_at: body.revoked_at,
        confirm_privileged: body.confirm_privileged.unwrap_or(false),
    };
    let view = kernel.accounts.change_key(author, id, changes).await.map_err(refused)?;
    Ok(Json(view.into()))
}

async fn delete(
    State(kernel): State<Api>,
    Path(id): Path<String>,
    Requester { author, .. }: Requester,
) -> Result<StatusCode, ApiError> {
    kernel.accounts.delete_key(author, id).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

async fn rotate(
    State(kernel): State<Api>,
    Path(id): Path<String>,
    Requester { author, .. }: Requester,
    JsonOrNothing(body): JsonOrNothing<Rotate>,
) -> Result<Json<Rotated>, ApiError> {
    let rotated = kernel.accounts.rotate_key(author, id, body.grace_minutes).await.map_err(refused)?;
    Ok(Json(Rotated {
        id: rotated.id,
        key_prefix: rotated.token.prefix(),
        key: rotated.token.text().expose().clone(),
        old_valid_until: rotated.old_valid_until,
    }))
}
