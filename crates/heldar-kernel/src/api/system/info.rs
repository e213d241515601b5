//! The server at a glance.

use axum::extract::State;
use axum::http::Method;
use heldar_base::{Capability, Clock as _, Scope, WallTime};
use heldar_config::{AccessControl, Exposure};
use heldar_disk::DiskSpace;
use heldar_http::{Access, ApiError, Caller, Doc, Json, RouteTable};
use heldar_recorder::CameraState;
use heldar_store::Condition;
use heldar_timeline::retention::Reason;
use serde::Serialize;
use utoipa::ToSchema;

use super::parts::{WarningView, gb};
use super::{TAG, transcode};
use crate::api::Api;
use crate::engine::supervisor::{SessionPhase, StatusView};
use crate::health::{Sums, Totals, is_wanted, used_percent};
use crate::retention::Limits;

/// What the server calls itself.
const NAME: &str = "Heldar Core";
const VERSION: &str = env!("CARGO_PKG_VERSION");

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table
        .add(
            Method::GET,
            "/api/v1/system",
            Access::filter(Capability::SystemRead),
            system,
            Doc::new("getSystem", TAG, "The server at a glance")
                .details(
                    "Figures of the caller's cameras. Its cost does not grow with the number of segments.",
                )
                .json::<SystemInfo>(200, "The server."),
        )
        .add(
            Method::GET,
            "/api/v1/site",
            Access::unscoped(Capability::SystemRead),
            site,
            Doc::new("getSite", TAG, "Name and version of the server").json::<SiteInfo>(200, "The server."),
        );
}

/// Name and version.
#[derive(Debug, Serialize, ToSchema)]
struct SiteInfo {
    /// Name of this site, if it has one.
    site_id: Option<String>,
    /// `Heldar Core`.
    name: &'static str,
    /// Its version.
    version: &'static str,
    /// When it was started.
    #[schema(value_type = String, format = DateTime)]
    started_at: WallTime,
}

async fn site(State(api): State<Api>) -> Json<SiteInfo> {
    Json(SiteInfo {
        site_id: api.settings.site_id.clone(),
        name: NAME,
        version: VERSION,
        started_at: api.started_at,
    })
}

/// The server at a glance.
#[derive(Debug, Serialize, ToSchema)]
struct SystemInfo {
    /// `Heldar Core`.
    name: &'static str,
    /// Its version.
    version: &'static str,
    /// When it was started.
    #[schema(value_type = String, format = DateTime)]
    started_at: WallTime,
    /// Since then, in whole seconds.
    uptime_seconds: i64,
    /// Whether this server records at all.
    recorder_enabled: bool,
    /// Registered cameras.
    cameras_total: usize,
    /// Cameras that truly write.
    cameras_recording: usize,
    /// Cameras whose recording is wanted.
    cameras_wanted: usize,
    /// Wanted cameras with a session or an attempt at one.
    active_recorders: usize,
    /// Segments, open ones included.
    segments_total: u64,
    /// Their bytes.
    recordings_bytes: u64,
    /// The same in GiB.
    recordings_gb: f64,
    /// Of these, bytes that are held.
    held_bytes: u64,
    /// The cap in force, in GiB.
    max_recordings_gb: f64,
    /// Disk and footage.
    storage: StorageInfo,
    /// Access from outside.
    remote_access: RemoteAccess,
    /// The hosted relay, which there is none of.
    relay: Relay,
    /// False while a disk is failing.
    disk_health_ok: bool,
    /// When a disk last was.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_disk_alert_at: Option<WallTime>,
    /// The engine that converts live video.
    live_transcode_engine: String,
    /// Rules about machines.
    enforcement: Enforcement,
    /// What an operator should know.
    warnings: Vec<WarningView>,
    /// Who gets in.
    auth: AuthInfo,
    /// Encryption of connections.
    tls: TlsInfo,
    /// The database.
    store: StoreInfo,
}

/// Disk and footage.
#[derive(Debug, Serialize, ToSchema)]
struct StorageInfo {
    /// File system of the recordings; null while it does not answer.
    disk: Option<DiskInfo>,
    /// Bytes of all segments.
    recordings_bytes: u64,
    /// How many there are.
    segment_count: u64,
    /// First instant of the oldest; null for callers limited to cameras.
    #[schema(value_type = Option<String>, format = DateTime)]
    oldest_segment: Option<WallTime>,
    /// Last instant of the newest; null for callers limited to cameras.
    #[schema(value_type = Option<String>, format = DateTime)]
    newest_segment: Option<WallTime>,
    /// Bytes of segments that ended in the last 24 hours; 0 for callers limited to cameras.
    write_rate_bytes_per_day: u64,
    /// Free space at that rate, in days.
    projected_days_remaining: Option<f64>,
    /// Hours between the oldest footage and now; null for callers limited to cameras.
    effective_retention_hours: Option<f64>,
}

