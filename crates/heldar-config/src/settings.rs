//! The settings as the components take them: small, typed, complete.
//!
//! Owns the types and their making from parsed values. A component gets its own struct and nothing else.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use heldar_base::{Micros, Secret};
use url::Url;

use crate::database::DatabaseTarget;
use crate::load::Values;
use crate::origin::{CorsPolicy, Origin};
use crate::posture::{AccessControl, BindHost, BindReason, DeploymentMode, Exposure, Posture, Tier, TlsMode};
use crate::value::Value;
pub use crate::value::ZoneSetting;
use crate::workers::WorkerSettings;
use heldar_base::Cidr;

/// All settings of the server.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Listener.
    pub api: ApiSettings,
    /// TLS of that listener.
    pub tls: TlsSettings,
    /// Who gets in.
    pub access: AuthPosture,
    /// People, keys and sign-ins.
    pub accounts: AccountSettings,
    /// Folders.
    pub storage: StorageSettings,
    /// Store.
    pub database: DatabaseSettings,
    /// Recorder.
    pub recorder: RecorderSettings,
    /// New cameras.
    pub cameras: CameraDefaults,
    /// Sweeps.
    pub retention: RetentionSettings,
    /// Audit trail.
    pub audit: AuditSettings,
    /// Playback sessions.
    pub playback: PlaybackSettings,
    /// Clips.
    pub clips: ClipSettings,
    /// Scheduled snapshots.
    pub snapshots: SnapshotSettings,
    /// Decoder processes.
    pub decoder: DecoderSettings,
    /// Frames for workers, and their results.
    pub perception: PerceptionSettings,
    /// Workers that the server starts.
    pub workers: WorkerSettings,
    /// Live view.
    pub live: LiveSettings,
    /// Health.
    pub health: HealthSettings,
    /// Sealing of stored secrets.
    pub secrets: SecretKeys,
    /// Outgoing connections.
    pub egress: EgressSettings,
    /// Events to receivers over HTTP.
    pub webhooks: WebhookSettings,
    /// Log.
    pub log: LogSettings,
    /// Zone of schedules without a site, and of names shown to people.
    pub time_zone: ZoneSetting,
    /// Name of this site in events and in the fleet.
    pub site_id: Option<String>,
}

/// Listener of the API.
#[derive(Clone, Debug)]
pub struct ApiSettings {
    /// What to bind to.
    pub bind: BindHost,
    /// Why that; for the banner.
    pub bind_reason: BindReason,
    /// TCP port; 0 lets the system choose.
    pub port: u16,
    /// Base of absolute URLs; `None`: that of the request.
    pub public_url: Option<Url>,
    /// Origins under which the server is known, beside that of a request's `Host`.
    pub own_origins: Vec<Origin>,
    /// Which foreign pages may read answers.
    pub cors: CorsPolicy,
    /// Folder with a dashboard; `None`: the one built in.
    pub web_dir: Option<PathBuf>,
    /// Peers whose forwarding headers are believed.
    pub trusted_proxies: Vec<Cidr>,
    /// Connections served at the same time.
    pub max_connections: usize,
}

/// TLS of the API.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsSettings {
    /// Where the certificate comes from.
    pub certificate: CertificateSource,
    /// TCP port of the plain listener that redirects to TLS; `None`: there is none.
    pub redirect_port: Option<u16>,
}

/// Where the certificate comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CertificateSource {
    /// There is none: plain HTTP.
    Off,
    /// From two PEM files.
    Files {
        /// Certificate chain.
        cert: PathBuf,
        /// Private key.
        key: PathBuf,
    },
    /// Made by the server.
    SelfSigned {
        /// Names in it, beside those of this machine.
        domains: Vec<String>,
    },
}

impl TlsSettings {
    /// `HELDAR_TLS`.
    pub fn mode(&self) -> TlsMode {
        match self.certificate {
            CertificateSource::Off => TlsMode::Off,
            CertificateSource::Files { .. } => TlsMode::Files,
            CertificateSource::SelfSigned { .. } => TlsMode::SelfSigned,
        }
    }
}

/// Who gets in, as decided before the start.
#[derive(Clone, Debug)]
pub struct AuthPosture {
    /// Whether callers must identify themselves.
    pub access_control: AccessControl,
    /// True when everybody is served as administrator.
    pub open: bool,
    /// `HELDAR_DEPLOYMENT_MODE`.
    pub mode: DeploymentMode,
    /// What is done about keys that can do more than they need.
    pub machine_auth: Tier,
    /// True when the mode, and nobody else, made that `enforce`.
    pub machine_auth_promoted_by_mode: bool,
    /// Whether results must carry the ticket of their frame.
    pub ingest_provenance: Tier,
    /// Why the server counts as exposed; empty: it does not.
    pub exposure: Vec<Exposure>,
}

