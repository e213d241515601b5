//! What `heldar doctor` and the API show, and the reference page.

mod common;

use std::collections::BTreeSet;

use common::{KEY, World, entry};
use heldar_config::{Effect, Source, all, reference_page};

#[test]
fn every_variable_that_the_server_looks_at_is_listed_once() {
    let loaded = World::new().load();
    let listed: Vec<&str> = loaded.entries.iter().map(|entry| entry.name.as_str()).collect();
    let expect: Vec<&str> =
        all().filter(|v| matches!(v.effect, Effect::Read | Effect::Refused { .. })).map(|v| v.name).collect();
    assert_eq!(listed, expect);
    assert!(loaded.entries.iter().all(|entry| entry.source == Source::Default && !entry.ignored));
}

#[test]
fn ignored_variables_are_listed_when_set_and_are_never_an_error() {
    let mut seen = BTreeSet::new();
    for variable in all() {
        let Effect::Ignored(why) = variable.effect else { continue };
        if variable.name == "HELDAR_REMOTE_RENDEZVOUS_URL" {
            continue; // Counts as exposure, which is tested with the posture.
        }
        seen.insert(variable.name);
        for world in [
            World::new().env(variable.name, "n0nsense"),
            World::new().file("heldar.toml", &format!("{} = 'n0nsense'", variable.key())),
            World::new().args(&[&format!("{}=n0nsense", variable.flag())]),
        ] {
            let loaded = world.load();
            assert!(loaded.settings.is_ok(), "{}", variable.name);
            let entry = entry(&loaded, variable.name);
            assert_eq!((entry.value.as_deref(), entry.ignored), (Some("n0nsense"), true));
            assert_eq!(entry.note.as_deref(), Some(why));
        }
    }
    assert_eq!(seen.len(), 11);
}

#[test]
fn values_in_force_are_shown() {
    let loaded = World::new()
        .env("HELDAR_DATA_DIR", "/srv")
        .env("HELDAR_CLIPS_DIR", "/clips")
        .env("HELDAR_MACHINE_AUTH", "TRUE")
        .env("HELDAR_RECORDER_ENABLED", "No")
        .env("HELDAR_FRAGMENT_MS", "9000")
        .env("HELDAR_SECRET_KEY", KEY)
        .load();
    for (name, value) in [
        ("HELDAR_DATA_DIR", "/srv"),
        ("HELDAR_RECORDINGS_DIR", "/srv/recordings"),
        ("HELDAR_CLIPS_DIR", "/clips"),
        ("HELDAR_DATABASE_URL", "sqlite:///srv/heldar.db"),
        ("HELDAR_MACHINE_AUTH", "enforce"),
        ("HELDAR_INGEST_PROVENANCE", "warn"),
        ("HELDAR_RECORDER_ENABLED", "false"),
        ("HELDAR_FRAGMENT_MS", "4000"),
        ("HELDAR_SECRET_KEY", "***"),
        ("HELDAR_API_HOST", "127.0.0.1"),
        ("HELDAR_CORS_ORIGINS", "http://localhost:5173"),
        ("HELDAR_MAX_DB_GB", "4"),
    ] {
        assert_eq!(entry(&loaded, name).value.as_deref(), Some(value), "{name}");
    }
    assert_eq!(entry(&loaded, "HELDAR_DATABASE_URL").note.as_deref(), Some("SQLite"));
    assert!(entry(&loaded, "HELDAR_API_HOST").note.as_ref().unwrap().contains("HELDAR_AUTH_ENABLED=true"));
    assert_eq!(entry(&loaded, "HELDAR_CONFIG").value, None);
    let loaded = World::new().file("/etc/heldar/heldar.toml", "").load();
    assert_eq!(entry(&loaded, "HELDAR_CONFIG").value.as_deref(), Some("/etc/heldar/heldar.toml"));
}

#[test]
fn entries_are_json_of_the_contract() {
    let mut loaded = World::new().file("heldar.toml", "max_recordings_gb = 7").load();
    let at = loaded.entries.iter().position(|entry| entry.name == "HELDAR_MAX_RECORDINGS_GB").unwrap();
    assert_eq!(
        serde_json::to_value(&loaded.entries[at]).unwrap(),
        serde_json::json!({
            "name": "HELDAR_MAX_RECORDINGS_GB", "value": "7", "source": "heldar.toml:1", "default": "20",
            "secret": false, "ignored": false,
        })
    );
    loaded.entries[at].overridden("8".to_owned());
    let json = serde_json::to_value(&loaded.entries[at]).unwrap();
    assert_eq!((&json["value"], &json["source"]), (&"8".into(), &"setting".into()));
}

/// The checked-in page is the generated one. `UPDATE_GOLDEN=1` writes it.
#[test]
fn the_reference_page_is_up_to_date() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/reference/config.md");
    let page = reference_page();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
        std::fs::write(path, &page).unwrap();
    }
    let golden = std::fs::read_to_string(path).unwrap_or_default();
    assert!(golden == page, "docs/reference/config.md is not what the table says: run with UPDATE_GOLDEN=1");
    for variable in all() {
        assert_eq!(page.matches(&format!("\n| `{}` |", variable.name)).count(), 1, "{}", variable.name);
    }
}
