//! The real binary with access control on: its first administrator, the commands that manage people beside it, the key of
//! its secrets, and that no credential leaves it.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod served;

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use heldar_testkit::{PostgresCluster, Stop};
use serde_json::{Value, json};
use served::{SOON, Server, heldar};

const ON: (&str, &str) = ("HELDAR_AUTH_ENABLED", "true");
const KEY_A: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const KEY_B: &str = "Hx4dHBsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=";

/// Runs a command in a folder with a line on its standard input; its status and what it says.
fn run(folder: &Path, variables: &[(&str, &str)], words: &[&str], input: &str) -> (Option<i32>, String) {
    let mut command = heldar(folder);
    command.args(words).envs(variables.iter().copied());
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // A command that takes no input may have ended.
    let _written = child.stdin.take().unwrap().write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8_lossy(&text).into_owned())
}

fn sign_in(server: &Server, username: &str, password: &str) -> (u16, Value) {
    let body = json!({ "username": username, "password": password }).to_string();
    let (status, body) = server.curl(&["--json", body.as_str()], "/api/v1/auth/login");
    (status, serde_json::from_str(&body).unwrap_or_default())
}

fn token(server: &Server, username: &str, password: &str) -> String {
    let (status, body) = sign_in(server, username, password);
    assert_eq!(status, 200, "{body}");
    body["token"].as_str().unwrap().to_owned()
}

fn bearer(token: &str) -> String {
    format!("Authorization: Bearer {token}")
}

/// The token of the link that the log shows.
fn setup_token(log: &str) -> String {
    let link = log.split_once("/#setup=").unwrap().1;
    link.split(|c: char| !c.is_ascii_alphanumeric() && c != '_').next().unwrap().to_owned()
}

#[test]
fn people_are_managed_beside_a_server_and_without_one() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let (status, said) = run(folder, &[ON], &["user", "list"], "");
    assert!(status == Some(1) && said.contains("there is no database at"), "{said}");
    let (status, said) = run(folder, &[ON], &["user", "unlock", "--help"], "");
    assert!(status == Some(0) && said.starts_with("usage:"), "{said}");
    assert!(!folder.join("data").exists(), "asking makes nothing");
    let (status, said) = run(folder, &[ON], &["user", "add", "first"], "long enough");
    assert!(status == Some(1) && said.contains("--role admin"), "{said}");
    let (status, said) = run(folder, &[ON], &["setup-link"], "");
    assert!(status == Some(0) && said.contains("http://localhost:8000/#setup=vst_"), "{said}");
    let link = setup_token(&said);

    let server = Server::start(folder, &[ON]);
    server.said("make the first administrator within the hour");
    assert_eq!(setup_token(&server.log()), link, "it is the same link");
    let set_up = |token: &str| {
        let body =
            json!({ "setup_token": token, "username": "root", "password": "correct horse" }).to_string();
        server.curl(&["--json", body.as_str()], "/api/v1/auth/setup")
    };
    assert_eq!(set_up("vst_0").0, 401);
    let (status, body) = set_up(&link);
    assert_eq!(status, 200, "{body}");
    assert_eq!(set_up(&link).0, 409, "once");
    let (status, said) = run(folder, &[ON], &["setup-link"], "");
    assert!(status == Some(1) && said.contains("set-up is over"), "{said}");

    // What a command changes holds at once in the server that runs.
    let add = ["user", "add", "guard", "--role", "guard", "--display-name", "Night guard"];
    let (status, said) = run(folder, &[ON], &add, "first password\n");
    assert_eq!(status, Some(0), "{said}");
    let guard = token(&server, "Guard", "first password");
    let me = |token: &str| server.curl(&["-H", bearer(token).as_str()], "/api/v1/auth/me").0;
    assert_eq!(me(&guard), 200);
    let (status, said) = run(folder, &[ON], &["user", "list", "--json"], "");
    let people: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((status, people.as_array().unwrap().len()), (Some(0), 2), "{said}");
    assert_eq!(people[0]["display_name"], "Night guard");
    assert_eq!(run(folder, &[ON], &["user", "passwd", "guard"], "second password").0, Some(0));
    assert_eq!(me(&guard), 401, "another password ends what the first one began");
    assert_eq!(sign_in(&server, "guard", "first password").0, 401);
    let guard = token(&server, "guard", "second password");
    for _ in 0..5 {
        assert_eq!(sign_in(&server, "guard", "wrong").0, 401);
    }
    assert_eq!(sign_in(&server, "guard", "second password").0, 401, "locked");
    assert_eq!(run(folder, &[ON], &["user", "unlock", "guard"], "").0, Some(0));
    assert_eq!(sign_in(&server, "guard", "second password").0, 200);
    assert_eq!(run(folder, &[ON], &["user", "disable", "guard"], "").0, Some(0));
    assert_eq!((me(&guard), sign_in(&server, "guard", "second password").0), (401, 401));
    assert_eq!(run(folder, &[ON], &["user", "enable", "guard"], "").0, Some(0));
    assert_eq!(sign_in(&server, "guard", "second password").0, 200);

    for (words, input, expect) in [
        (&["user", "unlock", "nobody"][..], "", 1),
        (&["user", "add", "guard"], "another password", 1),
        (&["user", "add", "x"], "short", 1),
        (&["user", "disable", "root"], "", 1),
        (&["user", "add", "x", "--role", "king"], "long enough", 1),
        (&["user", "add", "x"], "", 2),
        (&["user", "fly"], "", 2),
        (&["setup-link", "now"], "", 2),
    ] {
        let (status, said) = run(folder, &[ON], words, input);
        assert_eq!(status, Some(expect), "{words:?} {said}");
        assert!(!input.is_empty() || !said.is_empty());
        assert!(input.is_empty() || !said.contains(input), "{words:?} repeats the password: {said}");
    }
    let root = bearer(&token(&server, "root", "correct horse"));
    let (_, audit) = server.curl(&["-H", root.as_str()], "/api/v1/audit?action=create_user");
    let audit: Value = serde_json::from_str(&audit).unwrap();
    assert_eq!((&audit[0]["actor"], &audit[0]["after"]["role"]), (&json!("system"), &json!("guard")));
    server.stop();

    // The same without a server.
    let (status, said) = run(folder, &[ON], &["user", "add", "late", "--role", "viewer"], "third password\n");
    assert_eq!(status, Some(0), "{said}");
    let server = Server::start(folder, &[ON]);
    assert_eq!(sign_in(&server, "late", "third password").0, 200);
    assert!(!server.log().contains("make the first administrator"));
    server.stop();
}