/// People, keys and sign-ins.
#[derive(Clone, Debug)]
pub struct AccountSettings {
    /// Session cookies go over TLS only, whatever the request came over.
    pub cookie_secure: bool,
    /// Password hashes computed at the same time; `None`: as many as suit the machine.
    pub hash_concurrency: Option<usize>,
    /// Time until a sign-in ends.
    pub session_ttl: Micros,
    /// Time without use that ends it.
    pub session_idle: Option<Micros>,
    /// Age up to which use prolongs it.
    pub session_max_lifetime: Option<Micros>,
    /// Failures that lock a source out, and for how long.
    pub lockout: Option<Lockout>,
    /// Shortest password, in characters.
    pub password_min_length: usize,
    /// Refuse widespread passwords and the username.
    pub password_block_common: bool,
    /// First administrator, made when there is nobody.
    pub bootstrap: Option<Bootstrap>,
}

/// When a source is locked out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lockout {
    /// After so many failures in a row, at least 1.
    pub failures: u32,
    /// For so long.
    pub time: Micros,
}

/// The first administrator.
#[derive(Clone, Debug)]
pub struct Bootstrap {
    /// Name to sign in with.
    pub username: String,
    /// Its password.
    pub password: Secret<String>,
}

/// Folders, relative to the working directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StorageSettings {
    /// Root: lock, control socket, database.
    pub data_dir: PathBuf,
    /// Segments.
    pub recordings_dir: PathBuf,
    /// Clips.
    pub clips_dir: PathBuf,
    /// Snapshots.
    pub snapshots_dir: PathBuf,
}

/// Store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseSettings {
    /// Where it is.
    pub target: DatabaseTarget,
    /// Connections of a pool.
    pub max_connections: u32,
    /// Size cap in bytes, SQLite only; `None`: none. The stored setting wins.
    pub max_bytes: Option<u64>,
}

/// Recorder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecorderSettings {
    /// Record at all.
    pub enabled: bool,
    /// Longest fragment.
    pub fragment: Micros,
    /// Longest time until written footage is synced.
    pub sync_interval: Micros,
    /// Time without a picture that ends a session.
    pub stall: Micros,
    /// Time without a picture that raises `camera_offline`.
    pub offline_debounce: Micros,
    /// Memory for what is held before something happens, of all streams together.
    pub preroll_bytes: usize,
    /// Longest time between looks at schedules.
    pub schedule_check: Micros,
}

/// What a new camera gets where its creator says nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CameraDefaults {
    /// Length of a segment, 2..3600 s.
    pub segment_seconds: u32,
    /// Hours that footage is kept, at least 1.
    pub retention_hours: u32,
    /// Storage quota; `None`: none.
    pub quota_bytes: Option<u64>,
    /// Record audio.
    pub record_audio: bool,
    /// Seconds kept from before an event, 0..300.
    pub pre_roll_seconds: u32,
    /// Seconds recorded after one, 0..3600.
    pub post_roll_seconds: u32,
    /// JSON file with further stream address templates.
    pub vendor_templates: Option<PathBuf>,
}

/// Sweeps; the stored settings win over both sizes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetentionSettings {
    /// Time between sweeps.
    pub interval: Micros,
    /// Size cap of all recordings, above 0.
    pub max_recordings_bytes: u64,
    /// Free space that is kept; 0: none.
    pub min_free_bytes: u64,
}

/// Audit trail.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditSettings {
    /// Age of rows, events, deliveries and finished gaps that are removed.
    pub retention: Micros,
    /// Audit reads that show footage or identity.
    pub reads: bool,
}

/// Playback sessions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlaybackSettings {
    /// Life of a session without use.
    pub session_ttl: Micros,
    /// Longest window.
    pub max_window: Micros,
}

