//! The program of the decoder processes, for tests that start a server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;
use std::time::SystemTime;

static PROGRAM: LazyLock<PathBuf> = LazyLock::new(|| {
    // A test lies in `<target>/<profile>/deps`, programs one folder higher.
    let own = std::env::current_exe().expect("a test has a program");
    let folder = own.parent().and_then(|deps| deps.parent()).expect("a test lies in the target folder");
    let program = folder.join("heldar-decoder");
    let made = fs::metadata(&program).and_then(|about| about.modified()).ok();
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("crates lie side by side");
    let newest =
        ["heldar-decoder", "heldar-decode"].into_iter().filter_map(|name| newest(&crates.join(name))).max();
    if made.is_none() || made < newest {
        build(folder);
    }
    program
});

/// When anything in a folder was last changed.
fn newest(folder: &Path) -> Option<SystemTime> {
    let entries = fs::read_dir(folder).ok()?.flatten();
    let changed = entries.filter_map(|entry| {
        let about = entry.metadata().ok()?;
        if about.is_dir() { newest(&entry.path()) } else { about.modified().ok() }
    });
    changed.max()
}

/// Cargo builds no program for the tests of another package.
fn build(folder: &Path) {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut build = Command::new(cargo);
    build.args(["build", "--quiet", "--locked", "--package", "heldar-decoder"]).stdin(Stdio::null());
    if folder.ends_with("release") {
        build.arg("--release");
    }
    let built = build.current_dir(env!("CARGO_MANIFEST_DIR")).status().expect("cargo runs");
    assert!(built.success(), "heldar-decoder is built");
}

/// Where `heldar-decoder` is; it is built first where that is needed.
pub fn decoder_program() -> &'static str {
    PROGRAM.to_str().expect("the target folder is named in UTF-8")
}