#[test]
fn the_configuration_may_name_the_first_administrator() {
    let scratch = tempfile::tempdir().unwrap();
    let named = [
        ON,
        ("HELDAR_BOOTSTRAP_ADMIN_USER", " chief "),
        ("HELDAR_BOOTSTRAP_ADMIN_PASSWORD", "from the environment"),
    ];
    for _ in 0..2 {
        let server = Server::start(scratch.path(), &named);
        let (status, body) = sign_in(&server, "CHIEF", "from the environment");
        assert_eq!((status, &body["user"]["display_name"]), (200, &json!("chief")), "{body}");
        assert!(!server.log().contains("from the environment") && !server.log().contains("#setup="));
        server.stop();
    }
    for (variables, wrong) in [
        (&named[..2], "HELDAR_BOOTSTRAP_ADMIN_USER"),
        (
            &[ON, ("HELDAR_BOOTSTRAP_ADMIN_PASSWORD", "from the environment")][..],
            "HELDAR_BOOTSTRAP_ADMIN_PASSWORD",
        ),
        (&[ON, named[1], ("HELDAR_BOOTSTRAP_ADMIN_PASSWORD", "1234567")], "HELDAR_BOOTSTRAP_ADMIN_PASSWORD"),
    ] {
        let (status, said) = run(scratch.path(), variables, &["serve", "--api-port", "0"], "");
        assert!(status == Some(2) && said.contains(wrong) && !said.contains("1234567"), "{said}");
    }
}