/// Live view and restream.
#[derive(Clone, Debug)]
pub struct LiveSettings {
    /// TCP port of the RTSP server; `None`: off.
    pub rtsp_port: Option<u16>,
    /// UDP port of all WebRTC sessions; 0 lets the system choose.
    pub webrtc_port: u16,
    /// Addresses that WebRTC answers announce; empty: those of this machine.
    pub webrtc_public_addresses: Vec<IpAddr>,
    /// JSON array that viewers are given as it is.
    pub ice_servers: Option<Secret<String>>,
    /// Whether live URLs are paths only.
    pub same_origin: bool,
    /// Life of a live token.
    pub token_ttl: Micros,
    /// Time without a viewer until a stream that nobody records is closed.
    pub idle_close: Micros,
}

/// Clips.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClipSettings {
    /// Longest clip.
    pub max_length: Micros,
    /// Age of clips that are removed; `None`: never.
    pub retention: Option<Micros>,
    /// Media jobs at the same time, 1..64.
    pub job_concurrency: usize,
}

/// Scheduled snapshots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotSettings {
    /// Whether any are taken.
    pub enabled: bool,
    /// Age of snapshots that are removed; `None`: never.
    pub retention: Option<Micros>,
}

/// Decoder processes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecoderSettings {
    /// Their program.
    pub program: PathBuf,
}

impl DecoderSettings {
    /// Name of the program.
    pub const PROGRAM: &'static str = "heldar-decoder";

    /// Where it is installed: beside the server's own program.
    fn beside() -> PathBuf {
        let own = std::env::current_exe().ok();
        let folder = own.as_deref().and_then(std::path::Path::parent);
        folder.map_or_else(|| PathBuf::from(Self::PROGRAM), |folder| folder.join(Self::PROGRAM))
    }
}

/// Frames for workers, and their results.
#[derive(Clone, Debug, PartialEq)]
pub struct PerceptionSettings {
    /// Whether anything is sampled.
    pub enabled: bool,
    /// Whether tasks of type `motion` are the server's own.
    pub motion: bool,
    /// Pictures a second of all samplers together.
    pub max_total_fps: f64,
    /// Cores that decoding may use.
    pub decode_cores: f64,
    /// Seconds without a worker until decoding stops; 0: never.
    pub idle_secs: u32,
    /// Frames kept per unit, 1..512.
    pub ring_frames: usize,
    /// How many seconds back workers may ask for recorded pictures.
    pub picture_window_secs: u32,
    /// Bytes of all frames together.
    pub ring_bytes: usize,
    /// Quality of frames, 50..95.
    pub jpeg_quality: u8,
    /// Time between stored batches without detections; 0: every one is stored.
    pub empty_row_secs: u32,
    /// Attempts to hand a batch to a consumer, 1..100.
    pub fanout_attempts: u32,
    /// Where the newest frames are written as files; none: nowhere.
    pub mirror: Option<PathBuf>,
    /// New tasks: pictures a second.
    pub default_fps: f64,
    /// New tasks: width in pixels.
    pub default_width: u32,
    /// Seconds that a frame ticket is valid, 10..900.
    pub ticket_ttl_secs: i64,
    /// Age of detections that are removed.
    pub retention: Micros,
}

/// Health.
#[derive(Clone, Debug, PartialEq)]
pub struct HealthSettings {
    /// Time between refreshes of observed figures.
    pub interval: Micros,
    /// Least share of wanted cameras that record, for `/readyz`, in percent; `None`: not looked at.
    pub min_recording_percent: Option<f64>,
}

/// Keys that seal stored secrets.
#[derive(Clone, Debug)]
pub struct SecretKeys {
    /// Seals new values; `None`: they are stored in clear.
    pub current: Option<Secret<[u8; 32]>>,
    /// Opens older ones.
    pub old: Option<Secret<[u8; 32]>>,
}

/// Outgoing connections.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EgressSettings {
    /// Never connected to.
    pub deny: Vec<Cidr>,
}

/// Events to receivers over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSettings {
    /// What was missed is found after this time at the latest.
    pub sweep: Micros,
    /// Longest wait between two attempts.
    pub max_backoff: Micros,
    /// How long a receiver may fail until it is given up; `None`: for ever.
    pub disable_after: Option<Micros>,
    /// How long an attempt may take, from the name of the receiver to its answer.
    pub timeout: Micros,
    /// How long a message waits for its picture.
    pub picture_wait: Micros,
}

/// Log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSettings {
    /// Filter directives.
    pub filter: String,
    /// Form of lines.
    pub format: LogFormat,
}

/// Form of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

