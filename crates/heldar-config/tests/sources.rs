//! Precedence, the settings file, files of secrets, unknown names.

mod common;

use common::{KEY, World, entry, errors, finding};
use heldar_config::{CorsPolicy, Level};

/// Who wins for the site id, and which source is shown.
fn check(world: World, value: Option<&str>, source: &str) {
    let loaded = world.load();
    let entry = entry(&loaded, "HELDAR_SITE_ID");
    assert_eq!(
        (entry.value.as_deref(), entry.source.to_string().as_str()),
        (value, source),
        "{:?}",
        errors(&loaded)
    );
    if let Ok(settings) = &loaded.settings {
        assert_eq!(settings.site_id.as_deref(), value);
    }
}

#[test]
fn precedence() {
    let file = || World::new().file("heldar.toml", "\n\nsite_id = 'file'");
    check(World::new(), None, "default");
    check(file(), Some("file"), "heldar.toml:3");
    let dotenv = || file().file(".env", "HELDAR_SITE_ID=dotenv");
    check(dotenv(), Some("dotenv"), ".env");
    check(dotenv().env("HELDAR_SITE_ID", "env"), Some("env"), "env");
    check(dotenv().env("HELDAR_SITE_ID", "env").args(&["--site-id", "flag"]), Some("flag"), "flag");
    check(dotenv().args(&["--site-id=flag"]), Some("flag"), "flag");
}

#[test]
fn blank_is_unset_in_every_source() {
    let file = || World::new().file("heldar.toml", "site_id = 'file'");
    check(file().env("HELDAR_SITE_ID", " "), Some("file"), "heldar.toml:1");
    check(file().file(".env", "HELDAR_SITE_ID="), Some("file"), "heldar.toml:1");
    check(file().args(&["--site-id="]), Some("file"), "heldar.toml:1");
    check(World::new().file("heldar.toml", "site_id = ''"), None, "default");
    for name in
        ["HELDAR_API_PORT", "HELDAR_AUTH_ENABLED", "HELDAR_TLS", "HELDAR_SECRET_KEY", "HELDAR_PUBLIC_URL"]
    {
        let loaded = World::new().env(name, "").load();
        assert_eq!(errors(&loaded), [""; 0], "{name}");
        assert_eq!(entry(&loaded, name).source.to_string(), "default", "{name}");
    }
}

#[test]
fn blank_cors_origins_mean_same_origin_only() {
    for world in [
        World::new().env("HELDAR_CORS_ORIGINS", ""),
        World::new().env("HELDAR_CORS_ORIGINS", " ").file("heldar.toml", "cors_origins = '*'"),
        World::new().file("heldar.toml", "cors_origins = []"),
    ] {
        let loaded = world.load();
        assert_eq!(entry(&loaded, "HELDAR_CORS_ORIGINS").value.as_deref(), Some("same origin only"));
        assert_eq!(loaded.settings.unwrap().api.cors, CorsPolicy::SameOrigin);
    }
}

#[test]
fn the_settings_file_is_the_first_of_those_named_and_usual() {
    let both = || {
        World::new()
            .file("heldar.toml", "site_id = 'here'")
            .file("/etc/heldar/heldar.toml", "site_id = 'etc'")
            .file("mine.toml", "site_id = 'mine'")
            .file("other.toml", "site_id = 'other'")
    };
    check(
        World::new().file("/etc/heldar/heldar.toml", "site_id = 'etc'"),
        Some("etc"),
        "/etc/heldar/heldar.toml:1",
    );
    check(both(), Some("here"), "heldar.toml:1");
    check(both().env("HELDAR_CONFIG", "mine.toml"), Some("mine"), "mine.toml:1");
    check(both().file(".env", "HELDAR_CONFIG=mine.toml"), Some("mine"), "mine.toml:1");
    check(
        both().env("HELDAR_CONFIG", "mine.toml").args(&["--config", "other.toml"]),
        Some("other"),
        "other.toml:1",
    );
}

