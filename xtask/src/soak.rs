//! `make soak`: every test that knows full counts, run with them, and a table of what came out.
//!
//! Owns: which test crates and browser tests those are (whoever reads the variable [`ASKED`]) and the form of the results. A
//! failure does not keep the others from running. Figures are lines that tests add to the file that [`FIGURES`] names, each a row of a table:
//! what was done, what was measured, the value.

use crate::{ci, say};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

/// Set to 1, it asks tests for their full counts.
const ASKED: &str = concat!("HELDAR_", "SOAK");
/// Names the file of figures.
const FIGURES: &str = concat!("HELDAR_", "SOAK_FIGURES");

/// One test crate, or one file of browser tests.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Suite {
    /// Where it lies.
    package: String,
    test: String,
}

impl Suite {
    fn command(&self, built: &Path) -> Command {
        if self.package == ci::BROWSER {
            let mut command = Command::new("node");
            command.args(["--test", "--test-concurrency=1", &self.test]).current_dir(ci::BROWSER);
            command.env("E2E_BINARY", built.join("debug/heldar"));
            return command;
        }
        let mut command = Command::new("cargo");
        command.args(["test", "--locked", "-p", &self.package, "--test", &self.test]);
        command
    }
}

/// Runs all of them and prints the results.
///
/// # Errors
/// The names of those that failed.
pub(crate) fn run() -> Result<(), String> {
    let built = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| PathBuf::from("target"), PathBuf::from);
    fs::create_dir_all(&built).map_err(|error| format!("{}: {error}", built.display()))?;
    let built = built.canonicalize().map_err(|error| format!("{}: {error}", built.display()))?;
    let figures = built.join("soak.md");
    fs::write(&figures, "").map_err(|error| format!("{}: {error}", figures.display()))?;
    let mut rows = String::new();
    let mut failed = Vec::new();
    ci::run(&ci::for_the_browser())?;
    let browser = browser_suites(Path::new(ci::BROWSER))?;
    let apps = suites(Path::new("examples"))?;
    for suite in suites(Path::new("crates"))?.into_iter().chain(apps).chain(browser) {
        let Suite { package, test } = &suite;
        say(&format!("== {package}, {test}\n"));
        let start = Instant::now();
        let status = suite.command(&built).env(ASKED, "1").env(FIGURES, &figures).status();
        let passed = status.map_err(|error| format!("{package}, {test}: {error}"))?.success();
        let outcome = if passed { "passed" } else { "FAILED" };
        rows.push_str(&format!(
            "| {package}, {test} | {outcome} | {:.0} s |\n",
            start.elapsed().as_secs_f64()
        ));
        if !passed {
            failed.push(format!("{package}, {test}"));
        }
    }
    let measured = fs::read_to_string(&figures).unwrap_or_default();
    say(&format!(
        "\n| tests | outcome | time |\n|---|---|---|\n{rows}\n| what | measured | value |\n|---|---|---|\n{measured}"
    ));
    if failed.is_empty() { Ok(()) } else { Err(format!("failed: {}", failed.join("; "))) }
}

/// Every test crate below a folder of packages that knows full counts, in order.
fn suites(crates: &Path) -> Result<Vec<Suite>, String> {
    let mut suites = Vec::new();
    for package in entries(crates)? {
        let tests = package.join("tests");
        if !tests.is_dir() {
            continue;
        }
        for test in entries(&tests)? {
            let is_test =
                test.join("main.rs").is_file() || test.extension().is_some_and(|ending| ending == "rs");
            let name = |path: &Path| path.file_stem().map(|name| name.to_string_lossy().into_owned());
            if let (true, Some(package), Some(test)) =
                (is_test && mentions(&test)?, name(&package), name(&test))
            {
                suites.push(Suite { package, test });
            }
        }
    }
    suites.sort();
    Ok(suites)
}

/// Every file of browser tests that knows full counts, in order.
fn browser_suites(folder: &Path) -> Result<Vec<Suite>, String> {
    let mut suites = Vec::new();
    for file in entries(folder)? {
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let asks = |text: String| text.contains(&format!("process.env.{ASKED}"));
        if name.ends_with(".test.mjs") && fs::read_to_string(&file).is_ok_and(asks) {
            suites.push(Suite { package: ci::BROWSER.to_owned(), test: name });
        }
    }
    suites.sort();
    Ok(suites)
}

/// Whether a file, or one of those in a folder, reads the variable.
fn mentions(path: &Path) -> Result<bool, String> {
    if !path.is_dir() {
        // What is no text reads no variable.
        return Ok(fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("\"{ASKED}\""))));
    }
    for entry in entries(path)? {
        if mentions(&entry)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, String> {
    let fail = |error: std::io::Error| format!("{}: {error}", folder.display());
    let listed = fs::read_dir(folder).map_err(fail)?;
    listed.map(|entry| entry.map(|entry| entry.path()).map_err(fail)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tests_with_full_counts_are_found() {
        let found = suites(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../crates"))).unwrap();
        let known = |package: &str, test: &str| Suite { package: package.to_owned(), test: test.to_owned() };
        assert!(found.contains(&known("heldar-server", "faults")), "{found:?}");
        assert!(!found.contains(&known("heldar-server", "cli")), "{found:?}");
        let found = browser_suites(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e"))).unwrap();
        assert_eq!(found, [known(ci::BROWSER, "api_conformance.test.mjs")]);
    }
}