#[test]
fn secrets_are_sealed_anew_with_another_key() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let camera = json!({ "id": "gate", "name": "Gate", "main_stream_url": "rtsp://u:planted@127.0.0.2:9/x" });
    let camera = camera.to_string();
    let state = |server: &Server| server.get("/api/v1/cameras/gate")["main_url_masked"].clone();
    let masked = json!("rtsp://***@127.0.0.2:9/x");

    // First in clear, then sealed with the key of the next start.
    let server = Server::start(folder, &[]);
    assert_eq!(server.curl(&["--json", camera.as_str()], "/api/v1/cameras").0, 201);
    server.stop();
    assert!(holds(folder, "planted"));
    let server = Server::start(folder, &[("HELDAR_SECRET_KEY", KEY_A)]);
    assert_eq!(state(&server), masked);
    server.stop();

    let both = [("HELDAR_SECRET_KEY", KEY_B), ("HELDAR_SECRET_KEY_OLD", KEY_A)];
    let server = Server::start(folder, &both);
    let (status, said) = run(folder, &both, &["rekey-secrets"], "");
    assert!(status == Some(0) && said.contains("secrets are sealed with key"), "{said}");
    let again = run(folder, &both, &["rekey-secrets", "--json"], "");
    let again: Value = serde_json::from_str(&again.1).unwrap();
    // The address of the camera and the key of live tokens.
    assert_eq!(again["values"], 2);
    let audit = server.get("/api/v1/audit?action=rekey_secrets");
    assert_eq!((audit.as_array().unwrap().len(), &audit[0]["detail"]), (2, &again));
    server.stop();
    let server = Server::start(folder, &both[..1]);
    assert_eq!(state(&server), masked);
    server.stop();
    let (status, said) = run(folder, &[("HELDAR_SECRET_KEY", KEY_A)], &["serve", "--api-port", "0"], "");
    assert!(status == Some(2) && said.contains("HELDAR_SECRET_KEY"), "{said}");
    let (status, said) = run(folder, &[("HELDAR_SECRET_KEY_OLD", KEY_B)], &["rekey-secrets"], "");
    assert!(status == Some(1) && said.contains("HELDAR_SECRET_KEY is not set"), "{said}");
}

/// Signs in, asks for things and changes people, as somebody who holds a token.
struct As<'a> {
    server: &'a Server,
    token: String,
}

impl As<'_> {
    fn call(&self, method: &str, path: &str, body: Option<&Value>) -> (u16, Value) {
        let (header, body) = (bearer(&self.token), body.map(Value::to_string));
        let mut arguments = vec!["-X", method, "-H", header.as_str()];
        arguments.extend(body.iter().flat_map(|body| ["--json", body.as_str()]));
        let (status, body) = self.server.curl(&arguments, path);
        (status, serde_json::from_str(&body).unwrap_or_default())
    }

    fn get(&self, path: &str) -> (u16, Value) {
        self.call("GET", path, None)
    }
}

fn enter<'a>(server: &'a Server, username: &str, password: &str) -> As<'a> {
    As { server, token: token(server, username, password) }
}

const ROOT: [(&str, &str); 3] =
    [ON, ("HELDAR_BOOTSTRAP_ADMIN_USER", "root"), ("HELDAR_BOOTSTRAP_ADMIN_PASSWORD", "correct horse")];

