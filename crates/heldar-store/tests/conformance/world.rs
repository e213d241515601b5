//! Databases and rows to test with.

use std::collections::BTreeSet;
use std::sync::OnceLock;

use heldar_base::{
    CameraId, EndReason, PublicId, Scope, Secret, SegmentId, SiteId, StreamId, StreamKind, WallTime,
};
use heldar_store::op::{CreateCamera, EnsureParams, EnsureStream, PutSegment, Seal};
use heldar_store::{
    AuditEntry, AuditOutcome, CameraFields, Clip, CodecParams, DatabaseUrl, DeviceTls, FillState, Gap,
    NewEvent, RecordMode, RtspTransport, Severity, Store, StoreConfig,
};
use heldar_testkit::PostgresCluster;
use sqlx::{Connection as _, Row as _};

/// 2026-01-01T00:00:00Z.
pub(crate) const T0: i64 = 1_767_225_600_000_000;

/// T0 and so many seconds.
pub(crate) fn at(seconds: i64) -> WallTime {
    WallTime(T0 + seconds * 1_000_000)
}

/// The cluster of this test process; it ends with the process.
pub(crate) fn cluster() -> &'static PostgresCluster {
    static CLUSTER: OnceLock<PostgresCluster> = OnceLock::new();
    CLUSTER.get_or_init(|| PostgresCluster::start().unwrap_or_else(|error| panic!("{error}")))
}

/// An empty database.
pub(crate) struct Db {
    pub(crate) url: DatabaseUrl,
    text: String,
    /// Removed at the end.
    _folder: Option<tempfile::TempDir>,
}

impl Db {
    pub(crate) fn sqlite() -> Db {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("sqlite://{}/heldar.db", folder.path().display());
        Db { url: text.parse().unwrap(), text, _folder: Some(folder) }
    }

    pub(crate) fn postgres() -> Db {
        Db::at(cluster().create_database().unwrap())
    }

    /// The database of a PostgreSQL URL.
    pub(crate) fn at(url: String) -> Db {
        Db { url: url.parse().unwrap(), text: url, _folder: None }
    }

    /// Its URL.
    pub(crate) fn text(&self) -> &str {
        &self.text
    }

    pub(crate) fn config(&self) -> StoreConfig {
        StoreConfig { url: self.url.clone(), max_connections: 4, now: at(0) }
    }

    pub(crate) async fn open(&self) -> Store {
        Store::open(self.config()).await.unwrap()
    }

    /// Runs a statement behind the store's back.
    pub(crate) async fn tamper(&self, sql: &str) -> Result<(), Box<dyn std::error::Error>> {
        match &self.url {
            DatabaseUrl::Sqlite(path) => Ok(rusqlite::Connection::open(path)?.execute_batch(sql)?),
            DatabaseUrl::Postgres(_) => {
                let mut conn = sqlx::PgConnection::connect(&self.text).await?;
                sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut conn).await?;
                Ok(conn.close().await?)
            }
        }
    }

    /// The numbers that a query answers with, behind the store's back; every column a BIGINT.
    pub(crate) async fn numbers(&self, sql: &str) -> Vec<Vec<i64>> {
        match &self.url {
            DatabaseUrl::Sqlite(path) => {
                let conn = rusqlite::Connection::open(path).unwrap();
                let mut statement = conn.prepare(sql).unwrap();
                let columns = statement.column_count();
                let rows = statement.query_map([], |row| (0..columns).map(|at| row.get(at)).collect());
                rows.unwrap().map(Result::unwrap).collect()
            }
            DatabaseUrl::Postgres(_) => {
                let mut conn = sqlx::PgConnection::connect(&self.text).await.unwrap();
                let rows = sqlx::query(sqlx::AssertSqlSafe(sql)).fetch_all(&mut conn).await.unwrap();
                rows.iter().map(|row| (0..row.len()).map(|at| row.get(at)).collect()).collect()
            }
        }
    }
}

pub(crate) fn camera(name: &str) -> CameraId {
    CameraId::new(name).unwrap()
}

pub(crate) fn site(name: &str) -> SiteId {
    SiteId::new(name).unwrap()
}

pub(crate) fn main_stream(name: &str) -> StreamId {
    StreamId::new(camera(name), StreamKind::Main)
}

pub(crate) fn scope(names: &[&str]) -> Scope {
    Scope::Cameras(names.iter().map(|name| camera(name)).collect::<BTreeSet<_>>())
}