impl Settings {
    /// From parsed values and the posture that follows from them.
    pub(crate) fn from_values(values: &Values, posture: &Posture) -> Settings {
        let data_dir = values.path("HELDAR_DATA_DIR").unwrap_or_else(|| PathBuf::from("./data"));
        Settings {
            api: api(values, posture),
            tls: tls(values),
            access: access(values, posture),
            accounts: accounts(values),
            storage: StorageSettings {
                recordings_dir: values
                    .path("HELDAR_RECORDINGS_DIR")
                    .unwrap_or_else(|| data_dir.join("recordings")),
                clips_dir: values.path("HELDAR_CLIPS_DIR").unwrap_or_else(|| data_dir.join("clips")),
                snapshots_dir: values
                    .path("HELDAR_SNAPSHOTS_DIR")
                    .unwrap_or_else(|| data_dir.join("snapshots")),
                data_dir: data_dir.clone(),
            },
            database: DatabaseSettings {
                target: match values.get("HELDAR_DATABASE_URL") {
                    Value::Database(target) => target.clone(),
                    _ => DatabaseTarget::in_folder(&data_dir),
                },
                max_connections: values.u32("HELDAR_DB_MAX_CONNECTIONS"),
                max_bytes: values.bytes("HELDAR_MAX_DB_GB"),
            },
            recorder: recorder(values),
            cameras: cameras(values),
            retention: RetentionSettings {
                interval: values.seconds("HELDAR_RETENTION_INTERVAL_S"),
                max_recordings_bytes: values.bytes("HELDAR_MAX_RECORDINGS_GB").unwrap_or(u64::MAX),
                min_free_bytes: values.bytes("HELDAR_MIN_FREE_DISK_GB").unwrap_or(0),
            },
            audit: AuditSettings {
                retention: Micros::from_hours(values.int("HELDAR_AUDIT_RETENTION_DAYS").saturating_mul(24)),
                reads: values.bool("HELDAR_AUDIT_READS"),
            },
            playback: PlaybackSettings {
                session_ttl: micros(values.float("HELDAR_PLAYBACK_SESSION_TTL_MINUTES") * 60.0),
                max_window: micros(values.float("HELDAR_MAX_PLAYBACK_SECONDS")),
            },
            clips: ClipSettings {
                max_length: values.seconds("HELDAR_MAX_CLIP_SECONDS"),
                retention: Some(values.int("HELDAR_CLIP_RETENTION_HOURS"))
                    .filter(|h| *h > 0)
                    .map(Micros::from_hours),
                job_concurrency: values.usize("HELDAR_MEDIA_JOB_CONCURRENCY"),
            },
            snapshots: SnapshotSettings {
                enabled: values.bool("HELDAR_SNAPSHOT_SCHEDULER_ENABLED"),
                retention: Some(values.int("HELDAR_SNAPSHOT_RETENTION_HOURS")).filter(|h| *h > 0).map(hours),
            },
            decoder: DecoderSettings {
                program: values.path("HELDAR_DECODER").unwrap_or_else(DecoderSettings::beside),
            },
            perception: perception(values, &data_dir),
            workers: WorkerSettings {
                commands: values.commands("HELDAR_WORKERS"),
                api_key: values.text("HELDAR_WORKER_API_KEY").map(|key| Secret::new(key.trim().to_owned())),
            },
            live: LiveSettings {
                rtsp_port: Some(values.port("HELDAR_RTSP_PORT")).filter(|port| *port != 0),
                webrtc_port: values.port("HELDAR_WEBRTC_UDP_PORT"),
                webrtc_public_addresses: values.addresses("HELDAR_WEBRTC_PUBLIC_IPS"),
                ice_servers: values.text("HELDAR_WEBRTC_ICE_SERVERS").map(Secret::new),
                same_origin: values.bool("HELDAR_MEDIA_SAME_ORIGIN"),
                token_ttl: values.seconds("HELDAR_LIVEVIEW_TOKEN_TTL_SECS"),
                idle_close: values.seconds("HELDAR_LIVE_IDLE_CLOSE_SECS"),
            },
            health: HealthSettings {
                interval: values.seconds("HELDAR_HEALTH_INTERVAL_S"),
                min_recording_percent: Some(values.float("HELDAR_READYZ_MIN_RECORDING_PERCENT"))
                    .filter(|percent| *percent > 0.0),
            },
            secrets: SecretKeys {
                current: values.key("HELDAR_SECRET_KEY"),
                old: values.key("HELDAR_SECRET_KEY_OLD"),
            },
            egress: EgressSettings { deny: values.cidrs("HELDAR_EGRESS_DENY") },
            webhooks: webhooks(values),
            log: LogSettings {
                filter: values.text("HELDAR_LOG").unwrap_or_default(),
                format: if values.word("HELDAR_LOG_FORMAT") == "json" {
                    LogFormat::Json
                } else {
                    LogFormat::Text
                },
            },
            time_zone: match values.get("TZ") {
                Value::Zone(zone) => zone.clone(),
                _ => ZoneSetting::System,
            },
            site_id: values.text("HELDAR_SITE_ID").map(|id| id.trim().to_owned()),
        }
    }
}

