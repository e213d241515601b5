//! The steps of CI, in the order that fails soonest.
//!
//! Owns: which checks a change must pass. Never: set-up of the machine; that is `scripts/setup.sh`.

use crate::{say, suites, tidy};
use std::process::{Command, Stdio};
use std::time::Instant;

/// One check.
pub(crate) struct Step {
    name: &'static str,
    work: Work,
}

enum Work {
    /// A function of this crate.
    Here(fn() -> Result<(), String>),
    /// Arguments of cargo.
    Cargo(&'static [&'static str]),
    /// Arguments of a cargo command that may be missing: then the step is left out, and says so.
    CargoIfInstalled(&'static [&'static str]),
    /// Arguments of npm, and the folder to run it in.
    Npm(&'static str, &'static [&'static str]),
    /// Arguments of the Python that has what the worker package needs, and which may be missing: then the step is left out,
    /// and says so.
    Worker(&'static [&'static str]),
}

/// What takes a minute: house rules, formatting, warnings of the compiler and of clippy.
pub(crate) fn quick() -> Vec<Step> {
    let clippy = &["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"];
    vec![
        Step { name: "tidy", work: Work::Here(tidy::command) },
        Step { name: "format", work: Work::Cargo(&["fmt", "--all", "--check"]) },
        Step { name: "clippy", work: Work::Cargo(clippy) },
    ]
}

/// The embeddable player: checked and built before the binary that carries it.
fn player() -> Vec<Step> {
    let npm = |name, arguments| Step { name, work: Work::Npm(PLAYER, arguments) };
    vec![
        npm("player packages", NPM_CI),
        npm("player types", &["run", "check"]),
        npm("player lint", &["run", "lint"]),
        npm("player unit tests", &["test"]),
        npm("player build", &["run", "build"]),
    ]
}

/// The Python package of workers, in its own folder.
fn worker() -> Vec<Step> {
    let step = |name, arguments| Step { name, work: Work::Worker(arguments) };
    vec![
        step("worker format", &["-m", "ruff", "format", "--check", "."]),
        step("worker lint", &["-m", "ruff", "check", "."]),
        step("worker types", &["-m", "mypy", "--cache-dir=/dev/null"]),
        step("worker tests", &["-m", "pytest", "-q", "-p", "no:cacheprovider"]),
    ]
}

/// What tests in a browser need.
pub(crate) fn for_the_browser() -> Vec<Step> {
    vec![
        Step { name: "binaries", work: Work::Cargo(BINARIES) },
        Step { name: "browser packages", work: Work::Npm(BROWSER, NPM_CI) },
    ]
}

/// Everything a change must pass.
pub(crate) fn all() -> Vec<Step> {
    let mut steps = player();
    steps.extend(quick());
    steps.push(Step { name: "licences and sources", work: Work::CargoIfInstalled(DENY_OFFLINE) });
    steps.push(Step { name: "locked packages of the fuzz targets", work: Work::Cargo(FUZZ_LOCK) });
    steps.extend(worker());
    steps.push(Step { name: "tests", work: Work::Here(suites::run) });
    steps.extend(for_the_browser());
    steps.push(Step { name: "end to end, in a browser", work: Work::Npm(BROWSER, &["test"]) });
    steps
}

/// Licences, sources and known advisories. The advisories come from the network.
pub(crate) fn deny() -> Vec<Step> {
    vec![
        Step { name: "licences and sources", work: Work::Cargo(DENY_OFFLINE) },
        Step { name: "advisories", work: Work::Cargo(&["deny", "--locked", "check", "advisories"]) },
    ]
}

