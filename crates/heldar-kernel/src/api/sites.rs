//! Sites and vendors.

use axum::extract::State;
use axum::http::{Method, StatusCode};
use heldar_base::{Capability, SiteId, WallTime};
use heldar_http::{Access, ApiError, Caller, Code, Doc, Json, List, Page, Patch, Path, Query, RouteTable};
use heldar_store::SiteView;
use heldar_store::op::OnCameras;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::cameras::refused;
use super::paging::Paging;
use super::requester::Requester;
use super::{Api, errors};
use crate::address::{TemplateSource, VendorTemplate};
use crate::registry::{self, SiteChanges};

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    let (read, manage) = (Capability::CameraRead, Capability::RegistryManage);
    table.add(
        Method::GET,
        "/api/v1/sites",
        Access::filter(read),
        list,
        Doc::new("listSites", "sites", "List sites")
            .query::<Paging>()
            .page::<Site>("By id.")
            .fails(&[Code::BadCursor]),
    );
    table.add(
        Method::POST,
        "/api/v1/sites",
        Access::fleet(manage),
        create,
        Doc::new("createSite", "sites", "Add a site")
            .body::<CreateSite>()
            .json::<Site>(201, "The site.")
            .fails(&[Code::Conflict]),
    );
    table.add(
        Method::GET,
        "/api/v1/sites/{id}",
        Access::filter(read),
        one,
        Doc::new("getOneSite", "sites", "Show a site").json::<Site>(200, "The site."),
    );
    table.add(
        Method::PATCH,
        "/api/v1/sites/{id}",
        Access::fleet(manage),
        change,
        Doc::new("changeSite", "sites", "Change a site").body::<PatchSite>().json::<Site>(200, "The site."),
    );
    table.add(
        Method::DELETE,
        "/api/v1/sites/{id}",
        Access::fleet(manage),
        delete,
        Doc::new("deleteSite", "sites", "Delete a site")
            .query::<Deletion>()
            .empty(204, "It is gone.")
            .fails(&[Code::InUse]),
    );
    table.add(
        Method::GET,
        "/api/v1/vendors",
        Access::unscoped(read),
        vendors,
        Doc::new("listVendors", "cameras", "List the templates of stream addresses")
            .query::<Paging>()
            .page::<Vendor>("By vendor.")
            .fails(&[Code::BadCursor]),
    );
}

/// A place with a time zone.
#[derive(Debug, Serialize, ToSchema)]
struct Site {
    /// Id.
    #[schema(value_type = String)]
    id: SiteId,
    /// Name.
    name: String,
    /// IANA name of its time zone; null is the server's.
    timezone: Option<String>,
    /// Its cameras that the caller may see.
    camera_count: i64,
    /// When it was made.
    #[schema(value_type = String, format = DateTime)]
    created_at: WallTime,
    /// When it was last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: WallTime,
}

impl From<SiteView> for Site {
    fn from(view: SiteView) -> Self {
        let SiteView { site, camera_count } = view;
        Site {
            id: site.id,
            name: site.fields.name,
            timezone: site.fields.timezone,
            camera_count,
            created_at: site.created_at,
            updated_at: site.updated_at,
        }
    }
}

/// A new site.
#[derive(Debug, Deserialize, ToSchema)]
struct CreateSite {
    /// Id; the name as a slug by default.
    #[serde(default)]
    id: Option<String>,
    /// Name, not blank.
    name: String,
    /// IANA name of its time zone.
    #[serde(default)]
    timezone: Option<String>,
}

/// A change of a site: what is absent stays.
#[derive(Debug, Deserialize, ToSchema)]
struct PatchSite {
    /// Name, not blank.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    name: Patch<String>,
    /// IANA name of its time zone; null is the server's.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    timezone: Patch<String>,
}

async fn list(
    State(kernel): State<Api>,
    caller: Caller,
    Query(paging): Query<Paging>,
    list: List,
) -> Result<Page<Site>, ApiError> {
    let mut after: Option<SiteId> = list.position()?;
    let mut sites = Vec::new();
    loop {
        let page =
            kernel.store.sites(caller.scope(), after.as_ref(), paging.rows()).await.map_err(errors::store)?;
        sites.extend(page.rows.into_iter().map(Site::from));
        after = page.next;
        if after.is_none() || paging.is_page() {
            return Ok(list.page(sites, after));
        }
    }
}