fn api(values: &Values, posture: &Posture) -> ApiSettings {
    let public = [values.url("HELDAR_PUBLIC_URL"), values.url("HELDAR_PUBLIC_BASE_URL")];
    let own_origins = public
        .iter()
        .flatten()
        .filter_map(|url| Origin::parse(&url.origin().ascii_serialization()).ok())
        .collect();
    ApiSettings {
        bind: posture.bind.clone(),
        bind_reason: posture.bind_reason,
        port: u16::try_from(values.int("HELDAR_API_PORT")).unwrap_or(0),
        own_origins,
        public_url: public.into_iter().flatten().next(),
        cors: posture.cors.clone(),
        web_dir: values.path("HELDAR_WEB_DIR"),
        trusted_proxies: values.cidrs("HELDAR_TRUSTED_PROXIES"),
        max_connections: values.usize("HELDAR_HTTP_MAX_CONNECTIONS"),
    }
}

fn tls(values: &Values) -> TlsSettings {
    let files = values.path("HELDAR_TLS_CERT").zip(values.path("HELDAR_TLS_KEY"));
    TlsSettings {
        certificate: match (values.word("HELDAR_TLS"), files) {
            ("files", Some((cert, key))) => CertificateSource::Files { cert, key },
            ("self-signed", _) => CertificateSource::SelfSigned { domains: values.list("HELDAR_TLS_DOMAIN") },
            // Everything else is off, or stops the start.
            _ => CertificateSource::Off,
        },
        redirect_port: values.maybe_port("HELDAR_HTTP_REDIRECT_PORT"),
    }
}

fn access(values: &Values, posture: &Posture) -> AuthPosture {
    AuthPosture {
        access_control: values.access_control(),
        open: posture.open,
        mode: values.mode(),
        machine_auth: posture.machine_auth,
        machine_auth_promoted_by_mode: posture.machine_auth_promoted_by_mode,
        ingest_provenance: values.tier("HELDAR_INGEST_PROVENANCE").unwrap_or(Tier::Warn),
        exposure: posture.exposure.clone(),
    }
}

fn accounts(values: &Values) -> AccountSettings {
    let above_zero = |name| Some(values.int(name)).filter(|number| *number > 0);
    let lockout = above_zero("HELDAR_LOGIN_MAX_FAILURES").zip(above_zero("HELDAR_LOGIN_LOCKOUT_MIN"));
    let bootstrap =
        values.text("HELDAR_BOOTSTRAP_ADMIN_USER").zip(values.text("HELDAR_BOOTSTRAP_ADMIN_PASSWORD"));
    let hash_concurrency = match values.get("HELDAR_AUTH_HASH_CONCURRENCY") {
        Value::Int(slots) => usize::try_from(*slots).ok(),
        _ => None,
    };
    AccountSettings {
        cookie_secure: values.bool("HELDAR_AUTH_COOKIE_SECURE"),
        hash_concurrency,
        session_ttl: hours(values.int("HELDAR_SESSION_TTL_HOURS")),
        session_idle: above_zero("HELDAR_SESSION_IDLE_TIMEOUT_MIN").map(minutes),
        session_max_lifetime: above_zero("HELDAR_SESSION_MAX_LIFETIME_HOURS").map(hours),
        lockout: lockout.map(|(failures, time)| Lockout {
            failures: u32::try_from(failures).unwrap_or(u32::MAX),
            time: minutes(time),
        }),
        password_min_length: values.usize("HELDAR_PASSWORD_MIN_LENGTH"),
        password_block_common: values.bool("HELDAR_PASSWORD_BLOCK_COMMON"),
        bootstrap: bootstrap.map(|(username, password)| Bootstrap {
            username: username.trim().to_owned(),
            password: Secret::new(password),
        }),
    }
}

/// Longest time that is told from for ever, so that no sum with a time of day overflows: a thousand years.
const LONGEST: Micros = Micros::from_hours(1000 * 366 * 24);

