//! What a sweep with other settings would remove.

use std::collections::BTreeMap;

use axum::body::HttpBody as _;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::Method;
use heldar_base::{CameraId, Capability, Micros, Scope, WallTime};
use heldar_http::{Access, ApiError, Doc, Json, Patch, RouteTable};
use heldar_store::CameraQuery;
use heldar_timeline::retention::{ByReason, CameraPlan, Condition, Policy, Reason, Tally, Warning};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::TAG;
use super::parts::{Least, WarningView, bytes_of};
use crate::api::{Api, errors};
use crate::retention::{Asked, Dry, Keep};

/// Longest look ahead in hours.
const MAX_HORIZON: i64 = 8760;
/// Longest retention in hours, as in a PATCH of a camera.
const MAX_HOURS: i64 = 43_800;

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::POST,
        "/api/v1/system/retention/preview",
        Access::fleet(Capability::SystemRead),
        preview,
        Doc::new("previewRetention", TAG, "What a sweep with other settings would remove")
            .details("Deletes nothing. Made by the planner that makes the sweep's plan; without a body it speaks of the present settings.")
            .body::<PreviewRequest>()
            .json::<PreviewResult>(200, "What would be removed."),
    );
}

/// Settings to try; what is absent is as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
struct PreviewRequest {
    /// GiB, above 0; `null`: that of the configuration.
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    max_recordings_gb: Patch<f64>,
    /// GiB, at least 0; `null`: that of the configuration.
    #[serde(default)]
    #[schema(value_type = Option<f64>)]
    min_free_disk_gb: Patch<f64>,
    /// Retention of cameras by id.
    #[serde(default)]
    #[schema(value_type = Object)]
    cameras: BTreeMap<String, CameraRetention>,
    /// How far to look ahead at the present write rate, 0 to 8760.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    horizon_hours: Option<i64>,
}

/// Retention of one camera; what is absent is as it is.
#[derive(Debug, Default, Deserialize, ToSchema)]
struct CameraRetention {
    /// 1 to 43800.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    retention_hours: Patch<i64>,
    /// 1 to 43800; `null`: as `retention_hours`.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    retention_motion_hours: Patch<i64>,
    /// 1 to 43800; `null`: as `retention_hours`.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    retention_alert_hours: Patch<i64>,
    /// 0 or less, and `null`: none.
    #[serde(default)]
    #[schema(value_type = Option<i64>)]
    storage_quota_bytes: Patch<i64>,
}

impl CameraRetention {
    fn over(self, keep: Keep) -> Keep {
        let hours = |asked: i64| u32::try_from(asked.clamp(1, MAX_HOURS)).unwrap_or(1);
        let optional = |asked: Patch<i64>, old: Option<u32>| match asked {
            Patch::Value(asked) => Some(hours(asked)),
            Patch::Null => None,
            Patch::Absent => old,
        };
        let mut kept = keep;
        if let Patch::Value(asked) = self.retention_hours {
            kept.hours.all = hours(asked);
        }
        kept.hours.motion = optional(self.retention_motion_hours, keep.hours.motion);
        kept.hours.alert = optional(self.retention_alert_hours, keep.hours.alert);
        kept.quota_bytes = match self.storage_quota_bytes {
            Patch::Value(asked) => u64::try_from(asked).ok().filter(|bytes| *bytes > 0),
            Patch::Null => None,
            Patch::Absent => keep.quota_bytes,
        };
        kept
    }
}

/// A number of segments.
#[derive(Debug, Serialize, ToSchema)]
struct Count {
    /// How many.
    segments: u64,
    /// Their bytes.
    bytes: u64,
}

/// Segments by the reason they would go for.
#[derive(Debug, Serialize, ToSchema)]
struct Reasons {
    /// Past their age.
    age: Count,
    /// Their camera is above its quota.
    quota: Count,
    /// All recordings are above the cap.
    size_cap: Count,
    /// Free space is below the floor.
    free_floor: Count,
}

/// Everything that would go.
#[derive(Debug, Serialize, ToSchema)]
struct WouldDelete {
    /// How many segments.
    segments: u64,
    /// Their bytes.
    bytes: u64,
    /// Their time together, in seconds.
    #[schema(value_type = f64)]
    seconds: Micros,
    /// First instant of the oldest.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest: Option<WallTime>,
    /// Last instant of the newest.
    #[schema(value_type = Option<String>, format = DateTime)]
    newest: Option<WallTime>,
}

