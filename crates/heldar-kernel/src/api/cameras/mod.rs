//! Cameras, their health, the test of their streams.

mod body;
mod health;
mod probe;
mod view;

use axum::extract::State;
use axum::http::{Method, StatusCode};
use heldar_base::{CameraId, Capability, Scope, SiteId};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Json, List, Page, Query, RouteTable};
use heldar_store::{Camera, CameraQuery};
use serde::Deserialize;
use utoipa::IntoParams;

pub use body::{CreateCamera, PatchCamera};
pub use view::CameraView;

use super::paging::Paging;
use super::requester::Requester;
use super::{Api, errors};
use crate::kernel::Kernel;
use crate::registry::{self, FieldFault, Footage, RegistryError};
use view::SeenStreams;

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    let (read, manage) = (Capability::CameraRead, Capability::RegistryManage);
    table.add(
        Method::GET,
        "/api/v1/cameras",
        Access::filter(read),
        list,
        Doc::new("listCameras", "cameras", "List cameras")
            .query::<Filter>()
            .query::<Paging>()
            .page::<CameraView>("By id.")
            .fails(&[Code::BadCursor]),
    );
    table.add(
        Method::POST,
        "/api/v1/cameras",
        Access::body(manage),
        create,
        Doc::new("createCamera", "cameras", "Add a camera and start it")
            .details("The id of a camera that was removed with its footage kept takes that footage up again.")
            .body::<CreateCamera>()
            .json::<CameraView>(201, "The camera.")
            .fails(&[Code::TargetNotAllowed, Code::Conflict]),
    );
    table.add(
        Method::GET,
        "/api/v1/cameras/{id}",
        Access::cam(read),
        one,
        Doc::new("getCamera", "cameras", "Show a camera").json::<CameraView>(200, "The camera."),
    );
    table.add(
        Method::PATCH,
        "/api/v1/cameras/{id}",
        Access::cam(manage),
        change,
        Doc::new("changeCamera", "cameras", "Change a camera")
            .details("What says nothing new writes nothing and interrupts nothing.")
            .body::<PatchCamera>()
            .json::<CameraView>(200, "The camera.")
            .fails(&[Code::TargetNotAllowed, Code::Conflict]),
    );
    table.add(
        Method::DELETE,
        "/api/v1/cameras/{id}",
        Access::cam(Capability::Admin),
        delete,
        Doc::new("deleteCamera", "cameras", "Delete a camera, with or without its footage")
            .query::<Deletion>()
            .empty(204, "It is gone."),
    );
    health::routes(table);
    probe::routes(table);
}

/// Which cameras.
#[derive(Debug, Deserialize, IntoParams)]
struct Filter {
    /// Of this site.
    site_id: Option<String>,
    /// Switched on, or off.
    enabled: Option<bool>,
    /// Those too that were removed with their footage kept.
    #[serde(default)]
    include_removed: bool,
}

async fn list(
    State(kernel): State<Api>,
    caller: Caller,
    Query(filter): Query<Filter>,
    Query(paging): Query<Paging>,
    list: List,
) -> Result<Page<CameraView>, ApiError> {
    let mut after: Option<CameraId> = list.position()?;
    let site = match filter.site_id.as_deref().map(SiteId::new) {
        // What can be no site has no cameras.
        Some(Err(_)) => return Ok(list.page(Vec::new(), None::<CameraId>)),
        Some(Ok(site)) => Some(site),
        None => None,
    };
    let which = CameraQuery { site, enabled: filter.enabled, include_removed: filter.include_removed };
    let streams = kernel.store.streams(caller.scope()).await.map_err(errors::store)?;
    let seen = SeenStreams::new(&kernel, streams);
    let mut views = Vec::new();
    loop {
        let page = kernel.store.cameras(caller.scope(), &which, after.as_ref(), paging.rows()).await;
        let page = page.map_err(errors::store)?;
        views.extend(page.rows.into_iter().map(|camera| CameraView::new(&kernel, camera, &seen)));
        after = page.next;
        if after.is_none() || paging.is_page() {
            return Ok(list.page(views, after));
        }
    }
}

