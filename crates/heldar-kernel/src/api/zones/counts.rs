//! How much happened in zones, and how many are inside (perception.md 12.5, 12.6).

use axum::extract::State;
use axum::http::Method;
use heldar_base::{Capability, Clock as _, Interval, Micros, PublicId, WallTime};
use heldar_http::{Access, ApiError, Caller, Camera, Code, Doc, Json, Path, Query, RouteTable};
use heldar_store::ZoneBucketFilter;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use super::{TAG, of_path, offset};
use crate::api::requester::Requester;
use crate::api::{Api, errors};
use crate::registry::Target;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    let counters = "/api/v1/zones/{zone_id}/counters";
    table
        .add(
            Method::GET,
            "/api/v1/cameras/{id}/zone-events/aggregates",
            Access::cam(Capability::EventsRead),
            aggregates,
            Doc::new(
                "countZoneEvents",
                TAG,
                "How often something happened in the zones of a camera, by time",
            )
            .query::<Window>()
            .json::<Aggregates>(200, "Buckets in which something happened, by time.")
            .fails(&[Code::NotFound, Code::Validation]),
        )
        .add(
            Method::GET,
            "/api/v1/cameras/{id}/zones/occupancy",
            Access::cam(Capability::EventsRead),
            occupancy,
            Doc::new("getZoneOccupancy", TAG, "How many are in each zone of a camera now")
                .json::<Occupancies>(200, "Enabled zones that somebody was ever in.")
                .fails(&[Code::NotFound]),
        )
        .add(
            Method::GET,
            counters,
            Access::res(Capability::EventsRead),
            read_counters,
            Doc::new("getZoneCounters", TAG, "Crossings of a line")
                .json::<Counters>(200, "The counters.")
                .fails(&[Code::NotFound]),
        )
        .add(
            Method::POST,
            "/api/v1/zones/{zone_id}/counters/reset",
            Access::res(Capability::RegistryManage),
            reset,
            Doc::new("resetZoneCounters", TAG, "Let the counters of a line start anew")
                .json::<Counters>(200, "The counters, zero.")
                .fails(&[Code::NotFound]),
        );
}

/// What is counted.
#[derive(Deserialize, IntoParams)]
struct Window {
    /// From this time on; a day before `to` by default.
    #[param(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// Up to this time; now by default.
    #[param(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// Length of a bucket, 1 to 1440; 60 by default.
    #[param(minimum = 1, maximum = 1440)]
    bucket_minutes: Option<i64>,
    /// In this zone.
    zone_id: Option<String>,
    /// Of exactly this label.
    label: Option<String>,
}

/// How often something happened.
#[derive(Serialize, ToSchema)]
struct Aggregates {
    /// What is counted begins here.
    from: String,
    /// And ends here.
    to: String,
    /// Length of a bucket.
    bucket_minutes: i64,
    /// By time, zone and type.
    buckets: Vec<Bucket>,
}

/// Events of a type in a zone within a bucket.
#[derive(Serialize, ToSchema)]
struct Bucket {
    /// Where.
    #[schema(value_type = String)]
    zone_id: PublicId,
    /// How it is called.
    zone_name: String,
    /// What.
    event_type: String,
    /// Where the bucket begins.
    bucket_start: String,
    /// How often.
    count: i64,
    /// How many different tracks.
    unique_tracks: i64,
    /// Of exits: how long visits took on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    avg_dwell_seconds: Option<f64>,
    /// Of exits: the longest visit.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_dwell_seconds: Option<f64>,
}

async fn aggregates(
    State(kernel): State<Api>,
    caller: Caller,
    Camera(id): Camera,
    Query(query): Query<Window>,
) -> Result<Json<Aggregates>, ApiError> {
    let camera = kernel.store.camera(caller.scope(), &id).await.map_err(errors::store)?;
    camera.ok_or_else(|| ApiError::not_found("camera"))?;
    let to = query.to.unwrap_or_else(|| kernel.clock.wall());
    let from = query.from.unwrap_or(to - Micros::from_hours(24));
    if to < from {
        return Err(ApiError::validation("from", "`from` lies after `to`"));
    }
    let bucket_minutes = query.bucket_minutes.unwrap_or(60).clamp(1, 1440);
    let zone = match query.zone_id.as_deref().map(|text| PublicId::parse(heldar_store::Zone::PREFIX, text)) {
        Some(Ok(zone)) => Some(zone),
        // No zone has such an id.
        Some(Err(_)) => {
            let (from, to) = (offset(from), offset(to));
            return Ok(Json(Aggregates { from, to, bucket_minutes, buckets: Vec::new() }));
        }
        None => None,
    };
    let which = ZoneBucketFilter {
        camera: id,
        window: Interval::new(from, to + Micros(1)),
        bucket: Micros::from_secs(bucket_minutes * 60),
        zone,
        label: query.label,
    };
    let counted = kernel.store.zone_buckets(caller.scope(), &which).await.map_err(errors::store)?;
    let bucket = |of: heldar_store::ZoneBucket| Bucket {
        zone_id: of.zone,
        zone_name: of.zone_name,
        event_type: of.event_type,
        bucket_start: offset(of.start),
        count: of.count,
        unique_tracks: of.unique_tracks,
        avg_dwell_seconds: of.average_dwell.map(Micros::as_secs_f64),
        max_dwell_seconds: of.longest_dwell.map(Micros::as_secs_f64),
    };
    Ok(Json(Aggregates {
        // More than can be counted at a time leaves out the oldest.
        from: offset(counted.from.max(from)),
        to: offset(to),
        bucket_minutes,
        buckets: counted.buckets.into_iter().map(bucket).collect(),
    }))
}