/// Segments past their age that stay for what they show.
#[derive(Debug, Serialize, ToSchema)]
struct KeptFor {
    /// For motion.
    motion: Count,
    /// For alerts.
    alert: Count,
}

/// What would go of one camera.
#[derive(Debug, Serialize, ToSchema)]
struct PreviewCamera {
    /// Which.
    #[schema(value_type = String)]
    camera_id: CameraId,
    /// How many segments would go.
    segments: u64,
    /// Their bytes.
    bytes: u64,
    /// First instant that would go.
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<WallTime>,
    /// First instant after what would go.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<WallTime>,
    /// By reason.
    reasons: Reasons,
    /// How far back its footage would reach without what motion, alerts and holds keep.
    kept_hours: Option<f64>,
}

/// The difference to what the present settings remove now.
#[derive(Debug, Serialize, ToSchema)]
struct Difference {
    /// Segments more.
    segments: i64,
    /// Bytes more.
    bytes: i64,
}

/// A dry run.
#[derive(Debug, Serialize, ToSchema)]
struct PreviewResult {
    /// The instant it speaks of.
    #[schema(value_type = String, format = DateTime)]
    at: WallTime,
    /// Everything that would go.
    would_delete: WouldDelete,
    /// The same by reason.
    reasons: Reasons,
    /// What motion and alerts would keep.
    kept: KeptFor,
    /// Each camera with footage.
    cameras: Vec<PreviewCamera>,
    /// What is held.
    held: Count,
    /// Against the present settings.
    compared_with_now: Difference,
    /// What to consider.
    warnings: Vec<WarningView>,
}

async fn preview(State(api): State<Api>, request: Request) -> Result<Json<PreviewResult>, ApiError> {
    let body = if request.body().is_end_stream() {
        PreviewRequest::default()
    } else {
        Json::<PreviewRequest>::from_request(request, &()).await?.0
    };
    let asked = asked(&api, body).await?;
    let dry = Box::pin(api.retention.preview(&asked)).await.map_err(errors::store)?;
    Ok(Json(PreviewResult::from(dry)))
}

async fn asked(api: &Api, body: PreviewRequest) -> Result<Asked, ApiError> {
    let limits = api.retention.limits().await.map_err(errors::store)?;
    let max = size("max_recordings_gb", body.max_recordings_gb, Least::AboveZero)?;
    let min_free = size("min_free_disk_gb", body.min_free_disk_gb, Least::Zero)?;
    let pick = |asked: Patch<u64>, limit: crate::retention::Limit| match asked {
        Patch::Value(bytes) => bytes,
        Patch::Null => limit.configured,
        Patch::Absent => limit.bytes,
    };
    let max = pick(max, limits.max);
    let policy = Policy {
        max_recordings_bytes: (max < u64::MAX).then_some(max),
        min_free_bytes: pick(min_free, limits.min_free),
    };
    let horizon = Micros::from_hours(body.horizon_hours.unwrap_or(0).clamp(0, MAX_HORIZON));
    Ok(Asked { policy, keep: keep_asked(api, body.cameras).await?, horizon })
}

fn size(field: &'static str, gb: Patch<f64>, least: Least) -> Result<Patch<u64>, ApiError> {
    gb.try_map(|gb| bytes_of(field, gb, least))
}

