//! AI, webhooks, modules, mail, plugins and apps: `perception.md` of the contract.

use super::{NATURAL, PORT, WEB, clamp, derived, floor, fraction, unset, var};
use crate::kind::{FloatRule, Kind};
use crate::part::Part;
use crate::variable::Variable;

#[rustfmt::skip]
pub(super) const TABLE: &[Variable] = &[
    var("HELDAR_AI_ENABLED", Part::Perception, Kind::Bool, "true", "sample frames for workers"),
    var("HELDAR_MOTION_ENABLED", Part::Perception, Kind::Bool, "true", "see motion by itself, and look for it on new cameras; false leaves tasks of type motion to workers"),
    var("HELDAR_AI_MAX_TOTAL_FPS", Part::Perception, fraction(FloatRule::floor(1.0)), "40", "frames per second of all samplers together"),
    derived("HELDAR_AI_DECODE_CORES", Part::Perception, fraction(FloatRule::POSITIVE), "half the cores, at least 1", "cores that decoding may use"),
    var("HELDAR_AI_IDLE_SECS", Part::Perception, NATURAL, "60", "seconds without a worker until decoding stops; 0: never"),
    var("HELDAR_AI_RING_FRAMES", Part::Perception, clamp(1, 512), "32", "frames kept per stream"),
    var("HELDAR_AI_RING_MB", Part::Perception, clamp(16, 16_384), "256", "memory of all frames together, in MiB"),
    var("HELDAR_AI_JPEG_QUALITY", Part::Perception, clamp(50, 95), "85", "quality of frames"),
    var("HELDAR_AI_PICTURE_WINDOW_S", Part::Perception, clamp(0, 86_400), "600", "seconds back for which `ai:frames` alone is a right to recorded pictures"),
    var("HELDAR_AI_EMPTY_ROW_SECS", Part::Perception, NATURAL, "10", "seconds between stored batches without detections; 0: store every one"),
    var("HELDAR_INGEST_COMMIT_MS", Part::Perception, clamp(0, 100), "5", "milliseconds that a batch waits for others"),
    var("HELDAR_FANOUT_MAX_ATTEMPTS", Part::Perception, clamp(1, 100), "8", "attempts to hand a batch to a consumer"),
    var("HELDAR_DEFAULT_AI_FPS", Part::Perception, fraction(FloatRule::clamp(0.02, 30.0)), "5", "new tasks: frames per second"),
    var("HELDAR_DEFAULT_AI_WIDTH", Part::Perception, clamp(160, 3840), "1280", "new tasks: width of frames"),
    var("HELDAR_FRAMES_MIRROR", Part::Perception, Kind::Bool, "false", "write the newest frames into HELDAR_FRAMES_DIR"),
    var("HELDAR_FRAME_TICKET_TTL_SECS", Part::Perception, clamp(10, 900), "120", "seconds that a frame ticket is valid"),
    var("HELDAR_DETECTION_RETENTION_HOURS", Part::Perception, floor(1), "168", "hours that detections and zone events are kept"),

    var("HELDAR_NOTIFIER_INTERVAL_S", Part::Webhooks, floor(5), "15", "seconds between looks for deliveries that are due"),
    var("HELDAR_WEBHOOK_MAX_BACKOFF_S", Part::Webhooks, NATURAL, "900", "longest wait between attempts, in seconds"),
    var("HELDAR_WEBHOOK_DISABLE_AFTER_S", Part::Webhooks, NATURAL, "259200", "seconds of failure until a subscription is disabled; 0: never"),

    var("HELDAR_PROXY_MAX_REQUEST_MB", Part::Modules, clamp(1, 4096), "64", "largest request to a module, in MiB"),
    var("HELDAR_REGISTRY_ENABLED", Part::Modules, Kind::Bool, "true", "read remote catalogs"),
    var("HELDAR_REGISTRY_URLS", Part::Modules, Kind::UrlList(&["http", "https"]), "", "catalogs"),
    var("HELDAR_REGISTRY_TRUSTED_KEYS", Part::Modules, Kind::List, "", "list of <id>:<base64 of the public key>"),
    var("HELDAR_REGISTRY_REFRESH_S", Part::Modules, floor(30), "900", "seconds between refreshes"),
    var("HELDAR_REGISTRY_FETCH_TIMEOUT_S", Part::Modules, floor(1), "10", "seconds for a catalog"),
    var("HELDAR_REGISTRY_ALLOW_UNVERIFIED", Part::Modules, Kind::Bool, "false", "accept unsigned catalogs"),
    var("HELDAR_REGISTRY_ALLOW_PRIVATE", Part::Modules, Kind::Bool, "false", "accept http and private addresses"),

    unset("HELDAR_SMTP_HOST", Part::Mail, Kind::Text, "mail server"),
    var("HELDAR_SMTP_PORT", Part::Mail, PORT, "587", "its port"),
    var("HELDAR_SMTP_TLS", Part::Mail, Kind::Text, "starttls", "none, implicit, else STARTTLS"),
    unset("HELDAR_SMTP_FROM", Part::Mail, Kind::Text, "sender"),
    unset("HELDAR_SMTP_USERNAME", Part::Mail, Kind::Text, "user"),
    unset("HELDAR_SMTP_PASSWORD", Part::Mail, Kind::Text, "password").secret(),
    var("HELDAR_SMTP_RECIPIENTS", Part::Mail, Kind::List, "", "recipients"),
    var("HELDAR_SMTP_MIN_SEVERITY", Part::Mail, Kind::Words(&[&["info"], &["warning"], &["critical"]]), "warning", "least severity that is mailed"),
    var("HELDAR_SMTP_INTERVAL_S", Part::Mail, floor(5), "30", "seconds between looks for events"),
    var("HELDAR_SMTP_EVENT_TYPES", Part::Mail, Kind::List, "*", "event types that are mailed"),

    var("HELDAR_WASM_ENABLED", Part::Wasm, Kind::Bool, "true", "run plugins"),
    derived("HELDAR_WASM_PLUGINS_DIR", Part::Wasm, Kind::Path, "{data}/wasm-plugins", "plugins"),
    var("HELDAR_WASM_FUEL", Part::Wasm, NATURAL, "50000000", "instructions per call"),
    var("HELDAR_WASM_TIMEOUT_MS", Part::Wasm, NATURAL, "1000", "milliseconds per call"),
    var("HELDAR_WASM_MAX_MEMORY_MB", Part::Wasm, NATURAL, "64", "memory, in MiB"),
    var("HELDAR_WASM_MAX_TABLE_ELEMENTS", Part::Wasm, NATURAL, "100000", "elements of a table"),
    var("HELDAR_WASM_MAX_EVENTS", Part::Wasm, NATURAL, "64", "events per call"),
    var("HELDAR_WASM_MAX_EVENT_BYTES", Part::Wasm, NATURAL, "16384", "largest event, in bytes"),
    var("HELDAR_WASM_MAX_LOG_CALLS", Part::Wasm, NATURAL, "256", "log lines per call"),
    var("HELDAR_WASM_MAX_FAILURES", Part::Wasm, NATURAL, "5", "failures until a plugin is disabled"),

    var("HELDAR_ANPR_MIN_VOTES", Part::Apps, clamp(1, 50), "3", "reads that must agree on a plate"),
    var("HELDAR_ENTRY_RETENTION_DAYS", Part::Apps, NATURAL, "365", "days that entries are kept"),
    var("HELDAR_MOVEMENT_INTERVAL_S", Part::Apps, clamp(15, 600), "60", "seconds between scans"),
    var("HELDAR_MOVEMENT_SCAN_WINDOW_S", Part::Apps, clamp(30, 86_400), "900", "seconds back that a scan looks; at least two intervals"),
    var("HELDAR_MOVEMENT_MIN_SCORE", Part::Apps, fraction(FloatRule::clamp(0.0, 1.0)), "0.5", "least score"),
    var("HELDAR_MOVEMENT_RED_ZONE_KINDS", Part::Apps, Kind::List, "restricted,red", "zone kinds that count as red"),
    var("HELDAR_MOVEMENT_RETENTION_DAYS", Part::Apps, clamp(1, 3650), "365", "days that movements are kept"),
    var("HELDAR_MOVEMENT_APPEARANCE_SCORING", Part::Apps, Kind::Bool, "false", "compare appearance"),
    var("HELDAR_MOVEMENT_APPEARANCE_WINDOW_S", Part::Apps, clamp(1, 120), "5", "seconds around a sighting that are compared"),
    unset("HELDAR_SEARCH_LLM_URL", Part::Apps, WEB, "language model"),
    unset("HELDAR_SEARCH_LLM_API_KEY", Part::Apps, Kind::Text, "its key").secret(),
    var("HELDAR_SEARCH_LLM_MODEL", Part::Apps, Kind::Text, "gpt-4o-mini", "its name"),
    var("HELDAR_SEARCH_MAX_RESULTS", Part::Apps, clamp(1, 5000), "200", "most results"),
    var("HELDAR_SEARCH_QUERY_LOG_RETENTION_DAYS", Part::Apps, floor(1), "90", "days that queries are kept"),
    var("HELDAR_SEARCH_EMBED_TIMEOUT_MS", Part::Apps, clamp(250, 30_000), "3000", "milliseconds for an embedding"),
];
