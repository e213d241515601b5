//! The types of events: those of the server's own, and what else was seen (perception.md 15.5; media.md 25).

use axum::extract::State;
use axum::http::Method;
use heldar_base::Capability;
use heldar_http::{Access, ApiError, Caller, Doc, Json, RouteTable};
use serde::Serialize;
use utoipa::ToSchema;

use super::TAG;
use crate::api::{Api, errors};

/// Types beyond the server's own that are listed.
const OTHERS: usize = 500;

/// Types that the contract names, each with what it says.
const BUILT_IN: &[(&str, &str)] = &[
    ("camera_offline", "A camera stopped sending pictures"),
    ("camera_online", "A camera sends pictures again"),
    ("recorder_error", "A camera cannot be recorded, or its recording stands still"),
    ("recording_gap", "Recording was missing for some time"),
    ("sampler_offline", "Pictures for analysis could not be made"),
    ("sampler_recovered", "Pictures for analysis are made again"),
    ("retention_delete", "Footage past its age was deleted"),
    ("disk_pressure", "Space for footage runs short"),
    ("disk_pressure_cleared", "There is space for footage again"),
    ("disk_smart_warning", "A disk reports that it may fail"),
    ("raid_degraded", "A disk array has lost a member"),
    ("record_triggered", "Recording by events began"),
    ("snapshot_failed", "A scheduled snapshot could not be taken"),
    ("recording_orphans", "Files without an entry, or entries without a file, were put right at the start"),
    ("footage_mismatch", "A file differs from what is known of it"),
    ("event_spool_overflow", "Events were lost while the database was away"),
    ("open_access", "The server runs open to its network without sign-in"),
    ("login_attack", "Many sign-ins fail from many places"),
    ("certificate_expiring", "The server's certificate ends soon"),
    ("tls_reload_failed", "A new certificate could not be read; the old one stays in use"),
    ("zone_enter", "Something entered a zone"),
    ("zone_exit", "Something left a zone"),
    ("zone_dwell", "Something stayed in a zone for its dwell time"),
    ("zone_cross_ab", "Something crossed a line from A to B"),
    ("zone_cross_ba", "Something crossed a line from B to A"),
    ("zone_static_suppressed", "Something that does not move is not told of any more"),
    ("zone_loiter", "Something loiters in a zone"),
    ("zone_speed", "Something is too fast in a zone"),
    ("zone_sequence", "Zones were passed in a sequence"),
    ("zone_occupied", "A zone is not empty any more"),
    ("zone_vacant", "A zone is empty"),
    ("zone_occupancy_max", "There are too many in a zone"),
    ("zone_occupancy_min", "There are too few in a zone"),
    ("zone_occupancy_ok", "The number in a zone is within its bounds again"),
    ("entry_matched", "A vehicle with a valid entry was recognised"),
    ("entry_exception", "A vehicle needs a decision"),
    ("entry_unmatched", "A vehicle without an entry was recognised"),
    ("entry_blocked", "A vehicle that is blocked was recognised"),
    ("gate_opened", "A gate was opened"),
    ("gate_open_failed", "A gate could not be opened"),
    ("gate_review_not_actuated", "A reviewed entry did not open its gate"),
    ("ingest_unleased", "A worker sends results without frame tickets"),
    ("webhook_signing_secret_unusable", "The secret of a webhook cannot be opened"),
    ("webhook_disabled", "A webhook failed for too long and was switched off"),
    ("consumer_parked", "A consumer could not take a batch"),
    ("wasm_plugin_disabled", "A plugin failed too often and was switched off"),
    ("registry_rollback", "A catalog was older than the one before it"),
];

/// What a type of the server's own says.
pub(crate) fn description(event_type: &str) -> Option<&'static str> {
    BUILT_IN.iter().find(|(name, _)| *name == event_type).map(|(_, description)| *description)
}

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/events/types",
        Access::filter(Capability::EventsRead),
        list,
        Doc::new("listEventTypes", TAG, "Types of events")
            .details(
                "The server's own, then up to 500 others of which there are events that the caller may see.",
            )
            .list::<EventType>(200, "The types."),
    );
}

/// A type of events.
#[derive(Debug, Serialize, ToSchema)]
struct EventType {
    /// Its name.
    event_type: String,
    /// What it says.
    description: &'static str,
}

async fn list(State(kernel): State<Api>, caller: Caller) -> Result<Json<Vec<EventType>>, ApiError> {
    let limit = u32::try_from(BUILT_IN.len() + OTHERS).unwrap_or(u32::MAX);
    let seen = kernel.store.event_types(caller.scope(), limit).await.map_err(errors::store)?;
    let own = BUILT_IN.iter().map(|(name, description)| ((*name).to_owned(), *description));
    let others = seen.into_iter().filter(|seen| !BUILT_IN.iter().any(|(name, _)| name == seen));
    let others = others.take(OTHERS).map(|name| (name, "Raised by a worker or an app"));
    let types = own.chain(others).map(|(event_type, description)| EventType { event_type, description });
    Ok(Json(types.collect()))
}
