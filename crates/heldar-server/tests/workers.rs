//! Workers that the real binary runs beside itself: shell scripts that say what they find and how they are treated.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

mod served;

use served::{SOON, Server, heldar};

/// A script in the folder.
fn script(folder: &Path, name: &str, text: &str) {
    let path = folder.join(name);
    fs::write(&path, format!("#!/bin/sh\n{text}")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// Waits until a file is there, whole: its last line ends.
fn written(path: &Path) -> String {
    let begun = Instant::now();
    loop {
        match fs::read_to_string(path) {
            Ok(text) if text.ends_with('\n') => return text,
            _ => assert!(begun.elapsed() < SOON, "{}", path.display()),
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Whether a process runs; one that nobody has waited for does not.
fn runs(id: &str) -> bool {
    let stat = fs::read_to_string(format!("/proc/{}/stat", id.trim())).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

fn gone(id: &str) {
    let begun = Instant::now();
    while runs(id) {
        assert!(begun.elapsed() < SOON, "{id} still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_worker_is_started_again_after_a_crash_and_stopped_while_the_server_still_answers() {
    let scratch = tempfile::tempdir().unwrap();
    script(
        scratch.path(),
        "worker.sh",
        r#"
        if ! [ -e crashed ]; then
            echo "first words of $HELDAR_AI_WORKER_ID, with $#: $2"
            echo "2026-01-01 00:00:00 ERROR about to crash" >&2
            touch crashed
            exit 3
        fi
        # On its way out it asks for something, as workers do that give their tasks back.
        trap 'curl --silent --noproxy "*" -o /dev/null -w "%{http_code}\n" "$HELDAR_API/api/v1/cameras" >bye; exit 0' TERM
        sleep 600 &
        echo $! >helper
        echo "$HELDAR_API" >address
        wait
        "#,
    );
    let variables = [("HELDAR_WORKERS", "crasher = ./worker.sh -x 'two words'")];
    let server = Server::start(scratch.path(), &variables);
    server.said("first words of ");
    let address = written(&scratch.path().join("address"));
    assert_eq!(address.trim(), format!("http://127.0.0.1:{}", server.port));
    let log = server.log();
    let line =
        |text: &str| log.lines().find(|line| line.contains(text)).unwrap_or_else(|| panic!("{text}: {log}"));
    assert!(line("first words of ").ends_with(r#":crasher, with 2: two words worker="crasher""#), "{log}");
    assert!(line("first words of ").contains(" INFO heldar::worker: "), "{log}");
    assert!(line("00 ERROR about to crash").contains("ERROR heldar::worker: "), "{log}");
    let again = line("it is started again in 1 s");
    assert!(again.contains("WARN heldar::worker: ended (exit status: 3)"), "{log}");
    assert_eq!(log.matches("heldar::worker: started").count(), 2, "{log}");

    // The API shows the same lines.
    let shown = server.get("/api/v1/system/logs?limit=1000").to_string();
    assert!(shown.contains("first words of "), "{shown}");

    let helper = written(&scratch.path().join("helper"));
    assert!(runs(&helper));
    server.stop();
    assert_eq!(written(&scratch.path().join("bye")), "200\n");
    assert!(!runs(&helper), "what the worker started has ended with it");
}

#[test]
fn a_key_is_in_the_environment_and_nowhere_else() {
    const SECRET: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    let scratch = tempfile::tempdir().unwrap();
    let key = format!("vok_{}", "0123456789abcdef".repeat(4));
    fs::write(scratch.path().join("key"), format!("{key}\n")).unwrap();
    fs::set_permissions(scratch.path().join("key"), fs::Permissions::from_mode(0o600)).unwrap();
    script(
        scratch.path(),
        "worker.sh",
        r#"
        trap '' TERM
        echo "careless with $HELDAR_API_KEY"
        i=0; while [ $i -lt 1000 ]; do echo "line $i"; i=$((i+1)); done
        env >environment
        tr '\0' ' ' </proc/$$/cmdline >arguments; echo >>arguments
        echo $$ >id
        while :; do sleep 600; done
        "#,
    );
    let variables = [
        ("HELDAR_AUTH_ENABLED", "true"),
        ("HELDAR_SECRET_KEY", SECRET),
        ("HELDAR_WORKER_API_KEY_FILE", "key"),
        ("HELDAR_WORKERS", "deaf=./worker.sh"),
        ("HELDAR_AI_POLL_INTERVAL", "7"),
    ];
    let server = Server::start(scratch.path(), &variables);
    let id = written(&scratch.path().join("id"));
    server.said("careless with ***");
    let environment = fs::read_to_string(scratch.path().join("environment")).unwrap();
    assert!(environment.contains(&format!("HELDAR_API_KEY={key}\n")), "{environment}");
    assert!(environment.contains("HELDAR_AI_POLL_INTERVAL=7\n"), "{environment}");
    for other in ["HELDAR_SECRET_KEY", "HELDAR_WORKER_API_KEY", "HELDAR_AUTH_ENABLED"] {
        assert!(!environment.contains(other), "{environment}");
    }
    let arguments = fs::read_to_string(scratch.path().join("arguments")).unwrap();
    assert!(arguments.contains("./worker.sh") && !arguments.contains(&key), "{arguments}");

    // It does not end when it is told to. What it wrote in a rush is not in the log.
    server.signal("-TERM");
    server.said("killed, since it did not end");
    gone(&id);
    server.said("lines were left out");
    let log = server.log();
    assert!(log.contains("line 100 ") && !log.contains("line 999 "), "{log}");
    assert!(!log.contains(&key), "{log}");
    server.stop();
}

#[test]
fn a_worker_that_cannot_be_started_is_said_and_stops_nothing() {
    let scratch = tempfile::tempdir().unwrap();
    let variables = [("HELDAR_WORKERS", "absent=no-such-program; broken=./broken.sh; well=sleep 600")];
    fs::write(scratch.path().join("broken.sh"), "#!/no/such/shell\n").unwrap();
    fs::set_permissions(scratch.path().join("broken.sh"), fs::Permissions::from_mode(0o755)).unwrap();

    let mut doctor = heldar(scratch.path());
    doctor.args(["doctor", "--json", "--api-port", "0"]).envs(variables).stdout(Stdio::piped());
    let report: Value = serde_json::from_slice(&doctor.output().unwrap().stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    let found: Vec<&str> = findings
        .iter()
        .filter(|finding| finding["code"] == "worker_not_found")
        .map(|finding| finding["text"].as_str().unwrap())
        .collect();
    assert!(found.len() == 1 && found[0].contains("absent") && found[0].contains("PATH"), "{found:?}");

    let server = Server::start(scratch.path(), &variables);
    server.said("cannot be started: there is no `no-such-program` in PATH; install it");
    server.said("broken.sh cannot be run");
    assert!(server.get("/api/v1/system")["version"].is_string());
    server.stop();
}

#[test]
fn a_server_that_is_killed_takes_its_workers_with_it() {
    let scratch = tempfile::tempdir().unwrap();
    script(scratch.path(), "worker.sh", "echo $$ >id\nexec sleep 600\n");
    let server = Server::start(scratch.path(), &[("HELDAR_WORKERS", "w=./worker.sh")]);
    let id = written(&scratch.path().join("id"));
    assert!(runs(&id));
    server.signal("-KILL");
    gone(&id);
}