#[test]
fn nothing_fails_open_while_the_database_is_away() {
    let cluster = PostgresCluster::start().unwrap();
    let database = cluster.create_database().unwrap();
    let scratch = tempfile::tempdir().unwrap();
    let variables = [&ROOT[..], &[("HELDAR_DATABASE_URL", database.as_str())]].concat();
    let server = Server::start(scratch.path(), &variables);
    let root = enter(&server, "root", "correct horse");
    let new = json!({ "username": "guard", "password": "first password", "role": "guard" });
    let (status, guard_row) = root.call("POST", "/api/v1/users", Some(&new));
    assert_eq!(status, 201, "{guard_row}");
    let path = format!("/api/v1/users/{}", guard_row["id"].as_str().unwrap());
    let guard = enter(&server, "guard", "first password");
    let me = |who: &As| who.get("/api/v1/auth/me").0;

    cluster.stop(Stop::Immediate).unwrap();
    let begun = Instant::now();
    while sign_in(&server, "guard", "first password").0 != 503 {
        assert!(begun.elapsed() < SOON, "{}", server.log());
    }
    let (status, answer) = sign_in(&server, "guard", "wrong");
    assert_eq!(
        (status, &answer["code"]),
        (503, &json!("store_unavailable")),
        "the same as with the right password"
    );
    assert_eq!((me(&root), me(&guard)), (200, 200), "who was signed in stays so");
    let stranger = As { server: &server, token: format!("vok_{}", "0".repeat(64)) };
    assert_eq!(me(&stranger), 401);
    assert_eq!(guard.get("/api/v1/users").0, 403);
    let (status, answer) = root.call("PATCH", &path, Some(&json!({ "role": "admin" })));
    assert_eq!((status, &answer["code"]), (503, &json!("store_unavailable")), "{answer}");
    assert_eq!(guard.get("/api/v1/auth/me").1["role"], "guard", "what is refused is not in force");
    assert_eq!(guard.call("POST", "/api/v1/auth/logout", None).0, 204);
    assert_eq!(me(&guard), 401, "a sign-out holds at once");
    // What the store was not told waits in the spool, whatever becomes of the process.
    let spool = scratch.path().join("data/events.spool");
    let begun = Instant::now();
    while !fs::read(&spool).is_ok_and(|bytes| String::from_utf8_lossy(&bytes).contains(r#""logout""#)) {
        assert!(begun.elapsed() < SOON, "{}", server.log());
    }
    let tokens = [root.token.clone(), guard.token.clone()];
    drop(server);
    cluster.resume().unwrap();
    let server = Server::start(scratch.path(), &variables);
    let [root, guard] = tokens.map(|token| As { server: &server, token });
    assert_eq!((me(&root), me(&guard)), (200, 401));
    let (_, rows) = root.get("/api/v1/audit?action=logout");
    assert_eq!((rows.as_array().unwrap().len(), &rows[0]["target_id"]), (1, &guard_row["id"]));
}

#[test]
fn a_kill_leaves_people_and_their_audit_rows_together() {
    let scratch = tempfile::tempdir().unwrap();
    let mut promised: Vec<String> = Vec::new();
    for round in 0..4 {
        let server = Server::start(scratch.path(), &ROOT);
        let root = enter(&server, "root", "correct horse");
        let process = server.id().to_string();
        let killer = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(700 + 137 * round));
            assert!(Command::new("kill").args(["-KILL", &process]).status().unwrap().success());
        });
        for n in 0.. {
            let name = format!("p{round}x{n}");
            let body = json!({ "username": name, "password": "first password" });
            match root.call("POST", "/api/v1/users", Some(&body)).0 {
                201 => promised.push(name),
                0 => break,
                other => panic!("{other}"),
            }
        }
        killer.join().unwrap();
    }
    let server = Server::start(scratch.path(), &ROOT);
    let root = enter(&server, "root", "correct horse");
    let (_, people) = root.get("/api/v1/users");
    let (_, rows) = root.get("/api/v1/audit?action=create_user&limit=5000");
    let texts = |list: &Value, name: &str| -> Vec<String> {
        let mut texts: Vec<String> =
            list.as_array().unwrap().iter().map(|row| row[name].as_str().unwrap().to_owned()).collect();
        texts.sort_unstable();
        texts
    };
    let names = texts(&people, "username");
    assert!(
        promised.len() >= 4 && promised.iter().all(|name| names.contains(name)),
        "{promised:?} {names:?}"
    );
    let made: Vec<String> = texts(&rows, "target_id");
    let mut ids = texts(&people, "id");
    let first = people.as_array().unwrap().iter().find(|person| person["username"] == "root").unwrap();
    ids.retain(|id| first["id"] != id.as_str());
    assert_eq!(
        made.iter().filter(|id| first["id"] != id.as_str()).collect::<Vec<_>>(),
        ids.iter().collect::<Vec<_>>()
    );
}

/// Whether a file of the data folder holds a text.
fn holds(folder: &Path, text: &str) -> bool {
    let files = fs::read_dir(folder.join("data")).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.is_file()).collect();
    assert!(files.iter().any(|path| path.ends_with("heldar.db")));
    files.iter().any(|path| {
        let bytes = fs::read(path).unwrap();
        bytes.windows(text.len()).any(|window| window == text.as_bytes())
    })
}

