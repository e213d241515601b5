//! The commands of the binary `heldar`, and the server with whatever apps are compiled in.
//!
//! [`run`] finds the command in one table and hands over to the module of that name. A binary with apps of its own is
//! `fn main() -> ExitCode { heldar_server::run(apps) }`: it has every command, and its apps run in `serve` and `demo`.
#![forbid(unsafe_code)]

mod banner;
mod bench;
mod control;
mod demo;
mod doctor;
mod fsck;
mod log;
mod openapi;
mod pages;
mod serve;
mod testcam;
mod tls;
mod workers;

use std::error::Error;
use std::ffi::OsString;
use std::process::ExitCode;
use std::sync::{Arc, OnceLock};

use heldar_kernel::apps::Verticals;

/// Exit status for errors of usage or configuration.
const USAGE_ERROR: u8 = 2;

/// One command.
struct Command {
    name: &'static str,
    about: &'static str,
    run: fn(Vec<OsString>) -> ExitCode,
}

/// Every command, in the order in which people need them.
const COMMANDS: &[Command] = &[
    Command {
        name: "serve",
        about: "record, play back and serve the API (settings: heldar.toml, HELDAR_*, or --name value)",
        run: serve::main,
    },
    Command {
        name: "demo",
        about: "serve with test cameras and, where it is installed, a worker that finds people; all in ./data/demo",
        run: demo::main,
    },
    Command {
        name: "doctor",
        about: "show every setting with its source, and what is wrong with this machine (--json)",
        run: doctor::main,
    },
    Command {
        name: "fsck",
        about: "compare index and recordings of all days (--json); --repair corrects what can be corrected",
        run: fsck::main,
    },
    Command {
        name: "user",
        about: "add, passwd, list, unlock, disable, enable people, also beside a running server",
        run: control::user,
    },
    Command {
        name: "setup-link",
        about: "print the one-time link that makes the first administrator",
        run: control::setup_link,
    },
    Command {
        name: "rekey-secrets",
        about: "seal every stored secret with HELDAR_SECRET_KEY; HELDAR_SECRET_KEY_OLD opens them",
        run: control::rekey_secrets,
    },
    Command {
        name: "testcam",
        about: "test cameras over RTSP, with faults on demand (testcam --help)",
        run: testcam::main,
    },
    Command {
        name: "bench",
        about: "measure recording, export and index on this machine (bench --help)",
        run: bench::main,
    },
    Command { name: "openapi", about: "print the description of the API", run: openapi::description },
    Command { name: "access-matrix", about: "print who may call what", run: openapi::access_matrix },
    Command { name: "help", about: "this text", run: help },
];

/// The apps of this binary.
static APPS: OnceLock<Arc<dyn Verticals>> = OnceLock::new();

/// The apps of this binary.
fn apps() -> Arc<dyn Verticals> {
    APPS.get_or_init(|| Arc::new(())).clone()
}

/// Runs the command that the process was given, with these apps; `()` is none.
pub fn run(apps: impl Verticals) -> ExitCode {
    APPS.get_or_init(|| Arc::new(apps));
    let mut arguments = std::env::args_os().skip(1);
    let name = arguments.next().unwrap_or_default();
    let rest: Vec<OsString> = arguments.collect();
    match name.to_str() {
        Some("--help" | "-h") => help(rest),
        Some("--version" | "-V") => {
            say(concat!("heldar ", env!("CARGO_PKG_VERSION"), "\n"));
            ExitCode::SUCCESS
        }
        Some(workers::runner::NAME) => workers::runner::main(rest),
        name => match COMMANDS.iter().find(|command| name == Some(command.name)) {
            Some(command) => (command.run)(rest),
            None => {
                complain(&usage());
                ExitCode::from(USAGE_ERROR)
            }
        },
    }
}

fn help(_rest: Vec<OsString>) -> ExitCode {
    say(&usage());
    ExitCode::SUCCESS
}

fn usage() -> String {
    let mut text = String::from("usage: heldar <command> [options]\n\n");
    for Command { name, about, .. } in COMMANDS {
        text.push_str(&format!("  {name:<14} {about}\n"));
    }
    text
}

/// A command that takes no arguments was given some.
fn unexpected(command: &str) -> ExitCode {
    complain(&format!("heldar {command} takes no arguments\n"));
    ExitCode::from(USAGE_ERROR)
}

/// An error with all its causes in one line.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}

/// Writes to standard output; a reader that has gone is nobody's loss.
fn say(text: &str) {
    use std::io::Write as _;
    let mut out = std::io::stdout().lock();
    // reason: `heldar doctor | head` closes the pipe on purpose.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Writes to standard error.
fn complain(text: &str) {
    use std::io::Write as _;
    // reason: there is nowhere left to tell it.
    let _ = std::io::stderr().write_all(text.as_bytes());
}