async fn create(
    State(kernel): State<Api>,
    caller: Caller,
    Requester { author, .. }: Requester,
    Json(body): Json<CreateCamera>,
) -> Result<(StatusCode, Json<CameraView>), ApiError> {
    let scope = caller.scope().clone();
    let id = body.id.clone();
    let camera = registry::create_camera(&kernel, author, scope, id, body.into()).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(show(&kernel, camera).await)))
}

async fn one(
    State(kernel): State<Api>,
    caller: Caller,
    heldar_http::Camera(id): heldar_http::Camera,
) -> Result<Json<CameraView>, ApiError> {
    let camera = find(&kernel, &caller, &id).await?;
    Ok(Json(show(&kernel, camera).await))
}

async fn change(
    State(kernel): State<Api>,
    caller: Caller,
    heldar_http::Camera(id): heldar_http::Camera,
    Requester { author, .. }: Requester,
    Json(body): Json<PatchCamera>,
) -> Result<Json<CameraView>, ApiError> {
    let scope = caller.scope().clone();
    let camera = registry::change_camera(&kernel, author, scope, id, body.into()).await.map_err(refused)?;
    Ok(Json(show(&kernel, camera).await))
}

/// What becomes of the footage.
#[derive(Debug, Deserialize, IntoParams)]
struct Deletion {
    /// Keep the footage readable.
    #[serde(default)]
    keep_recordings: bool,
}

async fn delete(
    State(kernel): State<Api>,
    caller: Caller,
    heldar_http::Camera(id): heldar_http::Camera,
    Requester { author, .. }: Requester,
    Query(deletion): Query<Deletion>,
) -> Result<StatusCode, ApiError> {
    let footage = if deletion.keep_recordings { Footage::Keep } else { Footage::Delete };
    let scope = caller.scope().clone();
    registry::delete_camera(&kernel, author, scope, id, footage).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

/// A camera in use or removed with its footage kept.
async fn find(kernel: &Kernel, caller: &Caller, id: &CameraId) -> Result<Camera, ApiError> {
    let camera = kernel.store.camera(caller.scope(), id).await.map_err(errors::store)?;
    camera.ok_or_else(|| ApiError::not_found("camera"))
}

/// The view of one camera. What earlier processes saw of its streams is left out when the store does not say, so that a
/// change that was committed is answered as one.
async fn show(kernel: &Kernel, camera: Camera) -> CameraView {
    let only = Scope::Cameras([camera.id.clone()].into());
    let streams = kernel.store.streams(&only).await.unwrap_or_else(|error| {
        tracing::debug!(camera = %camera.id, %error, "its streams cannot be read");
        Vec::new()
    });
    CameraView::new(kernel, camera, &SeenStreams::new(kernel, streams))
}

fn removed() -> ApiError {
    ApiError::new(Code::Conflict, "the camera was removed; create it again to use it")
}

/// The answer for a change that was refused.
pub(super) fn refused(error: RegistryError) -> ApiError {
    match error {
        RegistryError::Field(error) => {
            let code = match error.fault {
                FieldFault::Value => Code::Validation,
                FieldFault::Target => Code::TargetNotAllowed,
            };
            ApiError::new(code, error.text).with_field(error.field)
        }
        RegistryError::NotFound(what) => ApiError::not_found(what),
        RegistryError::Taken => ApiError::conflict().with_field("id"),
        RegistryError::OutOfScope => ApiError::out_of_scope(),
        RegistryError::FleetOnly => ApiError::fleet_only(),
        RegistryError::Removed => removed(),
        RegistryError::InUse => ApiError::new(
            Code::InUse,
            "cameras belong to this site; move them, or detach them with ?detach=true",
        ),
        RegistryError::Changed => {
            ApiError::new(Code::Conflict, "it was changed by someone else at the same time; try again")
        }
        RegistryError::Secret(error) => ApiError::internal(error),
        RegistryError::Store(error) => errors::store(error),
        RegistryError::Broken => ApiError::internal(error),
    }
}
