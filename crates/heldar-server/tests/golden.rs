//! What the route table says is what `docs/reference` shows. `UPDATE_GOLDEN=1` writes it.
#![allow(clippy::unwrap_used, reason = "a test that fails says where")]

use std::path::Path;
use std::process::Command;

#[track_caller]
fn check(command: &str, name: &str) {
    let output = Command::new(env!("CARGO_BIN_EXE_heldar")).arg(command).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &output.stdout).unwrap();
    }
    let golden = std::fs::read(&path).unwrap_or_default();
    assert!(
        golden == output.stdout,
        "docs/reference/{name} is not what the routes say: run with UPDATE_GOLDEN=1"
    );
}

#[test]
fn the_description_of_the_api() {
    check("openapi", "openapi.json");
}

#[test]
fn the_access_matrix() {
    check("access-matrix", "access-matrix.txt");
}