/// How many are in the zones of a camera.
#[derive(Serialize, ToSchema)]
struct Occupancies {
    /// Enabled zones; one that nobody was ever in is left out.
    zones: Vec<Occupancy>,
}

/// How many are in a zone.
#[derive(Serialize, ToSchema)]
struct Occupancy {
    /// Which.
    #[schema(value_type = String)]
    zone_id: PublicId,
    /// All of them.
    count: u32,
    /// When something of it last changed.
    updated_at: String,
    /// How many of each label.
    #[schema(value_type = Object)]
    labels: Value,
    /// How the count stands to the limits of the zone: `ok`, `min` or `max`.
    state: String,
}

async fn occupancy(
    State(kernel): State<Api>,
    caller: Caller,
    Camera(id): Camera,
) -> Result<Json<Occupancies>, ApiError> {
    let camera = kernel.store.camera(caller.scope(), &id).await.map_err(errors::store)?;
    camera.ok_or_else(|| ApiError::not_found("camera"))?;
    let rows = kernel.store.zone_occupancy(caller.scope(), &id).await.map_err(errors::store)?;
    let zones = rows.into_iter().map(|row| Occupancy {
        zone_id: row.zone,
        count: row.count,
        updated_at: offset(row.updated_at),
        labels: serde_json::from_str(&row.labels).unwrap_or_default(),
        state: row.state,
    });
    Ok(Json(Occupancies { zones: zones.collect() }))
}

/// Crossings of a line since its counters last started anew.
#[derive(Serialize, ToSchema)]
struct Counters {
    /// Which line.
    #[schema(value_type = String)]
    zone_id: PublicId,
    /// Inwards.
    #[serde(rename = "in")]
    inwards: i64,
    /// Outwards.
    out: i64,
    /// In less out.
    net: i64,
    /// When they started.
    #[schema(value_type = String, format = DateTime)]
    since: WallTime,
    /// When something of it last changed.
    #[schema(value_type = String, format = DateTime)]
    updated_at: WallTime,
    /// Both for each label.
    #[schema(value_type = Object)]
    by_label: Value,
}

async fn counters_of(
    kernel: &Api,
    caller: &heldar_http::Caller,
    zone: &heldar_store::Zone,
) -> Result<Counters, ApiError> {
    let row = kernel.store.zone_counters(caller.scope(), zone.id).await.map_err(errors::store)?;
    Ok(match row {
        Some(row) => Counters {
            zone_id: row.zone,
            inwards: row.inwards,
            out: row.outwards,
            net: row.inwards - row.outwards,
            since: row.since,
            updated_at: row.updated_at,
            by_label: serde_json::from_str(&row.by_label).unwrap_or_default(),
        },
        None => Counters {
            zone_id: zone.id,
            inwards: 0,
            out: 0,
            net: 0,
            since: zone.created_at,
            updated_at: zone.created_at,
            by_label: json!({}),
        },
    })
}

/// A line; other zones have no counters.
async fn line(kernel: &Api, caller: &Caller, id: &str) -> Result<heldar_store::Zone, ApiError> {
    let zone = of_path(kernel, caller, id).await?;
    match zone.fields.kind == heldar_zones::Kind::Line.as_str() {
        true => Ok(zone),
        false => Err(ApiError::new(Code::NotFound, "only a line has counters")),
    }
}

async fn read_counters(
    State(kernel): State<Api>,
    caller: Caller,
    Path(id): Path<String>,
) -> Result<Json<Counters>, ApiError> {
    let zone = line(&kernel, &caller, &id).await?;
    Ok(Json(counters_of(&kernel, &caller, &zone).await?))
}

async fn reset(
    State(kernel): State<Api>,
    who: Requester,
    Path(id): Path<String>,
) -> Result<Json<Counters>, ApiError> {
    let zone = line(&kernel, &who.caller, &id).await?;
    let target = Target { kind: "zone", id: &zone.id.to_string() };
    let detail = json!({ "camera_id": zone.camera, "name": zone.fields.name, "kind": zone.fields.kind });
    let entry = who.author.did(kernel.clock.wall(), "reset_zone_counters", target, detail);
    kernel.reset_zone(zone.camera.clone(), zone.id, entry).await;
    Ok(Json(counters_of(&kernel, &who.caller, &zone).await?))
}