/// A file system.
#[derive(Debug, Serialize, ToSchema)]
struct DiskInfo {
    /// All of it.
    total_bytes: u64,
    /// What a process without privileges may still use.
    free_bytes: u64,
    /// What is used.
    used_bytes: u64,
    /// The same in percent.
    used_percent: f64,
}

/// Access from outside.
#[derive(Debug, Serialize, ToSchema)]
struct RemoteAccess {
    /// Whether an overlay network is said to lead here.
    enabled: bool,
    /// Its kind.
    kind: &'static str,
    /// Its interface.
    iface: Option<String>,
    /// Whether the interface is there.
    present: bool,
    /// Its state.
    operstate: Option<String>,
    /// Whether it is up.
    up: bool,
    /// For people.
    note: &'static str,
}

/// The hosted relay.
#[derive(Debug, Serialize, ToSchema)]
struct Relay {
    /// Always false.
    configured: bool,
    /// Always true.
    healthy: bool,
    /// Always null.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_ok_at: Option<WallTime>,
}

/// Rules about machines.
#[derive(Debug, Serialize, ToSchema)]
struct Enforcement {
    /// `off`, `warn` or `enforce`.
    machine_auth: &'static str,
    /// `off`, `warn` or `enforce`.
    ingest_provenance: &'static str,
    /// True when results must carry the ticket of their frame.
    frame_tickets_required: bool,
    /// `HELDAR_DEPLOYMENT_MODE`.
    deployment_mode: String,
    /// True when the mode alone made `machine_auth` `enforce`.
    machine_auth_promoted_by_mode: bool,
}

/// Who gets in.
#[derive(Debug, Serialize, ToSchema)]
struct AuthInfo {
    /// Whether callers must identify themselves.
    enabled: bool,
    /// True when everybody is served as administrator.
    open: bool,
}

/// Encryption of connections.
#[derive(Debug, Serialize, ToSchema)]
struct TlsInfo {
    /// `off`, `files` or `self-signed`.
    mode: &'static str,
    /// When the certificate ends.
    #[schema(value_type = Option<String>, format = DateTime)]
    not_after: Option<WallTime>,
}

/// The database.
#[derive(Debug, Serialize, ToSchema)]
struct StoreInfo {
    /// `sqlite` or `postgres`.
    engine: &'static str,
    /// Whether it takes writes.
    up: bool,
    /// Bytes in use.
    bytes: Option<u64>,
}

async fn system(State(api): State<Api>, caller: Caller) -> Result<Json<SystemInfo>, ApiError> {
    let scope = caller.scope();
    let (totals, space) = tokio::join!(api.health.fresh_totals(&api), api.health.fresh_space(&api));
    let stored = api.retention.limits().await.ok();
    let limits = stored.unwrap_or_else(|| Limits::of(&[], &api.settings.retention));
    let sums = totals.sums(scope);
    let cameras = Cameras::of(scope, &api);
    let engine = match transcode::engine(&api).await {
        Ok((engine, _)) => engine,
        Err(_) => transcode::configured(&api),
    };
    let now = api.clock.wall();
    Ok(Json(SystemInfo {
        name: NAME,
        version: VERSION,
        started_at: api.started_at,
        uptime_seconds: (now - api.started_at).0.max(0) / 1_000_000,
        recorder_enabled: api.settings.recorder.enabled,
        cameras_total: cameras.total,
        cameras_recording: cameras.recording,
        cameras_wanted: cameras.wanted,
        active_recorders: cameras.active,
        segments_total: sums.segments,
        recordings_bytes: sums.bytes,
        recordings_gb: gb(sums.bytes),
        held_bytes: 0,
        max_recordings_gb: gb(limits.max.bytes),
        storage: storage(&api, scope, &totals, sums, space).await,
        remote_access: RemoteAccess {
            enabled: api.settings.access.exposure.contains(&Exposure::Overlay),
            kind: "none",
            iface: None,
            present: false,
            operstate: None,
            up: false,
            note: "not part of this build",
        },
        relay: Relay { configured: false, healthy: true, last_ok_at: None },
        // Nothing in this build asks disks how they are, so nothing has been said against them.
        disk_health_ok: true,
        last_disk_alert_at: None,
        live_transcode_engine: engine,
        enforcement: enforcement(&api),
        warnings: warnings(&api, &limits),
        auth: AuthInfo {
            enabled: api.settings.access.access_control == AccessControl::On,
            open: api.settings.access.open,
        },
        tls: TlsInfo {
            mode: api.settings.tls.mode().as_str(),
            not_after: api.certificates.get().map(|certificates| certificates.view().facts.not_after),
        },
        store: StoreInfo {
            engine: api.store.engine().as_str(),
            up: api.store.health().borrow().condition == Condition::Up,
            bytes: totals.size.map(|size| u64::try_from(size.used_bytes).unwrap_or(0)),
        },
    }))
}

