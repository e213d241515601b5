//! The binary `heldar`: the server without apps of others.
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    heldar_server::run(())
}
