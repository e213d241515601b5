//! `heldar run-worker`: what a worker's process is before it becomes the worker.
//!
//! Owns: that a worker is told to end when the server is gone, however that ended (prctl(2), `PR_SET_PDEATHSIG`: it holds
//! over execve(2), and can only be asked for by the process itself), and that no worker takes time from recording. For the
//! server alone; not among the commands.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::process::{Pid, Signal, getppid, nice, set_parent_process_death_signal};

use crate::{USAGE_ERROR, complain};

/// Its name among the commands.
pub(crate) const NAME: &str = "run-worker";
/// How much it steps back behind the server; as much as the decoders, which work for it.
const NICE: i32 = 10;
/// Exit status of a program that cannot be run (POSIX.1-2024, `exec` of the shell).
const NOT_RUN: u8 = 126;

/// Becomes the program of the arguments: id of the server's process, program, its arguments.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let mut arguments = arguments.into_iter();
    let server = arguments.next().and_then(|id| id.to_str()?.parse().ok()).and_then(Pid::from_raw);
    let (Some(server), Some(program)) = (server, arguments.next()) else {
        complain("heldar run-worker is for the server alone; name workers in HELDAR_WORKERS\n");
        return ExitCode::from(USAGE_ERROR);
    };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
        complain(&format!("it would outlive a server that is killed: {error}\n"));
    }
    if let Err(error) = nice(NICE) {
        complain(&format!("it takes as much time as it wants: {error}\n"));
    }
    // A server that was gone before that has sent nothing.
    if getppid() != Some(server) {
        return ExitCode::FAILURE;
    }
    let error = Command::new(&program).args(arguments).exec();
    complain(&format!("{} cannot be run: {error}\n", program.display()));
    ExitCode::from(NOT_RUN)
}