/// What is asked about cameras, over what they have.
async fn keep_asked(
    api: &Api,
    cameras: BTreeMap<String, CameraRetention>,
) -> Result<BTreeMap<CameraId, Keep>, ApiError> {
    let mut keep = BTreeMap::new();
    if cameras.is_empty() {
        return Ok(keep);
    }
    let mut present = BTreeMap::new();
    let which = CameraQuery { include_removed: true, ..CameraQuery::default() };
    let mut after = None;
    loop {
        let page =
            api.store.cameras(&Scope::All, &which, after.as_ref(), 1000).await.map_err(errors::store)?;
        present.extend(page.rows.into_iter().map(|camera| (camera.id.clone(), Keep::of(&camera.fields))));
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    for (id, asked) in cameras {
        let known = CameraId::new(&id).ok().and_then(|id| present.remove_entry(&id));
        let Some((id, own)) = known else {
            return Err(ApiError::validation("cameras", "`cameras` names a camera that does not exist"));
        };
        keep.insert(id, asked.over(own));
    }
    Ok(keep)
}

impl From<Tally> for Count {
    fn from(tally: Tally) -> Self {
        Count { segments: tally.segments, bytes: tally.bytes }
    }
}

impl From<&ByReason> for Reasons {
    fn from(removed: &ByReason) -> Self {
        let count = |reason| Count::from(removed.get(reason));
        Reasons {
            age: count(Reason::Age),
            quota: count(Reason::Quota),
            size_cap: count(Reason::SizeCap),
            free_floor: count(Reason::FreeFloor),
        }
    }
}

impl From<CameraPlan> for PreviewCamera {
    fn from(plan: CameraPlan) -> Self {
        let total = plan.removed.total();
        PreviewCamera {
            camera_id: plan.id,
            segments: total.segments,
            bytes: total.bytes,
            from: plan.span.map(|span| span.start),
            to: plan.span.map(|span| span.end),
            reasons: Reasons::from(&plan.removed),
            kept_hours: plan.kept_back.map(hours),
        }
    }
}

impl From<Dry> for PreviewResult {
    fn from(dry: Dry) -> Self {
        let found = dry.preview;
        PreviewResult {
            at: found.at,
            would_delete: WouldDelete {
                segments: found.would_delete.segments,
                bytes: found.would_delete.bytes,
                seconds: found.would_delete.length,
                oldest: found.span.map(|span| span.start),
                newest: found.span.map(|span| span.end),
            },
            reasons: Reasons::from(&found.reasons),
            kept: KeptFor { motion: found.kept.motion.into(), alert: found.kept.alert.into() },
            cameras: found.cameras.into_iter().map(PreviewCamera::from).collect(),
            held: found.held.into(),
            compared_with_now: Difference { segments: found.more_segments, bytes: found.more_bytes },
            warnings: found.warnings.iter().map(warning).collect(),
        }
    }
}

/// Hours with two decimals.
fn hours(length: Micros) -> f64 {
    (length.as_secs_f64() / 36.0).round() / 100.0
}

fn warning(warning: &Warning) -> WarningView {
    match warning {
        Warning::BeforeItsAge { camera, kept, wanted } => WarningView {
            code: "before_its_age".to_owned(),
            text: format!(
                "footage of {camera} would reach back {} h, not the {} h it is to be kept",
                hours(*kept),
                hours(*wanted)
            ),
            camera_id: Some(camera.clone()),
        },
        Warning::Condition(condition) => WarningView {
            code: condition.reason().to_owned(),
            text: describe(condition),
            camera_id: condition.camera().cloned(),
        },
    }
}

fn describe(condition: &Condition) -> String {
    match condition {
        Condition::QuotaHeld { camera, .. } => format!("held footage of {camera} alone exceeds its quota"),
        Condition::HeldExceedsCap { .. } => "held footage alone exceeds the cap of all recordings".to_owned(),
        Condition::DiskStatsUnavailable => {
            "free disk space is not known; nothing would be removed for the floor".to_owned()
        }
        Condition::FloorUnsatisfiable { .. } => {
            "the floor is at or above the size of the disk; nothing would be removed for it".to_owned()
        }
        Condition::OverShareAllProtected { camera, .. } => {
            format!("{camera} is above its share of the cap, and none of its footage may go")
        }
        Condition::FloorBlockedByProtectedShare { camera, .. } => {
            format!("{camera} is above its share, and none of its footage may go for the floor")
        }
        Condition::FloorOutOfReach { short_bytes, .. } => {
            format!("removing all footage that may go would leave the floor short by {short_bytes} bytes")
        }
        Condition::PruneNotRecoveringSpace { .. } => "removing footage does not raise free space".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use heldar_timeline::retention::KeepHours;

    use super::*;

    #[test]
    fn what_is_asked_of_a_camera_goes_over_its_own() {
        let own =
            Keep { hours: KeepHours { all: 24, motion: Some(48), alert: Some(72) }, quota_bytes: Some(1000) };
        let check = |body: &str, hours: (u32, Option<u32>, Option<u32>), quota_bytes: Option<u64>| {
            let asked: CameraRetention = serde_json::from_str(body).unwrap();
            let (all, motion, alert) = hours;
            let expect = Keep { hours: KeepHours { all, motion, alert }, quota_bytes };
            assert_eq!(asked.over(own), expect, "{body}");
        };
        check("{}", (24, Some(48), Some(72)), Some(1000));
        check(r#"{"retention_hours":null,"storage_quota_bytes":null}"#, (24, Some(48), Some(72)), None);
        check(r#"{"retention_hours":0,"retention_motion_hours":null}"#, (1, None, Some(72)), Some(1000));
        check(
            r#"{"retention_alert_hours":99999999,"storage_quota_bytes":-1}"#,
            (24, Some(48), Some(43_800)),
            None,
        );
    }
}
