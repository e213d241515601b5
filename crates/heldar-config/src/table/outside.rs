//! Workers that the server starts; and variables without effect on it: accepted and ignored, or meant for other programs.

use super::{unset, var};
use crate::kind::Kind;
use crate::part::Part;
use crate::variable::{Effect, Preset, Variable};

/// Accepted and ignored, whatever the value.
const fn ignored(name: &'static str, why: &'static str) -> Variable {
    unset(name, Part::Obsolete, Kind::Text, why).effect(Effect::Ignored(why))
}

const fn worker(name: &'static str, default: &'static str, doc: &'static str) -> Variable {
    Variable::new(name, Part::Workers, Kind::Text, Preset::Is(default), doc)
        .effect(Effect::NotRead("read by worker processes"))
}

const fn packaging(name: &'static str, preset: Preset, doc: &'static str) -> Variable {
    Variable::new(name, Part::Packaging, Kind::Text, preset, doc)
        .effect(Effect::NotRead("read by installers, containers and test runs"))
}

#[rustfmt::skip]
pub(super) const TABLE: &[Variable] = &[
    var("HELDAR_WORKERS", Part::WorkerCommands, Kind::Commands, "", "workers that run beside the server: started with it, started again when they end, stopped before it; no shell reads the commands"),
    unset("HELDAR_WORKER_API_KEY", Part::WorkerCommands, Kind::Text, "key that they are given while access control is on").secret(),

    worker("HELDAR_API", "http://localhost:8000", "server"),
    Variable::new("HELDAR_API_KEY", Part::Workers, Kind::Text, Preset::Unset, "key for the server")
        .secret().effect(Effect::NotRead("read by worker processes")),
    worker("HELDAR_AI_WORKER_ID", "<hostname>:<pid>", "name of the worker"),
    worker("HELDAR_AI_TRANSPORT", "auto", "auto, stream or poll"),
    worker("HELDAR_AI_POLL_INTERVAL", "10", "seconds between looks for tasks"),
    worker("HELDAR_AI_LEASE_TTL", "60", "seconds of a lease"),
    worker("HELDAR_AI_EMBED_POLL_INTERVAL", "1.0", "seconds between looks for embeddings"),
    worker("HELDAR_HTTP_TIMEOUT", "10", "seconds for a request"),
    worker("HELDAR_HTTP_MAX_RETRIES", "5", "attempts after a failure"),
    worker("HELDAR_HTTP_BACKOFF_BASE", "0.5", "first wait between attempts, in seconds"),
    worker("HELDAR_HTTP_BACKOFF_CAP", "15", "longest wait between attempts, in seconds"),
    worker("HELDAR_LOG_LEVEL", "INFO", "log level of the worker"),
    worker("HELDAR_AI_CLIP_MODEL", "ViT-B-32-quickgelu", "embedding model"),
    worker("HELDAR_AI_CLIP_PRETRAINED", "openai", "its weights"),
    Variable::new("HELDAR_WEBHOOK_SECRET", Part::Packaging, Kind::Text, Preset::Unset, "secret with which a sidecar checks deliveries")
        .secret().effect(Effect::NotRead("read by sidecars")),
    packaging("HELDAR_VERSION", Preset::Is("latest"), "version to install"),
    packaging("NGINX_LISTEN", Preset::Is("8080"), "port of the packaged proxy"),
    packaging("HELDAR_DIR", Preset::Is("~/heldar"), "folder to install into"),
    packaging("HELDAR_RAW_URL", Preset::Unset, "where the installer fetches files from"),
    packaging("HELDAR_INSTALL_DRY_RUN", Preset::Is("0"), "install nothing, say what would be done"),
    packaging("HELDAR_E2E_BASE_URL", Preset::Unset, "server of end-to-end tests"),
    packaging("HELDAR_E2E_TLS_BASE_URL", Preset::Unset, "the same over TLS"),

    ignored("HELDAR_MEDIAMTX_API_URL", "live view is part of the server"),
    ignored("HELDAR_MEDIAMTX_HLS_BASE", "live view is part of the server; HELDAR_PUBLIC_URL or the request decides its address"),
    ignored("HELDAR_MEDIAMTX_WEBRTC_BASE", "live view is part of the server; HELDAR_PUBLIC_URL or the request decides its address"),
    ignored("HELDAR_MEDIAMTX_RTSP_BASE", "live view is part of the server; HELDAR_RTSP_PORT decides"),
    ignored("HELDAR_FFMPEG_BIN", "no outside media program is run"),
    ignored("HELDAR_FFPROBE_BIN", "no outside media program is run"),
    ignored("HELDAR_INDEXER_INTERVAL_S", "the recorder writes the index itself"),
    ignored("HELDAR_SNAPSHOT_SCHEDULER_INTERVAL_S", "snapshots are taken when due"),
    ignored("HELDAR_PLAYBACK_DIR", "playback writes no files"),
    ignored("HELDAR_DB_AUTOVACUUM_CONVERT", "databases are created with incremental vacuum"),
    ignored("HELDAR_REMOTE_RENDEZVOUS_URL", "there is no hosted relay; a value still counts as exposure"),
    ignored("VITE_TURNSTILE_SITE_KEY", "the dashboard loads nothing from outside"),
];