#[test]
fn a_settings_file_that_cannot_be_read_stops_the_start() {
    assert_eq!(
        World::new().env("HELDAR_CONFIG", "gone.toml").file("heldar.toml", "").errors(),
        ["HELDAR_CONFIG=gone.toml (env) names a settings file, but there is no such file"]
    );
    assert_eq!(
        World::new().broken_file("heldar.toml").file("/etc/heldar/heldar.toml", "").errors(),
        ["heldar.toml (heldar.toml:1) is there, but it cannot be read: permission denied"]
    );
    assert_eq!(
        World::new().broken_file(".env").errors(),
        [".env (.env) is there, but it cannot be read: permission denied"]
    );
    assert_eq!(
        World::new().open_file("heldar.toml", b"\xff").errors(),
        ["heldar.toml (heldar.toml:1) is not UTF-8"]
    );
    assert_eq!(World::new().open_file(".env", b"\xff").errors(), [".env (.env) is not UTF-8"]);
    assert_eq!(
        World::new().file(".env", "A=1\nHELDAR_LOG='x\n").errors(),
        [".env line 2 (.env) does not close its quote"]
    );
}

#[test]
fn unknown_names_stop_the_start_in_file_and_flags_and_warn_in_the_environment() {
    assert_eq!(
        World::new().file("heldar.toml", "\nfragmnt_ms = 1").errors(),
        ["fragmnt_ms (heldar.toml:2) is not a known name, the nearest one is fragment_ms"]
    );
    assert_eq!(
        World::new().args(&["--fragmnt-ms", "1"]).errors(),
        ["--fragmnt-ms (flag) is not a known flag, the nearest one is --fragment-ms"]
    );
    for (world, source) in [
        (World::new().env("HELDAR_FRAGMNT_MS", "hunter2"), "env"),
        (World::new().file(".env", "HELDAR_FRAGMNT_MS=hunter2"), ".env"),
    ] {
        let loaded = world.load();
        assert!(loaded.settings.is_ok());
        let warning = finding(&loaded, "unknown_variable").unwrap();
        assert_eq!(warning.level, Level::Warning);
        assert_eq!(
            warning.text,
            format!("HELDAR_FRAGMNT_MS ({source}): no such variable, the nearest one is HELDAR_FRAGMENT_MS")
        );
        let entry = entry(&loaded, "HELDAR_FRAGMNT_MS");
        assert_eq!((entry.value.as_deref(), entry.ignored), (Some("***"), true));
    }
    let loaded = World::new().env("HELDAR_SECRET_KEY_FLIE", "/k").load();
    assert!(finding(&loaded, "unknown_variable").unwrap().text.ends_with("HELDAR_SECRET_KEY_FILE"));
    let loaded = World::new().env("PATH", "/bin").env("FRAGMENT_MS", "1").load();
    assert!(finding(&loaded, "unknown_variable").is_none());
}

#[test]
fn names_of_other_programs_are_known_in_the_environment_only() {
    let loaded = World::new().env("HELDAR_VERSION", "1.2").env("HELDAR_AI_LEASE_TTL", "abc").load();
    assert!(loaded.settings.is_ok() && finding(&loaded, "unknown_variable").is_none());
    assert_eq!(
        entry(&loaded, "HELDAR_VERSION").note.as_deref(),
        Some("read by installers, containers and test runs")
    );
    assert_eq!(World::new().file("heldar.toml", "version = '1'").errors().len(), 1);
}

#[test]
fn a_secret_comes_from_a_file() {
    for (content, found) in [(KEY.to_owned(), true), (format!("{KEY}\n"), true), (format!("{KEY}\r\n"), true)]
    {
        for world in [
            World::new().env("HELDAR_SECRET_KEY_FILE", "/run/key"),
            World::new().file("heldar.toml", "secret_key_file = '/run/key'"),
            World::new().args(&["--secret-key-file", "/run/key"]),
        ] {
            let loaded = world.file("/run/key", &content).load();
            assert!(finding(&loaded, "secret_file_readable").is_none());
            assert_eq!(loaded.settings.unwrap().secrets.current.is_some(), found);
        }
    }
    let settings =
        World::new().env("HELDAR_DATABASE_URL_FILE", "/u").file("/u", "postgres://u:p@h/d\n").settings();
    assert_eq!(settings.database.target.engine(), "PostgreSQL");
}

#[test]
fn a_file_of_a_secret_that_gives_none_stops_the_start() {
    let named = || World::new().env("HELDAR_SECRET_KEY_FILE", "/run/key");
    let prefix = "HELDAR_SECRET_KEY_FILE=/run/key (env) ";
    for (world, problem) in [
        (named(), "names a file, but there is no such file"),
        (named().broken_file("/run/key"), "names a file, but it cannot be read: permission denied"),
        (named().file("/run/key", " \n"), "names a file without a value"),
        (named().open_file("/run/key", b"\xff"), "names a file that is not UTF-8"),
    ] {
        assert_eq!(world.errors(), [format!("{prefix}{problem}")]);
    }
    assert_eq!(
        named().file("/run/key", "short").errors(),
        [
            "HELDAR_SECRET_KEY=*** (env) is not base64 of exactly 32 bytes; accepted: base64 of exactly 32 bytes"
        ]
    );
}

