//! The page's own logic, judged in the language it is written in.

use std::path::Path;
use std::process::Command;

#[test]
fn modules_without_a_page() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    // Local times are the viewer's: a zone with half hours shows where that was forgotten.
    let mut node = Command::new("node");
    node.args(["--test", "--test-reporter=spec"]).arg(folder.join("modules.mjs")).env("TZ", "Asia/Kolkata");
    let output = node.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}
