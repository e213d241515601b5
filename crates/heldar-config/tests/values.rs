//! Every variable with a wrong value, from every source; clamps; defaults.

mod common;

use common::{World, entry, errors};
use heldar_base::Micros;
use heldar_config::{
    CorsPolicy, DatabaseTarget, Effect, Kind, Level, Secrecy, Variable, Zero, ZoneSetting, all, find,
};

/// A text that no value of this kind is; `None` where every text is one.
fn wrong(kind: &Kind) -> Option<&'static str> {
    match kind {
        Kind::Text | Kind::List | Kind::Path => None,
        Kind::LogFilter => Some("info,a=loud"),
        _ => Some("wr0ng value"),
    }
}

fn checked() -> impl Iterator<Item = &'static Variable> {
    all().filter(|v| matches!(v.effect, Effect::Read | Effect::Refused { .. }))
}

/// The one error must name variable, value (or mask), source and what is accepted.
fn check(variable: &Variable, world: World, source: &str) {
    let wrong = wrong(&variable.kind).expect("the kind has wrong values");
    let shown = if variable.secrecy == Secrecy::Secret { "***" } else { wrong };
    let got = world.errors();
    let expect = format!("{}={shown} ({source}) ", variable.name);
    assert!(
        got.len() == 1 && got[0].starts_with(&expect) && got[0].ends_with(&variable.kind.accepted()),
        "{expect}: {got:?}"
    );
}

#[test]
fn a_wrong_value_stops_the_start_from_every_source() {
    let mut count = 0;
    for variable in checked() {
        let Some(wrong) = wrong(&variable.kind) else { continue };
        count += 1;
        check(variable, World::new().env(variable.name, wrong), "env");
        check(variable, World::new().args(&[&format!("{}={wrong}", variable.flag())]), "flag");
        check(variable, World::new().file(".env", &format!("{}='{wrong}'\n", variable.name)), ".env");
        let line = format!("# first\n{} = '{wrong}'\n", variable.key());
        check(variable, World::new().file("heldar.toml", &line), "heldar.toml:2");
        check(variable, World::new().file("/etc/heldar/heldar.toml", &line), "/etc/heldar/heldar.toml:2");
    }
    assert!(count > 120, "{count}");
}

#[test]
fn a_fraction_is_no_whole_number_and_infinity_is_none() {
    for variable in checked() {
        let texts: &[&str] = match variable.kind {
            Kind::Int(_) => &["1.5", "1e3", "NaN", "inf", "99999999999999999999", "1,000", "0x10", "five"],
            Kind::Float(_) | Kind::Gib(_) => &["NaN", "inf", "-inf", "1e3", "1,5", "five"],
            _ => continue,
        };
        for text in texts {
            assert_eq!(World::new().env(variable.name, text).errors().len(), 1, "{}={text}", variable.name);
        }
    }
}

#[test]
fn clamps_move_to_the_bound_and_warn_with_both_values() {
    let mut count = 0;
    for variable in checked() {
        let (floor, ceiling, zero) = match variable.kind {
            Kind::Int(rule) => (rule.floor.map(|n| n as f64), rule.ceiling.map(|n| n as f64), rule.zero),
            Kind::Float(rule) | Kind::Gib(rule) => (rule.floor, rule.ceiling, Zero::Ordinary),
            _ => continue,
        };
        let mut moves = Vec::new();
        moves.extend(floor.map(|bound| (bound - 1.0, bound, "raised", "below")));
        moves.extend(ceiling.map(|bound| (bound + 1.0, bound, "lowered", "above")));
        for (given, bound, how, side) in moves {
            count += 1;
            let loaded = World::new().env(variable.name, &given.to_string()).load();
            assert_eq!(errors(&loaded), [""; 0], "{}", variable.name);
            let warning = loaded
                .findings
                .iter()
                .find(|f| f.code == "clamped" && f.variable.as_deref() == Some(variable.name))
                .unwrap_or_else(|| panic!("{}={given}: no warning", variable.name));
            let expect =
                format!("{} (env): {given} is {side} {bound} and was {how} to {bound}", variable.name);
            assert_eq!((warning.level, warning.text.as_str()), (Level::Warning, expect.as_str()));
            assert_eq!(entry(&loaded, variable.name).value.as_deref(), Some(bound.to_string().as_str()));
        }
        for still in [floor, ceiling].into_iter().flatten().chain((zero == Zero::Off).then_some(0.0)) {
            let loaded = World::new().env(variable.name, &still.to_string()).load();
            assert!(!loaded.findings.iter().any(|f| f.code == "clamped"), "{}={still}", variable.name);
        }
    }
    assert!(count > 60, "{count}");
}

