//! The binary `heldar`: reads its command and hands over to the module of that name.
#![forbid(unsafe_code)]

mod log;
mod pages;
mod serve;

use std::ffi::OsString;
use std::process::ExitCode;

const USAGE: &str = "usage: heldar <command> [options]

  serve     record, play back and serve the API (settings: heldar.toml, HELDAR_*, or --name value)
  help      this text
";

/// Exit status for errors of usage or configuration.
const USAGE_ERROR: u8 = 2;

fn main() -> ExitCode {
    let mut arguments = std::env::args_os().skip(1);
    let command = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    match command.to_str() {
        Some("serve") => serve::main(rest),
        Some("help" | "--help" | "-h") => {
            say(USAGE);
            ExitCode::SUCCESS
        }
        _ => {
            complain(USAGE);
            ExitCode::from(USAGE_ERROR)
        }
    }
}

/// Writes to standard output; a reader that has gone is nobody's loss.
#[allow(clippy::print_stdout, reason = "the output of a command")]
fn say(text: &str) {
    print!("{text}");
}

/// Writes to standard error.
#[allow(clippy::print_stderr, reason = "the errors of a command")]
fn complain(text: &str) {
    eprint!("{text}");
}
