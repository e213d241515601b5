//! No secret in anything that can be printed.

mod common;

use common::{KEY, World, entry, errors, finding};
use heldar_config::{Effect, Kind, Loaded, Secrecy, StartErrors, Variable, all};
use proptest::prelude::*;

/// Everything that a load can print.
fn printed(loaded: &Loaded) -> String {
    let texts: String = match &loaded.settings {
        Ok(settings) => format!("{settings:?}"),
        Err(StartErrors(errors)) => errors.iter().map(|e| format!("{e}\n{e:?}\n")).collect(),
    };
    let json = serde_json::to_string(&(&loaded.entries, &loaded.findings)).expect("plain data");
    let errors = loaded
        .settings
        .as_ref()
        .err()
        .map(|e| serde_json::to_string(e).expect("plain data") + &e.to_string());
    format!("{texts}\n{loaded:?}\n{json}\n{errors:?}")
}

fn check(world: World, secret: &str) {
    let printed = printed(&world.load());
    assert!(!printed.contains(secret), "{secret} in {printed}");
}

fn secrets() -> impl Iterator<Item = &'static Variable> {
    all().filter(|variable| variable.secrecy == Secrecy::Secret)
}

/// Values of the right and the wrong form, and what must not be seen of them.
fn values(kind: Kind) -> Vec<(&'static str, &'static str)> {
    match kind {
        Kind::Key => vec![(KEY, "AAECAwQF"), ("hunter2hunter2", "hunter2"), ("aHVudGVyMg==", "aHVudGVyMg")],
        Kind::Database => vec![
            ("postgres://heldar:hunter2@h/d", "hunter2"),
            ("postgres://heldar:hunter2@h:port/d", "hunter2"),
            ("mysql://heldar:hunter2@h/d", "hunter2"),
            ("hunter2", "hunter2"),
        ],
        _ => vec![("hunter2", "hunter2"), ("hunter2\u{1b}[0m", "hunter2")],
    }
}

#[test]
fn secrets_are_masked_from_every_source() {
    let mut count = 0;
    for variable in secrets() {
        for (value, secret) in values(variable.kind) {
            count += 1;
            let name = variable.name;
            check(World::new().env(name, value), secret);
            check(World::new().file(".env", &format!("{name}='{value}'")), secret);
            check(World::new().file(".env", &format!("{name}='{value}")), secret);
            check(World::new().env(&format!("{name}_FILE"), "/s").file("/s", value), secret);
            check(World::new().env(&format!("{name}_FILE"), "/s").env(name, value).file("/s", value), secret);
            // A misspelt name, which nobody knows to be a secret.
            check(World::new().env(&format!("{name}_"), value), secret);
            for line in [
                format!("{} = '{value}'", variable.key()),
                format!("{}x = '{value}'", variable.key()),
                format!("{} = {value}", variable.key()),
                format!("{} = ['{value}']", variable.key()),
                format!("{} = '{value}'\n{} = '{value}'", variable.key(), variable.key()),
            ] {
                check(World::new().file("heldar.toml", &line), secret);
            }
            for args in [
                vec![variable.flag(), value.to_owned()],
                vec![format!("{}={value}", variable.flag())],
                vec![format!("{}x", variable.flag()), value.to_owned()],
                vec![format!("{}x={value}", variable.flag())],
                vec![format!("{}=", variable.flag()), value.to_owned()],
                vec![value.to_owned()],
            ] {
                let args: Vec<&str> = args.iter().map(String::as_str).collect();
                check(World::new().args(&args), secret);
            }
        }
    }
    assert!(count > 20, "{count}");
}

#[test]
fn secrets_show_as_stars() {
    for variable in secrets().filter(|v| v.effect == Effect::Read) {
        let value = values(variable.kind)[0].0;
        let loaded = World::new().env(variable.name, value).load();
        let entry = entry(&loaded, variable.name);
        assert_eq!((entry.value.as_deref(), entry.secret), (Some("***"), true), "{}", variable.name);
    }
}