/// The clamps and defaults of the contract, written out once more: name, default, value below, value above.
#[test]
fn figures_of_the_contract() {
    for (name, default, clamps) in [
        ("HELDAR_API_PORT", "8000", ""),
        ("HELDAR_RTSP_PORT", "8554", ""),
        ("HELDAR_WEBRTC_UDP_PORT", "8189", ""),
        ("HELDAR_DB_MAX_CONNECTIONS", "16", "2..256"),
        ("HELDAR_MAX_DB_GB", "4", ""),
        ("HELDAR_DEFAULT_SEGMENT_SECONDS", "60", "2..3600"),
        ("HELDAR_DEFAULT_RETENTION_HOURS", "24", "at least 1"),
        ("HELDAR_DEFAULT_CAMERA_QUOTA_GB", "0", ""),
        ("HELDAR_DEFAULT_PRE_ROLL_SECONDS", "10", "0..300"),
        ("HELDAR_DEFAULT_POST_ROLL_SECONDS", "30", "0..3600"),
        ("HELDAR_PREROLL_MEMORY_MB", "512", "at least 16"),
        ("HELDAR_SYNC_INTERVAL_S", "5", "at least 1"),
        ("HELDAR_FRAGMENT_MS", "1000", "200..4000"),
        ("HELDAR_STREAM_STALL_S", "10", "at least 3"),
        ("HELDAR_OFFLINE_DEBOUNCE_S", "10", "at least 0"),
        ("HELDAR_SCHEDULE_CHECK_INTERVAL_S", "30", "at least 5"),
        ("HELDAR_BACKUP_SCHEDULER_INTERVAL_S", "60", "at least 5"),
        ("HELDAR_HEALTH_INTERVAL_S", "15", "at least 5"),
        ("HELDAR_RETENTION_INTERVAL_S", "300", "at least 30"),
        ("HELDAR_MAX_RECORDINGS_GB", "20", ""),
        ("HELDAR_MIN_FREE_DISK_GB", "5", ""),
        ("HELDAR_DETECTION_RETENTION_HOURS", "168", "at least 1"),
        ("HELDAR_AUDIT_RETENTION_DAYS", "365", "at least 1"),
        ("HELDAR_SNAPSHOT_RETENTION_HOURS", "168", ""),
        ("HELDAR_PLAYBACK_SESSION_TTL_MINUTES", "60", "at least 1"),
        ("HELDAR_MAX_PLAYBACK_SECONDS", "7200", "at least 1"),
        ("HELDAR_MAX_CLIP_SECONDS", "3600", "at least 1"),
        ("HELDAR_CLIP_RETENTION_HOURS", "48", ""),
        ("HELDAR_MEDIA_JOB_CONCURRENCY", "3", "1..64"),
        ("HELDAR_LIVEVIEW_TOKEN_TTL_SECS", "3600", "at least 1"),
        ("HELDAR_LIVE_REAPER_INTERVAL_S", "15", "0, else at least 2"),
        ("HELDAR_LIVE_IDLE_CLOSE_SECS", "60", ""),
        ("HELDAR_ANR_INTERVAL_S", "300", "at least 10"),
        ("HELDAR_ANR_MAX_GAP_HOURS", "24", "at least 1"),
        ("HELDAR_ANR_MAX_ATTEMPTS", "3", "at least 1"),
        ("HELDAR_BACKUP_JOB_TIMEOUT_S", "3600", "at least 30"),
        ("HELDAR_BACKUP_MAX_CONCURRENT_JOBS", "2", "at least 1"),
        ("HELDAR_BACKUP_MAX_RETRIES", "3", "at least 0"),
        ("HELDAR_ARCHIVE_MAX_BYTES", "10737418240", ""),
        ("HELDAR_ARCHIVE_DIR_MAX_BYTES", "53687091200", ""),
        ("HELDAR_ARCHIVE_RETENTION_HOURS", "48", ""),
        ("HELDAR_ONVIF_DISCOVERY_TIMEOUT_MS", "2000", "at least 200"),
        ("HELDAR_ONVIF_REQUEST_TIMEOUT_MS", "5000", "at least 500"),
        ("HELDAR_ISAPI_REQUEST_TIMEOUT_MS", "8000", "at least 500"),
        ("HELDAR_NATIVE_ANPR_POLL_MS", "1000", "at least 250"),
        ("HELDAR_CAMERA_EVENTS_REARM_SECS", "10", "at least 1"),
        ("HELDAR_SMART_CHECK_INTERVAL_S", "300", "at least 30"),
        ("HELDAR_READYZ_MIN_RECORDING_PERCENT", "0", "at most 100"),
        ("HELDAR_HTTP_MAX_CONNECTIONS", "4096", "at least 64"),
        ("HELDAR_SESSION_TTL_HOURS", "12", "at least 1"),
        ("HELDAR_SESSION_IDLE_TIMEOUT_MIN", "0", ""),
        ("HELDAR_SESSION_MAX_LIFETIME_HOURS", "0", ""),
        ("HELDAR_LOGIN_MAX_FAILURES", "5", ""),
        ("HELDAR_LOGIN_LOCKOUT_MIN", "15", ""),
        ("HELDAR_PASSWORD_MIN_LENGTH", "8", "at least 8"),
        ("HELDAR_SHARE_MAX_HOURS", "168", ""),
        ("HELDAR_DB_BACKUP_INTERVAL_HOURS", "24", "at least 1"),
        ("HELDAR_DB_BACKUP_KEEP", "14", "at least 1"),
        ("HELDAR_CP_REGISTER_INTERVAL_S", "300", "at least 1"),
        ("HELDAR_RECORDER_ENABLED", "true", ""),
        ("HELDAR_DEFAULT_RECORD_AUDIO", "false", ""),
        ("HELDAR_AUDIT_READS", "true", ""),
        ("HELDAR_AUTH_ENABLED", "false", ""),
        ("HELDAR_ALLOW_OPEN", "false", ""),
        ("HELDAR_TLS", "off", ""),
        ("HELDAR_LOG", "info,heldar_core=debug", ""),
        ("HELDAR_LOG_FORMAT", "text", ""),
        ("HELDAR_DATA_DIR", "./data", ""),
    ] {
        let variable = find(name).unwrap_or_else(|| panic!("{name}"));
        assert_eq!(variable.preset.text(), Some(default), "{name}");
        assert_eq!(variable.kind.clamp(), clamps, "{name}");
    }
}

