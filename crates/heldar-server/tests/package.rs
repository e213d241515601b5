//! The Debian package: whoever installs it has access control and TLS from the first start, without editing a file.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

mod served;

use std::fs;
use std::path::Path;
use std::process::Command;

use served::Server;

fn output(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_packaged_server_starts_closed_and_encrypted() {
    let scratch = tempfile::tempdir().unwrap();
    let root = scratch.path().join("root");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../scripts/deb.sh");
    // It lies beside the server's binary, where the script takes it from.
    assert!(Path::new(heldar_testkit::decoder_program()).with_file_name("heldar").exists());
    let mut make = Command::new(script);
    make.arg(env!("CARGO_BIN_EXE_heldar")).arg(scratch.path()).env("DEB_COMPRESSION", "none");
    let package = output(&mut make);
    let field = output(Command::new("dpkg-deb").args(["-f", package.trim(), "Version"]));
    assert_eq!(field.trim(), env!("CARGO_PKG_VERSION"));
    output(Command::new("dpkg-deb").args(["-x", package.trim()]).arg(&root));
    assert!(output(Command::new(root.join("usr/bin/heldar")).arg("--version")).starts_with("heldar "));
    assert!(root.join("usr/bin/heldar-decoder").exists());
    let depends = output(Command::new("dpkg-deb").args(["-f", package.trim(), "Depends"]));
    assert!(depends.contains("libavcodec") && depends.contains("libturbojpeg"), "{depends}");
    let unit = fs::read_to_string(root.join("usr/lib/systemd/system/heldar.service")).unwrap();
    assert!(unit.contains("\nUser=heldar\n"));
    assert!(unit.contains("\nExecStart=/usr/bin/heldar serve --config /etc/heldar/heldar.toml\n"));

    let config = root.join("etc/heldar/heldar.toml");
    let variables = [
        ("HELDAR_CONFIG", config.to_str().unwrap()),
        ("HELDAR_DATA_DIR", "data"),
        ("HELDAR_WEBRTC_UDP_PORT", "0"),
    ];
    let server = Server::over_tls(scratch.path(), &variables, "data/tls/self-signed.crt");
    let (status, body) = server.curl(&[], "/api/v1/cameras");
    assert_eq!(status, 401, "{body}");
    server.said(&format!(
        "make the first administrator within the hour at https://127.0.0.1:{}/#setup=",
        server.port
    ));
    server.stop();
}
