//! The real binary over TLS, asked by curl(1): certificates made and given, exchanged on a hangup, seen by the doctor.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

mod served;

use served::{SOON, Server, heldar};

fn doctor(folder: &Path, variables: &[(&str, &str)], port: u16) -> Vec<(String, String)> {
    let mut command = heldar(folder);
    command.args(["doctor", "--json", "--api-port", &port.to_string()]).stdout(Stdio::piped());
    let output = command.envs(variables.iter().copied()).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    let findings = report["findings"].as_array().unwrap();
    findings.iter().map(|finding| (text(finding, "code"), text(finding, "text"))).collect()
}

fn has<'a>(findings: &'a [(String, String)], code: &str) -> Option<&'a str> {
    findings.iter().find(|(found, _)| found == code).map(|(_, text)| text.as_str())
}

/// A pair of openssl(1)'s making, good for so many days.
fn make_pair(folder: &Path, days: &str) {
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        days,
    ]);
    openssl.args(["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]);
    openssl.args(["-keyout", "key.pem", "-out", "chain.pem"]).current_dir(folder);
    let output = openssl.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_self_signed_certificate_is_made_shown_and_kept() {
    let scratch = tempfile::tempdir().unwrap();
    let variables = [("HELDAR_TLS", "self-signed"), ("HELDAR_HTTP_REDIRECT_PORT", "0")];
    let findings = doctor(scratch.path(), &variables, 0);
    assert!(has(&findings, "certificate_missing").is_some(), "{findings:?}");
    assert!(!scratch.path().join("data").exists(), "the doctor makes nothing");

    let server = Server::over_tls(scratch.path(), &variables, "data/tls/self-signed.crt");
    let tls = server.get("/api/v1/system/tls");
    let fingerprint = tls["fingerprint_sha256"].as_str().unwrap();
    assert_eq!((&tls["mode"], &tls["names"][0]), (&json!("self-signed"), &json!("localhost")));
    server.said(&format!("SHA-256 fingerprint {fingerprint}"));
    assert_eq!(server.get("/api/v1/system")["tls"]["not_after"], tls["not_after"]);

    // Addresses of live view are those of the connection that asked.
    let camera =
        json!({ "id": "gate", "name": "Gate", "main_stream_url": "rtsp://127.0.0.2:9/x" }).to_string();
    let post = ["--json", camera.as_str()];
    assert_eq!(server.curl(&post, "/api/v1/cameras").0, 201);
    for version in ["--http1.1", "--http2"] {
        let (status, body) = server.curl(&[version], "/api/v1/cameras/gate/liveview");
        assert_eq!(status, 200, "{body}");
        let live: Value = serde_json::from_str(&body).unwrap();
        for (name, scheme) in
            [("hls_url", "https"), ("webrtc_url", "https"), ("whep_url", "https"), ("ws_url", "wss")]
        {
            let begin = format!("{scheme}://localhost:{}/live/", server.port);
            assert!(live[name].as_str().unwrap().starts_with(&begin), "{name} {live}");
        }
    }
    let (_, head) = server.curl(&["--head"], "/");
    assert!(head.starts_with("HTTP/2 200"), "{head}");
    assert!(!head.to_ascii_lowercase().contains("strict-transport-security"), "{head}");
    // Our own origin is the one with https.
    let origin = format!("Origin: https://localhost:{}", server.port);
    let again = ["--json", r#"{"id":"yard","name":"Yard"}"#, "-H", origin.as_str()];
    assert_ne!(server.curl(&again, "/api/v1/cameras").0, 403);
    let foreign = origin.replace("https:", "http:");
    let foreign = ["--json", r#"{"id":"yard","name":"Yard"}"#, "-H", foreign.as_str()];
    assert_eq!(server.curl(&foreign, "/api/v1/cameras").0, 403);

    // The plain listener sends to the other.
    server.said("redirects to TLS");
    let log = server.log();
    let redirect = log.lines().find(|line| line.contains("redirects to TLS")).unwrap();
    let redirect = redirect.split_whitespace().find(|word| word.starts_with("http://")).unwrap();
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--noproxy",
        "*",
        "--write-out",
        "%{http_code} %{redirect_url}",
        "-o",
        "/dev/null",
    ]);
    let output = curl.arg(format!("{redirect}/a?b=c")).output().unwrap();
    let expect = format!("308 https://127.0.0.1:{}/a?b=c", server.port);
    assert_eq!(String::from_utf8(output.stdout).unwrap(), expect);

    let findings = doctor(scratch.path(), &variables, server.port);
    assert!(has(&findings, "certificate").unwrap().contains(fingerprint), "{findings:?}");
    assert!(has(&findings, "server_running").is_some(), "{findings:?}");
    server.stop();

    let server = Server::over_tls(scratch.path(), &variables, "data/tls/self-signed.crt");
    assert_eq!(server.get("/api/v1/system/tls")["fingerprint_sha256"], fingerprint);
    server.stop();
}

#[test]
fn a_pair_in_files_is_exchanged_on_a_hangup() {
    let scratch = tempfile::tempdir().unwrap();
    make_pair(scratch.path(), "90");
    let variables = [("HELDAR_TLS_CERT", "chain.pem"), ("HELDAR_TLS_KEY", "key.pem")];
    let server = Server::over_tls(scratch.path(), &variables, "chain.pem");
    let first = server.get("/api/v1/system/tls");
    assert_eq!((&first["mode"], &first["issuer"]), (&json!("files"), &json!("CN=localhost")));
    let (_, head) = server.curl(&["--head"], "/healthz");
    assert!(head.contains("strict-transport-security: max-age=31536000"), "{head}");

    // The next one ends soon, which is told.
    make_pair(scratch.path(), "10");
    assert_eq!(server.curl(&[], "/healthz").0, 0, "the client trusts the new one only");
    server.signal("-HUP");
    server.said("another certificate is in service");
    let second = server.get("/api/v1/system/tls");
    assert_ne!(first["fingerprint_sha256"], second["fingerprint_sha256"]);
    let event = |event_type: &str| {
        let begun = Instant::now();
        loop {
            let events = server.get(&format!("/api/v1/events?event_type={event_type}"));
            if let Some(event) = events.get(0) {
                break event.clone();
            }
            assert!(begun.elapsed() < SOON, "{}", server.log());
            std::thread::sleep(Duration::from_millis(50));
        }
    };
    let expiring = event("certificate_expiring");
    assert_eq!(expiring["severity"], "warning");
    assert_eq!(expiring["payload"], json!({ "names": ["localhost"], "not_after": second["not_after"] }));

    // A broken one is not taken, and is told.
    fs::write(scratch.path().join("key.pem"), "no key").unwrap();
    server.signal("-HUP");
    let failed = event("tls_reload_failed");
    let detail = failed["payload"]["detail"].as_str().unwrap();
    assert!(detail.starts_with("HELDAR_TLS_KEY: holds no private key"), "{detail}");
    let third = server.get("/api/v1/system/tls");
    assert_eq!(third["fingerprint_sha256"], second["fingerprint_sha256"]);
    assert_eq!(third["last_error"], detail);
    let findings = doctor(scratch.path(), &variables, server.port);
    assert!(has(&findings, "certificate_unusable").unwrap().contains("key.pem"), "{findings:?}");
    server.stop();

    // With it there is no start, and the reason is named.
    let output = heldar(scratch.path()).args(["serve", "--api-port", "0"]).envs(variables).output().unwrap();
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{error}");
    assert!(error.contains("heldar: HELDAR_TLS_KEY: key.pem: holds no private key"), "{error}");
}