#[test]
fn every_variable_of_the_contract_is_known() {
    let names = include_str!("names.txt").lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let listed: Vec<&str> = names.collect();
    let missing: Vec<&&str> = listed.iter().filter(|name| find(name).is_none()).collect();
    assert!(missing.is_empty(), "{missing:?}");
    let extra: Vec<&str> = all().map(|v| v.name).filter(|name| !listed.contains(name)).collect();
    assert!(extra.is_empty(), "{extra:?}");
}

#[test]
fn defaults() {
    let settings = World::new().settings();
    assert_eq!(settings.api.bind.to_string(), "127.0.0.1");
    assert_eq!((settings.api.port, settings.api.max_connections), (8000, 4096));
    assert!(
        matches!(&settings.api.cors, CorsPolicy::List(list) if list[0].as_str() == "http://localhost:5173")
    );
    assert_eq!(settings.storage.recordings_dir.to_str(), Some("./data/recordings"));
    assert_eq!(settings.storage.clips_dir.to_str(), Some("./data/clips"));
    assert_eq!(settings.storage.snapshots_dir.to_str(), Some("./data/snapshots"));
    assert_eq!(
        (settings.snapshots.enabled, settings.snapshots.retention),
        (true, Some(Micros::from_hours(168)))
    );
    assert_eq!(settings.database.target, DatabaseTarget::Sqlite("./data/heldar.db".into()));
    assert_eq!(settings.database.max_bytes, Some(4 << 30));
    assert_eq!(settings.recorder.fragment, Micros::from_millis(1000));
    assert_eq!(settings.recorder.sync_interval, Micros::from_secs(5));
    assert_eq!(settings.recorder.stall, Micros::from_secs(10));
    assert_eq!(settings.cameras.segment_seconds, 60);
    assert_eq!(settings.cameras.quota_bytes, None);
    assert_eq!(settings.retention.max_recordings_bytes, 20 << 30);
    assert_eq!(settings.retention.min_free_bytes, 5 << 30);
    assert_eq!(settings.audit.retention, Micros::from_hours(365 * 24));
    assert_eq!(settings.playback.session_ttl, Micros::from_secs(3600));
    assert_eq!(settings.clips.retention, Some(Micros::from_hours(48)));
    assert_eq!(settings.health.min_recording_percent, None);
    assert_eq!(settings.time_zone, ZoneSetting::System);
    assert!(settings.secrets.current.is_none() && settings.site_id.is_none());
}