fn hours(hours: i64) -> Micros {
    Micros::from_hours(hours).min(LONGEST)
}

fn minutes(minutes: i64) -> Micros {
    Micros::from_secs(minutes.saturating_mul(60)).min(LONGEST)
}

fn perception(values: &Values, data_dir: &Path) -> PerceptionSettings {
    let cores = std::thread::available_parallelism().map_or(1.0, |cores| cores.get() as f64);
    PerceptionSettings {
        enabled: values.bool("HELDAR_AI_ENABLED"),
        motion: values.bool("HELDAR_MOTION_ENABLED"),
        max_total_fps: values.float("HELDAR_AI_MAX_TOTAL_FPS"),
        decode_cores: match values.get("HELDAR_AI_DECODE_CORES") {
            Value::Float(given) => *given,
            _ => (cores / 2.0).max(1.0),
        },
        idle_secs: values.u32("HELDAR_AI_IDLE_SECS"),
        ring_frames: values.usize("HELDAR_AI_RING_FRAMES"),
        picture_window_secs: values.u32("HELDAR_AI_PICTURE_WINDOW_S"),
        ring_bytes: values.usize("HELDAR_AI_RING_MB").saturating_mul(1 << 20),
        jpeg_quality: u8::try_from(values.int("HELDAR_AI_JPEG_QUALITY")).unwrap_or(85),
        empty_row_secs: values.u32("HELDAR_AI_EMPTY_ROW_SECS"),
        fanout_attempts: values.u32("HELDAR_FANOUT_MAX_ATTEMPTS"),
        mirror: values
            .bool("HELDAR_FRAMES_MIRROR")
            .then(|| values.path("HELDAR_FRAMES_DIR").unwrap_or_else(|| data_dir.join("frames"))),
        default_fps: values.float("HELDAR_DEFAULT_AI_FPS"),
        default_width: values.u32("HELDAR_DEFAULT_AI_WIDTH"),
        ticket_ttl_secs: values.int("HELDAR_FRAME_TICKET_TTL_SECS"),
        retention: Micros::from_hours(values.int("HELDAR_DETECTION_RETENTION_HOURS")),
    }
}

fn webhooks(values: &Values) -> WebhookSettings {
    WebhookSettings {
        sweep: values.seconds("HELDAR_NOTIFIER_INTERVAL_S"),
        max_backoff: values.seconds("HELDAR_WEBHOOK_MAX_BACKOFF_S").clamp(Micros::from_secs(1), LONGEST),
        disable_after: Some(values.seconds("HELDAR_WEBHOOK_DISABLE_AFTER_S"))
            .filter(|time| *time > Micros::ZERO)
            .map(|time| time.min(LONGEST)),
        timeout: Micros::from_secs(10),
        picture_wait: Micros::from_secs(5),
    }
}

fn recorder(values: &Values) -> RecorderSettings {
    RecorderSettings {
        enabled: values.bool("HELDAR_RECORDER_ENABLED"),
        fragment: Micros::from_millis(values.int("HELDAR_FRAGMENT_MS")),
        sync_interval: values.seconds("HELDAR_SYNC_INTERVAL_S"),
        stall: values.seconds("HELDAR_STREAM_STALL_S"),
        offline_debounce: values.seconds("HELDAR_OFFLINE_DEBOUNCE_S"),
        preroll_bytes: values.usize("HELDAR_PREROLL_MEMORY_MB").saturating_mul(1 << 20),
        schedule_check: values.seconds("HELDAR_SCHEDULE_CHECK_INTERVAL_S"),
    }
}

fn cameras(values: &Values) -> CameraDefaults {
    CameraDefaults {
        segment_seconds: values.u32("HELDAR_DEFAULT_SEGMENT_SECONDS"),
        retention_hours: values.u32("HELDAR_DEFAULT_RETENTION_HOURS"),
        quota_bytes: values.bytes("HELDAR_DEFAULT_CAMERA_QUOTA_GB"),
        record_audio: values.bool("HELDAR_DEFAULT_RECORD_AUDIO"),
        pre_roll_seconds: values.u32("HELDAR_DEFAULT_PRE_ROLL_SECONDS"),
        post_roll_seconds: values.u32("HELDAR_DEFAULT_POST_ROLL_SECONDS"),
        vendor_templates: values.path("HELDAR_VENDOR_TEMPLATES"),
    }
}

/// Rounded to the microsecond; saturates.
fn micros(seconds: f64) -> Micros {
    Micros((seconds * 1e6).round() as i64)
}
