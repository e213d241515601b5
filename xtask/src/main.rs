//! Chores of the repository: `cargo run -q -p xtask -- tidy|check|tests|ci|soak|deny`.
//!
//! Owns: the house rules that a compiler does not know ([`tidy`]), the order of the steps of CI ([`ci`]) and the long runs
//! ([`soak`]). Never: a dependency beyond std, the network, a change to a file of the repository.
#![forbid(unsafe_code)]

mod ci;
mod manifest;
mod repo;
mod soak;
mod source;
mod suites;
mod tidy;

use std::io::Write;
use std::process::ExitCode;

const HELP: &str = "cargo run -q -p xtask -- COMMAND

  tidy    list every place that breaks a house rule (CONTRIBUTING.md)
  check   tidy, format, clippy
  tests   every Rust test, two binaries at a time
  ci      the checks, licences, and all tests: what `make test` runs after set-up
  soak    the tests that know full counts, with these; a table of results
  deny    licences, sources and known advisories of all dependencies (needs cargo-deny)
";

fn main() -> ExitCode {
    let command = std::env::args().nth(1).unwrap_or_default();
    match command.as_str() {
        "tidy" => exit(tidy::command()),
        "check" => exit(ci::run(&ci::quick())),
        "tests" => exit(suites::run()),
        "ci" => exit(ci::run(&ci::all())),
        "soak" => exit(soak::run()),
        "deny" => exit(ci::run(&ci::deny())),
        "" | "help" | "--help" => {
            say(HELP);
            ExitCode::SUCCESS
        }
        other => {
            say(&format!("There is no command `{other}`.\n\n{HELP}"));
            ExitCode::from(2)
        }
    }
}

fn exit(outcome: Result<(), String>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            say(&format!("{why}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Writes to standard output; a closed pipe is not an error worth a panic.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    // reason: nobody is left to tell when standard output is gone
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}
