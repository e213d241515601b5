//! `heldar testcam`: test cameras that announce themselves as JSON lines and run until told to stop.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;
use heldar_testcam::{Arguments, Error, run_command};

use crate::{USAGE_ERROR, complain, log, say, with_causes};

/// Test cameras: RTSP servers that loop clips, with faults on demand. Each is announced as one line of JSON.
#[derive(Parser)]
#[command(name = "heldar testcam")]
struct CommandLine {
    #[command(flatten)]
    arguments: Arguments,
}

/// Runs the command.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let words = std::iter::once(OsString::from("heldar testcam")).chain(arguments);
    let arguments = match CommandLine::try_parse_from(words) {
        Ok(line) => line.arguments,
        Err(error) if error.use_stderr() => {
            complain(&error.to_string());
            return ExitCode::from(USAGE_ERROR);
        }
        Err(asked_for) => {
            say(&asked_for.to_string());
            return ExitCode::SUCCESS;
        }
    };
    if let Err(error) = log::start_quiet() {
        complain(&format!("{error}\n"));
        return ExitCode::from(USAGE_ERROR);
    }
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("no runtime: {error}\n"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(run_command(arguments, std::io::stdout())) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(&format!("heldar testcam: {}\n", explain(&error)));
            match error {
                Error::Option(_) => ExitCode::from(USAGE_ERROR),
                _ => ExitCode::FAILURE,
            }
        }
    }
}

/// What kept test cameras from running, and what to do about it.
pub(crate) fn explain(error: &Error) -> String {
    let text = with_causes(error);
    match error {
        Error::Ffmpeg(_) => format!(
            "{text}\nThe scene is drawn once by ffmpeg: install it (`apt-get install ffmpeg`) and start again."
        ),
        _ => text,
    }
}