#[test]
fn set_values_reach_their_settings() {
    let settings = World::new()
        .env("HELDAR_DATA_DIR", "/srv/a b%20?c")
        .env("HELDAR_CLIPS_DIR", "/srv/clips")
        .env("HELDAR_SNAPSHOTS_DIR", "/srv/pictures")
        .env("HELDAR_SNAPSHOT_SCHEDULER_ENABLED", "false")
        .env("HELDAR_SNAPSHOT_RETENTION_HOURS", "0")
        .env("HELDAR_MAX_DB_GB", "-1")
        .env("HELDAR_CLIP_RETENTION_HOURS", "0")
        .env("HELDAR_PLAYBACK_SESSION_TTL_MINUTES", "1.5")
        .env("HELDAR_MAX_PLAYBACK_SECONDS", "90.25")
        .env("HELDAR_DEFAULT_CAMERA_QUOTA_GB", "0.5")
        .env("HELDAR_READYZ_MIN_RECORDING_PERCENT", "99.5")
        .env("HELDAR_PUBLIC_URL", "https://NVR.example:8443/base")
        .env("HELDAR_PUBLIC_BASE_URL", "https://nvr.overlay")
        .env("HELDAR_SECRET_KEY", common::KEY)
        .env("HELDAR_EGRESS_DENY", "10.0.0.0/8, 192.0.2.1")
        .env("HELDAR_LOG_FORMAT", "JSON")
        .env("TZ", "Europe/Berlin")
        .env("HELDAR_SITE_ID", " yard ")
        .settings();
    assert_eq!(settings.database.target, DatabaseTarget::Sqlite("/srv/a b%20?c/heldar.db".into()));
    assert_eq!(settings.storage.recordings_dir.to_str(), Some("/srv/a b%20?c/recordings"));
    assert_eq!(settings.storage.clips_dir.to_str(), Some("/srv/clips"));
    assert_eq!(settings.storage.snapshots_dir.to_str(), Some("/srv/pictures"));
    assert_eq!((settings.snapshots.enabled, settings.snapshots.retention), (false, None));
    assert_eq!(settings.database.max_bytes, None);
    assert_eq!(settings.clips.retention, None);
    assert_eq!(settings.playback.session_ttl, Micros::from_secs(90));
    assert_eq!(settings.playback.max_window, Micros::from_millis(90_250));
    assert_eq!(settings.cameras.quota_bytes, Some(1 << 29));
    assert_eq!(settings.health.min_recording_percent, Some(99.5));
    assert_eq!(settings.api.public_url.unwrap().as_str(), "https://nvr.example:8443/base");
    let own: Vec<&str> = settings.api.own_origins.iter().map(|o| o.as_str()).collect();
    assert_eq!(own, ["https://nvr.example:8443", "https://nvr.overlay"]);
    assert_eq!(settings.secrets.current.unwrap().expose()[31], 0x1f);
    assert_eq!(settings.egress.deny.len(), 2);
    assert_eq!(settings.log.format, heldar_config::LogFormat::Json);
    assert!(matches!(settings.time_zone, ZoneSetting::Fixed(_)));
    assert_eq!(settings.site_id.as_deref(), Some("yard"));
}

#[test]
fn a_database_url_wins_over_the_data_folder() {
    let settings = World::new()
        .env("HELDAR_DATA_DIR", "/srv")
        .env("HELDAR_DATABASE_URL", "postgres://u:p@h/d")
        .settings();
    assert_eq!(settings.database.target.engine(), "PostgreSQL");
}