#[test]
fn userinfo_of_addresses_is_masked() {
    for variable in all().filter(|v| matches!(v.kind, Kind::Url(_) | Kind::UrlList(_) | Kind::Origins)) {
        for value in ["https://u:hunter2@h/x", "https://u:hunter2/2@h", "u:hunter2@h", "ftp://u:hunter2@h"] {
            let loaded = World::new().env(variable.name, value).load();
            let printed = printed(&loaded);
            assert!(!printed.contains("hunter2"), "{}={value}: {printed}", variable.name);
        }
    }
    let loaded = World::new().env("HELDAR_MEDIAMTX_API_URL", "http://u:hunter2@h").load();
    assert_eq!(entry(&loaded, "HELDAR_MEDIAMTX_API_URL").value.as_deref(), Some("http://***@h"));
}

#[test]
fn a_value_cannot_forge_a_line_of_the_log() {
    let errors = World::new().env("HELDAR_API_PORT", "1\nHELDAR_AUTH_ENABLED=true (env)").errors();
    assert!(errors.len() == 1 && !errors[0].contains('\n'), "{errors:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the secret and wherever it stands, nothing of it is seen, and nothing panics.
    #[test]
    fn no_secret_leaks(pick: prop::sample::Index, body in "[!-~]{12,40}", place in 0u8..6) {
        let secret = format!("s3cr3t{body}");
        let all: Vec<&Variable> = secrets().collect();
        let variable = pick.get(&all);
        let name = variable.name;
        let world = match place {
            0 => World::new().env(name, &secret),
            1 => World::new().args(&[&variable.flag(), &secret]),
            2 => World::new().file(".env", &format!("{name}={secret}")),
            3 => World::new().file("heldar.toml", &format!("{} = \"{secret}\"", variable.key())),
            4 => World::new().env(&format!("{name}_FILE"), "/s").open_file("/s", secret.as_bytes()),
            _ => World::new().env(&format!("{name}X"), &secret),
        };
        let printed = printed(&world.load());
        prop_assert!(!printed.contains("s3cr3t"), "{printed}");
    }

    /// Random texts for random variables from random sources: an answer, never a panic.
    #[test]
    fn no_input_panics(
        picks in prop::collection::vec((any::<prop::sample::Index>(), "\\PC{0,20}|[0-9.,:/a-z-]{0,12}"), 0..8),
        dotenv in "(HELDAR_[A-Z_]{1,8}=)?\\PC{0,30}",
        toml in "([a-z_]{1,8} ?= ?)?[^\u{0}]{0,30}",
        args in prop::collection::vec("(--[a-z-]{0,12}=?)?\\PC{0,10}", 0..4),
    ) {
        let variables: Vec<&Variable> = all().collect();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut world = World::new().args(&args).file(".env", &dotenv).file("heldar.toml", &toml);
        for (pick, text) in &picks {
            world = world.env(pick.get(&variables).name, text);
        }
        let _printed = printed(&world.load());
    }
}

#[test]
fn workers_and_their_key() {
    let key = format!("vok_{}", "0123456789abcdef".repeat(4));
    let world = || {
        let workers = "auth_enabled = true\nworkers = ['objects=heldar-worker objects']";
        World::new().file("heldar.toml", workers)
    };
    let settings = world()
        .file("/run/key", &format!("{key}\n"))
        .env("HELDAR_WORKER_API_KEY_FILE", "/run/key")
        .settings();
    assert_eq!(settings.workers.commands[0].arguments, ["objects"]);
    assert_eq!(settings.workers.api_key.unwrap().expose(), &key);

    // What leaves workers without a key, and a key without workers.
    assert!(finding(&world().load(), "workers_without_key").unwrap().text.contains("ai:ingest"));
    let off = World::new().env("HELDAR_WORKERS", "a=b").env("HELDAR_WORKER_API_KEY", &key).load();
    assert!(finding(&off, "no_effect").unwrap().text.ends_with("access control is off"));
    let none = World::new().env("HELDAR_AUTH_ENABLED", "on").env("HELDAR_WORKER_API_KEY", &key).load();
    assert!(finding(&none, "no_effect").unwrap().text.ends_with("HELDAR_WORKERS is not set"));

    // Neither a key that cannot be one nor a key among the arguments is shown.
    for (name, value) in [("HELDAR_WORKER_API_KEY", "vok_a\nb"), ("HELDAR_WORKERS", "a=b --api-key vok_ab")] {
        let loaded = world().env(name, value).load();
        let errors = errors(&loaded);
        assert!(errors.len() == 1 && !errors[0].contains("vok_"), "{errors:?}");
        assert!(!format!("{:?}", loaded.entries).contains("vok_"));
    }
}