/// What the tests were built with: that the server and its decoder lie beside one another costs nothing after them.
const BINARIES: &[&str] = &["test", "--locked", "--workspace", "--no-run", "--quiet"];
const PLAYER: &str = "web/player";
/// Folder of the tests in a browser.
pub(crate) const BROWSER: &str = "e2e";
/// The fuzz targets are no part of the workspace, and nothing else of these steps reads their lock file.
const FUZZ_LOCK: &[&str] = &["tree", "--locked", "--manifest-path", "fuzz/Cargo.toml", "--depth", "0"];
const NPM_CI: &[&str] = &["ci", "--no-audit", "--no-fund"];
const DENY_OFFLINE: &[&str] = &["deny", "--locked", "check", "licenses", "bans", "sources"];

/// Runs steps until one fails, then lists how long each took.
///
/// # Errors
/// The name of the step that failed.
pub(crate) fn run(steps: &[Step]) -> Result<(), String> {
    let mut times = String::new();
    for step in steps {
        say(&format!("== {}\n", step.name));
        let start = Instant::now();
        step.work.run().map_err(|why| format!("{times}{}: {why}", step.name))?;
        times.push_str(&format!("{:>6.0} s  {}\n", start.elapsed().as_secs_f64(), step.name));
    }
    say(&times);
    Ok(())
}

impl Work {
    fn run(&self) -> Result<(), String> {
        match self {
            Self::Here(check) => check(),
            Self::Cargo(arguments) => cargo(arguments),
            Self::Npm(folder, arguments) => npm(folder, arguments),
            Self::Worker(arguments) => python(arguments),
            Self::CargoIfInstalled(arguments) => {
                let command = arguments.first().copied().unwrap_or_default();
                if cargo_has(command) {
                    return cargo(arguments);
                }
                say(&format!("left out: cargo-{command} is not installed\n"));
                Ok(())
            }
        }
    }
}

fn cargo(arguments: &[&str]) -> Result<(), String> {
    let status = Command::new("cargo").args(arguments).status().map_err(|e| format!("cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("cargo {} failed ({status})", arguments.join(" "))) }
}

fn python(arguments: &[&str]) -> Result<(), String> {
    let root = std::env::current_dir().map_err(|e| format!("current folder: {e}"))?;
    let built =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let program = built.join("worker/bin/python");
    if !program.exists() {
        say("left out: what the worker package needs is not installed\n");
        return Ok(());
    }
    let mut command = Command::new(program);
    command.args(arguments).current_dir(root.join("sdk/python")).env("PYTHONPATH", "src");
    let status = command.env("PYTHONDONTWRITEBYTECODE", "1").status().map_err(|e| format!("python: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("python {} failed ({status})", arguments.join(" "))) }
}

fn npm(folder: &str, arguments: &[&str]) -> Result<(), String> {
    let root = std::env::current_dir().map_err(|e| format!("current folder: {e}"))?;
    let built =
        std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), |dir| root.join(dir));
    let mut command = Command::new("npm");
    command.args(arguments).current_dir(root.join(folder)).env("E2E_BINARY", built.join("debug/heldar"));
    let status = command.status().map_err(|e| format!("npm: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("npm {} failed ({status})", arguments.join(" "))) }
}

fn cargo_has(command: &str) -> bool {
    let mut probe = Command::new("cargo");
    probe.args([command, "--version"]).stdout(Stdio::null()).stderr(Stdio::null());
    probe.status().is_ok_and(|status| status.success())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_step_ends_the_run_and_is_named() {
        fn never() -> Result<(), String> {
            panic!("runs after a failed step");
        }
        let failing = Step { name: "first", work: Work::Here(|| Err("no".to_owned())) };
        let after = Step { name: "second", work: Work::Here(never) };
        assert_eq!(run(&[failing, after]), Err("first: no".to_owned()));
    }

    #[test]
    fn a_missing_cargo_command_is_left_out() {
        let step = Step { name: "x", work: Work::CargoIfInstalled(&["no-such-command"]) };
        assert_eq!(run(&[step]), Ok(()));
        let step = Step { name: "x", work: Work::Cargo(&["no-such-command"]) };
        assert!(run(&[step]).is_err());
    }
}