#[test]
fn both_forms_of_a_secret_stop_the_start() {
    let problem = "HELDAR_SECRET_KEY=*** (env) is set, and so is HELDAR_SECRET_KEY_FILE";
    let world = || World::new().env("HELDAR_SECRET_KEY", KEY).file("/run/key", KEY);
    assert_eq!(
        world().env("HELDAR_SECRET_KEY_FILE", "/run/key").errors(),
        [format!("{problem} (env); set one of the two")]
    );
    assert_eq!(
        world().file("heldar.toml", "secret_key_file = '/run/key'").errors(),
        [format!("{problem} (heldar.toml:1); set one of the two")]
    );
    assert!(world().env("HELDAR_SECRET_KEY_FILE", "").load().settings.is_ok());
}

#[test]
fn secrets_that_others_can_read_are_warned_of() {
    for (world, code) in [
        (
            World::new().env("HELDAR_SECRET_KEY_FILE", "/k").open_file("/k", KEY.as_bytes()),
            "secret_file_readable",
        ),
        (
            World::new().open_file("heldar.toml", format!("secret_key='{KEY}'").as_bytes()),
            "secret_file_readable",
        ),
        (
            World::new().open_file(".env", format!("HELDAR_SECRET_KEY={KEY}").as_bytes()),
            "secret_file_readable",
        ),
        (World::new().args(&["--secret-key", KEY]), "secret_on_command_line"),
        (World::new().args(&["--database-url=postgres://u:p@h/d"]), "secret_on_command_line"),
    ] {
        let loaded = world.load();
        assert_eq!(finding(&loaded, code).map(|f| f.level), Some(Level::Warning), "{code}");
    }
    for world in [
        World::new().open_file("heldar.toml", b"site_id = 'x'"),
        World::new().args(&["--database-url", "sqlite://x.db"]),
        World::new().env("HELDAR_SECRET_KEY", KEY),
    ] {
        let loaded = world.load();
        assert!(loaded.settings.is_ok());
        assert!(!loaded.findings.iter().any(|f| f.code.starts_with("secret_")), "{:?}", loaded.findings);
    }
}

#[test]
fn all_errors_are_reported_in_one_go() {
    let got = World::new()
        .args(&["--api-port", "x"])
        .env("HELDAR_FRAGMENT_MS", "soon")
        .env("HELDAR_SECRET_KEY", "short")
        .file(".env", "HELDAR_RECORDER_ENABLED=perhaps")
        .file("heldar.toml", "nonsense_name = 1\nlog_format = 'xml'\n")
        .errors();
    for part in [
        "HELDAR_API_PORT=x (flag) is not a whole number; accepted: a whole number from 0 to 65535",
        "HELDAR_FRAGMENT_MS=soon (env)",
        "HELDAR_SECRET_KEY=*** (env)",
        "HELDAR_RECORDER_ENABLED=perhaps (.env)",
        "nonsense_name (heldar.toml:1)",
        "HELDAR_LOG_FORMAT=xml (heldar.toml:2) is not one of the words; accepted: one of text, json",
    ] {
        assert!(got.iter().any(|error| error.starts_with(part)), "{part}: {got:#?}");
    }
    assert_eq!(got.len(), 6, "{got:#?}");
}

#[cfg(unix)]
#[test]
fn values_that_are_not_utf8_stop_the_start() {
    use std::os::unix::ffi::OsStringExt as _;
    let bytes = std::ffi::OsString::from_vec(vec![0xff]);
    for name in ["HELDAR_CONFIG", "HELDAR_SITE_ID", "HELDAR_SECRET_KEY", "HELDAR_SECRET_KEY_FILE"] {
        let got = World::new().env_os(name, bytes.clone()).errors();
        assert!(got.len() == 1 && got[0].starts_with(&format!("{name} (env) is not UTF-8")), "{got:?}");
    }
    assert!(World::new().env_os("HELDAR_FFMPEG_BIN", bytes).load().settings.is_ok());
}