async fn create(
    State(kernel): State<Api>,
    Requester { author, .. }: Requester,
    Json(body): Json<CreateSite>,
) -> Result<(StatusCode, Json<Site>), ApiError> {
    let timezone = body.timezone.map_or(Patch::Absent, Patch::Value);
    let change = SiteChanges { name: Patch::Value(body.name), timezone };
    let site = registry::create_site(&kernel, author, body.id, change).await.map_err(refused)?;
    Ok((StatusCode::CREATED, Json(site.into())))
}

async fn one(
    State(kernel): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Site>, ApiError> {
    let id = site_id(&id)?;
    let site = kernel.store.site(caller.scope(), &id).await.map_err(errors::store)?;
    site.map(|site| Json(site.into())).ok_or_else(missing)
}

async fn change(
    State(kernel): State<Api>,
    Path(id): Path<String>,
    Requester { author, .. }: Requester,
    Json(body): Json<PatchSite>,
) -> Result<Json<Site>, ApiError> {
    let change = SiteChanges { name: body.name, timezone: body.timezone };
    let site = registry::change_site(&kernel, author, site_id(&id)?, change).await.map_err(refused)?;
    Ok(Json(site.into()))
}

/// What becomes of its cameras.
#[derive(Debug, Deserialize, IntoParams)]
struct Deletion {
    /// Let its cameras belong to no site.
    #[serde(default)]
    detach: bool,
}

async fn delete(
    State(kernel): State<Api>,
    Path(id): Path<String>,
    Requester { author, .. }: Requester,
    Query(deletion): Query<Deletion>,
) -> Result<StatusCode, ApiError> {
    let on_cameras = if deletion.detach { OnCameras::Detach } else { OnCameras::Refuse };
    registry::delete_site(&kernel, author, site_id(&id)?, on_cameras).await.map_err(refused)?;
    Ok(StatusCode::NO_CONTENT)
}

fn missing() -> ApiError {
    ApiError::not_found("site")
}

/// What can be no id names no site.
fn site_id(text: &str) -> Result<SiteId, ApiError> {
    SiteId::new(text).map_err(|_| missing())
}

/// Templates of a vendor's stream addresses. `{n}` is the channel, `{nn}` the same in two digits, `{n-1}` the channel less
/// one; what stands between `[` and `]` is used for channels above 1.
#[derive(Debug, Serialize, ToSchema)]
struct Vendor {
    /// Name that cameras give as `vendor`.
    vendor: String,
    /// Path of the main stream.
    main: String,
    /// Path of the sub stream.
    sub: Option<String>,
    /// Path of recorded footage on the device.
    replay: Option<String>,
    /// Highest channel.
    channels: u16,
    /// `builtin`, or `file` for one of the operator's.
    #[schema(value_type = String)]
    source: TemplateSource,
}

async fn vendors(
    State(kernel): State<Api>,
    Query(paging): Query<Paging>,
    list: List,
) -> Result<Page<Vendor>, ApiError> {
    let after: Option<String> = list.position()?;
    let behind = |vendor: &str| after.as_deref().is_none_or(|after| vendor > after);
    let entries = kernel.templates.entries().iter().filter(|entry| behind(&entry.vendor));
    let mut found: Vec<&VendorTemplate> = entries.collect();
    found.sort_by_key(|entry| &entry.vendor);
    let rows = usize::try_from(paging.rows()).unwrap_or(usize::MAX);
    let next = if paging.is_page() && found.len() > rows {
        found.truncate(rows);
        found.last().map(|entry| entry.vendor.clone())
    } else {
        None
    };
    Ok(list.page(found.into_iter().map(Vendor::from).collect(), next))
}

impl From<&VendorTemplate> for Vendor {
    fn from(entry: &VendorTemplate) -> Self {
        Vendor {
            vendor: entry.vendor.clone(),
            main: entry.main.clone(),
            sub: entry.sub.clone(),
            replay: entry.replay.clone(),
            channels: entry.channels,
            source: entry.source,
        }
    }
}
