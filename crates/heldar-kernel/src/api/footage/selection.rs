//! The cameras that a query over several names.

use std::collections::BTreeSet;

use futures_util::{StreamExt as _, TryStreamExt as _};
use heldar_base::CameraId;
use heldar_http::{ApiError, Caller};
use heldar_store::{Camera, CameraQuery};

use super::errors;
use crate::api::Api;

/// Cameras that are looked at concurrently: as many as the store has readers.
pub(crate) const AT_ONCE: usize = 4;
/// Cameras read at a time.
const PAGE: u32 = 500;

/// The named cameras, or all in use within the scope; by id, each once.
///
/// # Errors
/// 403 for one outside the scope, decided before anyone looks whether any of them exists; 404 for an unknown one.
pub(crate) async fn select(
    api: &Api,
    caller: &Caller,
    named: Option<Vec<String>>,
) -> Result<Vec<Camera>, ApiError> {
    match named.filter(|list| !list.is_empty()) {
        None => all(api, caller).await,
        Some(list) => {
            let ids = authorised(caller, &list)?;
            let read = |id: CameraId| async move {
                let found = api.store.camera(caller.scope(), &id).await.map_err(errors::store)?;
                found.ok_or_else(|| ApiError::not_found("camera").with_field("cameras"))
            };
            futures_util::stream::iter(ids).map(read).buffered(AT_ONCE).try_collect().await
        }
    }
}

fn authorised(caller: &Caller, list: &[String]) -> Result<BTreeSet<CameraId>, ApiError> {
    let mut ids = BTreeSet::new();
    let mut unknown = false;
    for text in list {
        match CameraId::new(text) {
            Ok(id) => {
                caller.scope().check(&id)?;
                ids.insert(id);
            }
            // What can be no camera is an unknown one.
            Err(_) => unknown = true,
        }
    }
    if unknown { Err(caller.missing("camera").with_field("cameras")) } else { Ok(ids) }
}

async fn all(api: &Api, caller: &Caller) -> Result<Vec<Camera>, ApiError> {
    let mut cameras = Vec::new();
    let mut after = None;
    loop {
        let which = CameraQuery::default();
        let page = api.store.cameras(caller.scope(), &which, after.as_ref(), PAGE).await;
        let page = page.map_err(errors::store)?;
        cameras.extend(page.rows);
        after = page.next;
        if after.is_none() {
            return Ok(cameras);
        }
    }
}
