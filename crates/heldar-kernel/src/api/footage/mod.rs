//! Segments, timeline, gaps and coverage of one camera, and coverage of many (media.md 8.1 to 8.4).

mod coverage;
mod gaps;
mod rows;
mod segments;
mod selection;

use heldar_base::{CameraId, WallTime};
use heldar_http::{ApiError, Caller, Code, List, RouteTable};
use heldar_store::{Camera, TimeRange};
use serde::Serialize;
use utoipa::ToSchema;

use super::{Api, errors};

pub(super) use selection::{AT_ONCE, select};

/// Group of these operations in the description.
pub(super) const TAG: &str = "footage";

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    segments::routes(table);
    gaps::routes(table);
    rows::routes(table);
    coverage::routes(table);
}

/// The camera of the path, in use or removed with its footage kept.
async fn camera(api: &Api, caller: &Caller, id: &CameraId) -> Result<Camera, ApiError> {
    let found = api.store.camera(caller.scope(), id).await.map_err(errors::store)?;
    found.ok_or_else(|| ApiError::not_found("camera"))
}

/// Bounds that a query gave.
fn bounds(from: Option<WallTime>, to: Option<WallTime>) -> Result<TimeRange, ApiError> {
    if from.zip(to).is_some_and(|(from, to)| from > to) {
        return Err(reversed());
    }
    Ok(TimeRange { from, to })
}

fn reversed() -> ApiError {
    ApiError::validation("from", "`from` must not lie after `to`")
}

/// 400 for a parameter whose text means nothing.
pub(super) fn bad_parameter(name: &'static str, text: &'static str) -> ApiError {
    ApiError::new(Code::BadQuery, text).with_field(name)
}

/// An object that holds one page of a list, with the headers that announce the next page.
fn page_in_object<B: Serialize, P: Serialize>(
    list: &List,
    body: B,
    next: Option<P>,
) -> axum::response::Response {
    use axum::response::IntoResponse as _;
    let mut response = heldar_http::Json(body).into_response();
    let announced = list.page(Vec::<()>::new(), next).into_response();
    for (name, value) in announced.headers() {
        if !response.headers().contains_key(name) {
            response.headers_mut().append(name, value.clone());
        }
    }
    response
}

/// A stretch of time and why it is missing.
#[derive(Serialize, ToSchema)]
pub(super) struct CausedInterval {
    /// First instant inside.
    #[schema(value_type = String, format = DateTime)]
    pub(super) start: WallTime,
    /// First instant after.
    #[schema(value_type = String, format = DateTime)]
    pub(super) end: WallTime,
    /// Why.
    pub(super) cause: &'static str,
}
