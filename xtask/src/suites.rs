//! All tests of the workspace, most of them two binaries at a time: what they do is mainly to wait.
//!
//! Owns: which binaries there are, where each runs, and which begin first. Contract: every binary runs to its end, whatever
//! becomes of others; what each says is shown in one piece. Never: which tests there are.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use crate::say;

/// Binaries at a time. More would save little and make clocks of tests unreliable.
const AT_ONCE: usize = 2;
/// Those that judge a running system to the picture or the packet, or what it loses when it is killed and starved, run before
/// the others, alone.
const ALONE: &[&str] = &["faults", "continuity", "stills", "heldar_live", "decoders"];
/// Of the others those that take longest begin first.
const LONGEST: &[&str] = &["access", "frames", "conformance", "restream"];

/// A binary with tests.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Suite {
    program: PathBuf,
    /// The package's folder, which its tests run in.
    folder: PathBuf,
    name: String,
}

/// Builds and runs all tests.
///
/// # Errors
/// What did not build, or the names of binaries with failures.
pub(crate) fn run() -> Result<(), String> {
    let build = ["test", "--locked", "--workspace", "--no-run", "--message-format=json"];
    let mut command = Command::new("cargo");
    let output = command.args(build).stderr(Stdio::inherit()).output().map_err(|e| format!("cargo: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if !output.status.success() {
        text.lines().filter_map(|line| member(line, "rendered")).for_each(|told| say(&unescaped(told)));
        return Err(format!("the tests do not build ({})", output.status));
    }
    let mut suites: Vec<Suite> = text.lines().filter_map(suite).collect();
    suites.sort_by_key(|suite| LONGEST.iter().position(|name| *name == suite.name).unwrap_or(LONGEST.len()));
    let (alone, beside): (Vec<Suite>, Vec<Suite>) =
        suites.into_iter().partition(|suite| ALONE.contains(&suite.name.as_str()));
    let alone = alone.into_iter().filter(|suite| !suite.passes()).map(|suite| suite.name).collect();
    let waiting = Mutex::new(VecDeque::from(beside));
    let failed: Mutex<Vec<String>> = Mutex::new(alone);
    std::thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            scope.spawn(|| {
                while let Some(suite) = take(&waiting) {
                    if !suite.passes() {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push(suite.name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap_or_else(PoisonError::into_inner);
    if !failed.is_empty() {
        return Err(format!("tests failed in: {}", failed.join(", ")));
    }
    let examples =
        Command::new("cargo").args(["test", "--locked", "--workspace", "--doc", "--quiet"]).status();
    let status = examples.map_err(|e| format!("cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("examples in the documentation failed ({status})")) }
}

fn take(waiting: &Mutex<VecDeque<Suite>>) -> Option<Suite> {
    waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

impl Suite {
    fn passes(&self) -> bool {
        let start = Instant::now();
        let mut command = Command::new(&self.program);
        let output = command.current_dir(&self.folder).env("CARGO_MANIFEST_DIR", &self.folder).output();
        let took = start.elapsed().as_secs_f64();
        let package = self.folder.file_name().unwrap_or_default().to_string_lossy();
        let (passed, told) = match output {
            Ok(output) => {
                let text = [output.stdout, output.stderr].concat();
                (output.status.success(), String::from_utf8_lossy(&text).into_owned())
            }
            Err(error) => (false, format!("{}: {error}\n", self.program.display())),
        };
        let outcome = if passed { "passed" } else { "FAILED" };
        say(&format!("== {package}, {}: {outcome} after {took:.0} s\n{told}", self.name));
        passed
    }
}

/// The binary with tests that a message of cargo tells of.
fn suite(message: &str) -> Option<Suite> {
    let profile = message.split_once("\"profile\":{")?.1.split_once('}')?.0;
    let is_test = message.contains("\"reason\":\"compiler-artifact\"") && profile.contains("\"test\":true");
    let program = PathBuf::from(unescaped(member(message, "executable").filter(|_| is_test)?));
    let folder = Path::new(&unescaped(member(message, "manifest_path")?)).parent()?.to_owned();
    let target = message.split_once("\"target\":{")?.1;
    Some(Suite { program, folder, name: unescaped(member(target, "name")?) })
}

/// The text of a member of a JSON object, as it stands there. Cargo writes no space between name and value.
fn member<'a>(json: &'a str, name: &str) -> Option<&'a str> {
    let rest = json.split_once(&format!("\"{name}\":\""))?.1;
    let mut is_escaped = false;
    let end = rest.find(|c| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends
    });
    rest.get(..end?)
}

/// What a text of JSON means, as far as compilers and paths use it.
fn unescaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match (c, c == '\\') {
            (_, false) => out.push(c),
            (_, true) => match rest.next() {
                Some('n') => out.push('\n'),
                Some('t') => out.push('\t'),
                Some('u') => {
                    let code: String = rest.by_ref().take(4).collect();
                    out.extend(u32::from_str_radix(&code, 16).ok().and_then(char::from_u32));
                }
                Some(other) => out.push(other),
                None => {}
            },
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn binaries_with_tests_are_found() {
        let artifact = |profile: &str, executable: &str| {
            format!(
                "{{\"reason\":\"compiler-artifact\",\"package_id\":\"x\",\"manifest_path\":\"/r/crates/a/Cargo.toml\",\
                 \"target\":{{\"kind\":[\"test\"],\"name\":\"it\",\"test\":true}},\"profile\":{{\"opt_level\":\"0\",{profile}}},\
                 \"executable\":{executable},\"fresh\":true}}"
            )
        };
        let found = suite(&artifact("\"test\":true", "\"/t/it-1\""));
        let expect = Suite { program: "/t/it-1".into(), folder: "/r/crates/a".into(), name: "it".to_owned() };
        assert_eq!(found, Some(expect));
        assert_eq!(suite(&artifact("\"test\":true", "null")), None);
        // A program that has tests, not its tests.
        assert_eq!(suite(&artifact("\"test\":false", "\"/t/heldar\"")), None);
        assert_eq!(suite("{\"reason\":\"build-finished\",\"success\":true}"), None);
    }

    #[test]
    fn texts_are_read_to_their_end() {
        let json = r#"{"rendered":"error: \"x\"\n  \u001b\\","other":"y"}"#;
        assert_eq!(member(json, "rendered").map(unescaped).as_deref(), Some("error: \"x\"\n  \u{1b}\\"));
        assert_eq!(member(json, "none"), None);
    }
}