#[test]
fn no_credential_leaves_the_server() {
    let scratch = tempfile::tempdir().unwrap();
    let folder = scratch.path();
    let variables = [ON, ("HELDAR_SECRET_KEY", KEY_A), ("HELDAR_LOG", "trace")];
    let server = Server::start(folder, &variables);
    server.said("make the first administrator");
    let link = setup_token(&server.log());
    let body =
        json!({ "setup_token": link, "username": "root", "password": "planted-password-1" }).to_string();
    assert_eq!(server.curl(&["--json", body.as_str()], "/api/v1/auth/setup").0, 200);
    let session = token(&server, "root", "planted-password-1");
    let authorized = bearer(&session);
    let post = |path: &str, body: Value| {
        let body = body.to_string();
        let (status, answer) = server.curl(&["-H", authorized.as_str(), "--json", body.as_str()], path);
        assert!((200..300).contains(&status), "{path} {status} {answer}");
        serde_json::from_str::<Value>(&answer).unwrap_or_default()
    };
    post("/api/v1/users", json!({ "username": "guard", "password": "planted-password-2", "role": "guard" }));
    let key = post("/api/v1/api-keys", json!({ "name": "worker" }));
    let rotated = post(&format!("/api/v1/api-keys/{}/rotate", key["id"].as_str().unwrap()), json!({}));
    post(
        "/api/v1/cameras",
        json!({
            "id": "gate", "name": "Gate", "username": "viewer", "password": "planted-password-3",
            "main_stream_url": "rtsp://cam:planted-password-4@127.0.0.2:9/x?secret=1",
            "sub_stream_url": "rtsp://127.0.0.2:9/y",
        }),
    );
    let live = post("/api/v1/cameras/gate/liveview", json!({}));
    post("/api/v1/cameras/gate/test", json!({}));
    // Wrong ones are no less secret: somebody mistypes the right one.
    assert_eq!(sign_in(&server, "root", "planted-password-5").0, 401);
    assert_eq!(sign_in(&server, "planted-password-6", "x").0, 401);
    for header in
        ["Authorization: Bearer vos_planted7", "X-API-Key: vok_planted8", "Cookie: heldar_session=planted9"]
    {
        assert_eq!(server.curl(&["-H", header], "/api/v1/auth/me").0, 401);
    }
    assert_eq!(server.curl(&[], "/live/hls/cam_gate/index.m3u8?token=planted10").0, 401);
    let ws = live["ws_url"].as_str().unwrap();
    server.curl(&["-H", authorized.as_str()], &ws[ws.find("/live/").unwrap()..]);

    let mut outputs: Vec<(String, String)> = Vec::new();
    for path in [
        "/api/v1/audit?limit=1000",
        "/api/v1/audit/export",
        "/api/v1/events?limit=1000",
        "/api/v1/system",
        "/api/v1/system/config",
        "/api/v1/system/logs?level=debug&limit=2000",
        "/api/v1/cameras",
        "/api/v1/cameras/gate",
        "/api/v1/health/cameras",
        "/api/v1/users",
        "/api/v1/api-keys",
        "/api/v1/auth/me",
        "/api/v1/auth/sessions",
        "/api/v1/live/sessions",
        "/api/v1/openapi.json",
        "/metrics",
    ] {
        let (status, body) = server.curl(&["-H", authorized.as_str()], path);
        assert_eq!(status, 200, "{path} {body}");
        outputs.push((path.to_owned(), body));
    }
    let cmdline = fs::read(format!("/proc/{}/cmdline", server.id())).unwrap();
    outputs.push(("arguments".to_owned(), String::from_utf8_lossy(&cmdline).into_owned()));
    for words in [&["doctor", "--json"][..], &["user", "list", "--json"], &["fsck", "--json"]] {
        outputs.push((words.join(" "), run(folder, &variables, words, "").1));
    }
    let log = server.log();
    server.stop();
    // The one-time link is meant to be read there, and is used up.
    outputs.push(("log".to_owned(), log.replace(&link, "")));
    let mut planted: Vec<String> = (1..=6).map(|n| format!("planted-password-{n}")).collect();
    planted.extend((7..=10).map(|n| format!("planted{n}")));
    planted.extend([session, KEY_A.to_owned()]);
    for (value, field) in [(&key, "key"), (&rotated, "key"), (&live, "token")] {
        planted.push(value[field].as_str().unwrap().to_owned());
    }
    for secret in &planted {
        for (place, text) in &outputs {
            let around = text.find(secret.as_str()).map(|at| {
                let from = at.saturating_sub(200);
                text.get(from..at).unwrap_or_default().to_owned()
            });
            assert_eq!(around, None, "{secret} in {place}");
        }
        assert!(!holds(folder, secret), "{secret} in the data folder");
    }
}