/// Cameras of a scope by what they do.
struct Cameras {
    total: usize,
    recording: usize,
    wanted: usize,
    active: usize,
}

impl Cameras {
    fn of(scope: &Scope, api: &Api) -> Cameras {
        let views = api.supervisor.views();
        let count = |with: fn(&StatusView) -> bool| {
            views.iter().filter(|(camera, view)| scope.covers(camera) && with(view)).count()
        };
        Cameras {
            total: count(|_| true),
            recording: count(|view| view.state == CameraState::Recording),
            wanted: count(is_wanted),
            active: count(|view| is_wanted(view) && tries(view)),
        }
    }
}

/// Whether there is a session, or another attempt to come.
fn tries(view: &StatusView) -> bool {
    match view.session {
        SessionPhase::Idle => false,
        SessionPhase::Connecting | SessionPhase::Streaming => true,
        SessionPhase::Backoff => view.next_attempt_at.is_some(),
    }
}

async fn storage(
    api: &Api,
    scope: &Scope,
    totals: &Totals,
    sums: Sums,
    space: Option<DiskSpace>,
) -> StorageInfo {
    let disk = space.map(|space| DiskInfo {
        total_bytes: space.total,
        free_bytes: space.free,
        used_bytes: space.total.saturating_sub(space.free),
        used_percent: used_percent(space),
    });
    let mut info = StorageInfo {
        disk,
        recordings_bytes: sums.bytes,
        segment_count: sums.segments,
        oldest_segment: None,
        newest_segment: None,
        write_rate_bytes_per_day: 0,
        projected_days_remaining: None,
        effective_retention_hours: None,
    };
    if scope.is_all() {
        let oldest = api.retention.oldest.get(&api.store, scope, totals).await.ok().flatten();
        info.oldest_segment = oldest;
        info.newest_segment = sums.newest;
        info.write_rate_bytes_per_day = sums.bytes_per_day;
        info.projected_days_remaining = space.and_then(|space| days(space.free, sums.bytes_per_day));
        info.effective_retention_hours =
            oldest.map(|oldest| ((api.clock.wall() - oldest).as_secs_f64().max(0.0) / 36.0).round() / 100.0);
    }
    info
}

/// Days that `free` bytes last, with two decimals; `None` when nothing is written.
fn days(free: u64, bytes_per_day: u64) -> Option<f64> {
    (bytes_per_day > 0).then(|| (free as f64 / bytes_per_day as f64 * 100.0).round() / 100.0)
}

fn enforcement(api: &Api) -> Enforcement {
    let access = &api.settings.access;
    Enforcement {
        machine_auth: access.machine_auth.as_str(),
        ingest_provenance: access.ingest_provenance.as_str(),
        frame_tickets_required: access.ingest_provenance == heldar_config::Tier::Enforce,
        deployment_mode: access.mode.as_str().to_owned(),
        machine_auth_promoted_by_mode: access.machine_auth_promoted_by_mode,
    }
}

/// Warnings of the configuration, and of what the server does with it.
fn warnings(api: &Api, limits: &Limits) -> Vec<WarningView> {
    let configuration = api.health.configuration();
    let mut warnings: Vec<WarningView> = configuration
        .warnings()
        .map(|finding| WarningView::new(finding.code, finding.text.clone()))
        .collect();
    let mut add = |code: &str, text: &str| {
        if warnings.iter().all(|warning| warning.code != code) {
            warnings.push(WarningView::new(code, text));
        }
    };
    if api.settings.access.open {
        add("open_access", "access control is off and everybody who reaches this server is administrator");
    }
    if !api.sealer.seals() {
        add(
            "secrets_in_clear",
            "HELDAR_SECRET_KEY is not set: passwords and stream addresses are stored in clear",
        );
    }
    let nobody_chose = |overridden: bool, name| !overridden && configuration.is_default(name);
    match api.retention.limited_by() {
        Some(Reason::SizeCap) if nobody_chose(limits.max.overridden, "HELDAR_MAX_RECORDINGS_GB") => add(
            "default_limit",
            "footage is removed for the default cap of all recordings, which nobody chose (HELDAR_MAX_RECORDINGS_GB)",
        ),
        Some(Reason::FreeFloor) if nobody_chose(limits.min_free.overridden, "HELDAR_MIN_FREE_DISK_GB") => {
            add(
                "default_limit",
                "footage is removed for the default floor of free space, which nobody chose (HELDAR_MIN_FREE_DISK_GB)",
            )
        }
        _ => {}
    }
    for key in &limits.unusable {
        warnings.push(WarningView::new(
            "setting_unusable",
            format!("the stored setting `{key}` is not valid and is ignored"),
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_that_are_left() {
        assert_eq!(days(1000, 300), Some(3.33));
        assert_eq!(days(1000, 0), None);
    }
}