pub(crate) fn fields(name: &str) -> CameraFields {
    CameraFields {
        name: name.to_owned(),
        site_id: None,
        vendor: "generic".to_owned(),
        model: None,
        address: None,
        rtsp_port: 554,
        username: None,
        password: None,
        main_stream_url: Some(Secret::new(format!("sealed:{name}"))),
        sub_stream_url: None,
        record_stream: StreamKind::Main,
        record_sub: false,
        rtsp_transport: RtspTransport::Auto,
        channel: 1,
        capabilities: serde_json::json!({}),
        record_enabled: true,
        segment_seconds: 60,
        retention_hours: 24,
        retention_motion_hours: None,
        retention_alert_hours: None,
        storage_quota_bytes: None,
        record_audio: false,
        record_mode: RecordMode::Continuous,
        pre_roll_seconds: 10,
        post_roll_seconds: 30,
        mirror_enabled: false,
        anr_enabled: false,
        anr_replay_url_template: None,
        native_anpr_enabled: false,
        native_events_enabled: false,
        enabled: true,
        live_warm: false,
        priority: 100,
        http_port: None,
        device_tls: DeviceTls::Off,
    }
}

pub(crate) async fn create_camera(store: &Store, name: &str) -> CameraId {
    let id = camera(name);
    store.write(CreateCamera { id: id.clone(), fields: fields(name), now: at(0) }).await.unwrap();
    id
}

pub(crate) fn video(width: u32) -> CodecParams {
    let codec_string = "avc1.64001f".to_owned();
    CodecParams { codec: "h264".to_owned(), codec_string, width, height: 576, audio: None }
}

/// A camera with its main stream: the numbers that segments need.
#[derive(Clone, Copy)]
pub(crate) struct Feed {
    pub(crate) stream_no: i64,
    pub(crate) params_no: i64,
}

pub(crate) async fn create_feed(store: &Store, name: &str) -> Feed {
    create_camera(store, name).await;
    let stream_no = store.write(EnsureStream { stream: main_stream(name) }).await.unwrap();
    let params_no = store.write(EnsureParams { params: video(768) }).await.unwrap();
    Feed { stream_no, params_no }
}

impl Feed {
    pub(crate) fn id(self, start: i64) -> SegmentId {
        SegmentId { stream_no: self.stream_no, start: at(start) }
    }

    /// An open segment from `start` to `end` in seconds.
    pub(crate) fn open(self, start: i64, end: i64) -> PutSegment {
        PutSegment {
            id: self.id(start),
            end: at(end),
            size_bytes: (end - start) * 1000,
            name_no: 1,
            params_no: self.params_no,
            dependent: false,
            seal: None,
            holes: Vec::new(),
            index: Some(vec![1, 2, 3]),
            created_at: at(start),
        }
    }

    /// A sealed segment from `start` to `end` in seconds.
    pub(crate) fn sealed(self, start: i64, end: i64) -> PutSegment {
        let seal = Some(Seal { reason: EndReason::Rotated, cause: None });
        PutSegment { seal, ..self.open(start, end) }
    }
}

pub(crate) fn gap_id(number: u128) -> PublicId {
    PublicId::new(Gap::PREFIX, number)
}

pub(crate) fn gap(number: u128, name: &str, start: i64, end: i64) -> Gap {
    Gap {
        id: gap_id(number),
        camera: camera(name),
        start: at(start),
        end: at(end),
        open: false,
        cause: heldar_base::Cause::Unreachable,
        detail: None,
        last_error: None,
        fill_state: FillState::Pending,
        fill_attempts: 0,
        last_attempt_at: None,
        filled_at: None,
        created_at: at(start),
    }
}

pub(crate) fn event(number: u128, name: Option<&str>, seconds: i64) -> NewEvent {
    NewEvent {
        id: format!("00000000-0000-4000-8000-{number:012x}"),
        camera: name.map(camera),
        event_type: "camera_offline".to_owned(),
        severity: Severity::Warning,
        timestamp: at(seconds),
        created_at: at(seconds),
        payload: serde_json::json!({"camera": name, "number": 1.5}),
    }
}

pub(crate) fn audit(number: u128, target: Option<&str>, seconds: i64) -> AuditEntry {
    AuditEntry {
        id: PublicId::new("aud", number).to_string(),
        actor: "system".to_owned(),
        actor_name: Some("system".to_owned()),
        role: Some("admin".to_owned()),
        action: "update_camera".to_owned(),
        target_type: target.map(|_| "camera".to_owned()),
        target_id: target.map(str::to_owned),
        detail: serde_json::json!({"fields": ["name"]}),
        created_at: at(seconds),
        outcome: AuditOutcome::Ok,
        ip: None,
        user_agent: None,
        request_id: None,
        credential_id: None,
        before: None,
        after: None,
    }
}

pub(crate) fn clip(number: u128, name: &str, seconds: i64) -> Clip {
    Clip {
        id: PublicId::new(Clip::PREFIX, number),
        camera: camera(name),
        filename: format!("clip_{number:x}.mp4"),
        download_name: "front door.mp4".to_owned(),
        from: at(seconds),
        to: at(seconds + 10),
        covered_us: 10_000_000,
        media_us: 10_000_000,
        lead_in_us: 0,
        gaps: Vec::new(),
        size_bytes: 10,
        segment_count: 1,
        sha256: "0".repeat(64),
        codecs: vec!["avc1.64001f".to_owned()],
        name: None,
        incident_id: None,
        keep: false,
        created_by: None,
        created_at: at(seconds),
        expires_at: Some(at(seconds + 100)),
    }
}
