//! Zones of cameras, what happened in them, how many are inside (perception.md 12).

mod counts;
mod edit;
mod events;
mod evidence;
mod replay;

use heldar_base::{PublicId, WallTime};
use heldar_http::{ApiError, Caller, RouteTable};

use super::{Api, errors};

/// Group of these operations in the description.
const TAG: &str = "zones";

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    edit::routes(table);
    events::routes(table);
    counts::routes(table);
    evidence::routes(table);
    replay::routes(table);
}

/// The zone of a path, within the caller's scope. What is foreign and what is missing are one to callers that are limited.
pub(super) async fn of_path(kernel: &Api, caller: &Caller, id: &str) -> Result<heldar_store::Zone, ApiError> {
    let missing = || caller.missing("zone");
    let id = PublicId::parse(heldar_store::Zone::PREFIX, id).map_err(|_| missing())?;
    let zone = kernel.store.zone(caller.scope(), id).await.map_err(errors::store)?;
    zone.ok_or_else(missing)
}

/// A time with `+00:00`.
fn offset(at: WallTime) -> String {
    at.to_string().replace('Z', "+00:00")
}
