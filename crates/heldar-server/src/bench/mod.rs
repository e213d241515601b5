//! `heldar bench`: figures of this build on this machine, each beside what it is to be compared with.
//!
//! Owns: child processes and temporary folders of its own, which it ends and removes whatever happens. Speaks to servers
//! as any client does, over HTTP on the loopback address. Never: a server, a camera or a folder of anyone else.

mod access;
mod cameras;
mod clips;
mod detections;
mod endure;
mod export;
mod feed;
mod folder;
mod footage;
mod frames;
mod http;
mod idle;
mod index;
mod ingest;
mod live;
mod loss;
mod process;
mod record;
mod replay;
mod restart;
mod scrub;
mod server;
mod stats;
mod usage;
mod webhook;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};
use heldar_base::WallTime;
use tokio::signal::unix::{SignalKind, signal};

use crate::{USAGE_ERROR, complain, log, say, with_causes};

/// Measures this build on this machine. Quiet machines give true figures.
#[derive(Parser)]
#[command(name = "heldar bench")]
struct CommandLine {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// CPU and memory of recording, against one ffmpeg per camera
    Record(record::Options),
    /// Recording over a long time, with viewers and exports beside it; memory every so often
    Endure(endure::Options),
    /// CPU and memory of viewers, and what they see, while cameras are recorded
    Live(live::Options),
    /// What a restart and a kill of the server cost each camera
    Restart(restart::Options),
    /// CPU and memory of a server without cameras
    Idle(idle::Options),
    /// What it costs a request to show who makes it
    Access(access::Options),
    /// Export of an hour, against cp, sync and sha256sum; first byte of a virtual file
    Export(export::Options),
    /// Start and answers over a large index
    Index(index::Options),
    /// Detections posted as fast as they are taken: rate, latency, memory, bytes of database
    Ingest(ingest::Options),
    /// Zones over a stored day of a camera
    Replay(replay::Options),
    /// From the post of an event to each of many listeners
    Feed(feed::Options),
    /// From an entry into a zone to the receiver of a webhook, with its picture
    Webhook(webhook::Options),
    /// Answers about the newest detections over a large store
    Detections(detections::Options),
    /// CPU and memory of sampling frames and their age at the worker, against one ffmpeg per camera
    Frames(frames::Options),
    /// Thumbnails as a dragging mouse asks for them, and pictures of instants
    Scrub(scrub::Options),
}

/// What a measurement found out about the targets it knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The figures stand.
    Valid,
    /// Something happened that must not, such as a gap: the figures are of a broken run.
    Broken,
}

/// Runs the command.
pub(crate) fn main(arguments: Vec<OsString>) -> ExitCode {
    let words = std::iter::once(OsString::from("heldar bench")).chain(arguments);
    let what = match CommandLine::try_parse_from(words) {
        Ok(line) => line.what,
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
    match runtime.block_on(until_told_to_stop(what)) {
        Ok(Verdict::Valid) => ExitCode::SUCCESS,
        Ok(Verdict::Broken) => ExitCode::FAILURE,
        Err(error) => {
            complain(&format!("heldar bench: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Children and folders belong to the future of the measurement: dropping it ends and removes them.
async fn until_told_to_stop(what: What) -> Result<Verdict, String> {
    let stop = |kind| signal(kind).map_err(|error| format!("signals cannot be received: {error}"));
    let (mut terminate, mut interrupt) = (stop(SignalKind::terminate())?, stop(SignalKind::interrupt())?);
    tokio::select! {
        outcome = measure(what) => outcome,
        _ = terminate.recv() => Err("told to stop".to_owned()),
        _ = interrupt.recv() => Err("told to stop".to_owned()),
    }
}

async fn measure(what: What) -> Result<Verdict, String> {
    match what {
        What::Record(options) => Box::pin(record::run(options)).await,
        What::Endure(options) => Box::pin(endure::run(options)).await,
        What::Live(options) => Box::pin(live::run(options)).await,
        What::Restart(options) => Box::pin(restart::run(options)).await,
        What::Idle(options) => Box::pin(idle::run(options)).await,
        What::Access(options) => Box::pin(access::run(options)).await,
        What::Export(options) => Box::pin(export::run(options)).await,
        What::Index(options) => Box::pin(index::run(options)).await,
        What::Ingest(options) => Box::pin(ingest::run(options)).await,
        What::Replay(options) => Box::pin(replay::run(options)).await,
        What::Feed(options) => Box::pin(feed::run(options)).await,
        What::Webhook(options) => Box::pin(webhook::run(options)).await,
        What::Detections(options) => Box::pin(detections::run(options)).await,
        What::Frames(options) => Box::pin(frames::run(options)).await,
        What::Scrub(options) => Box::pin(scrub::run(options)).await,
    }
}

/// Prints a report as JSON.
fn print_json(report: &impl serde::Serialize) -> Result<(), String> {
    let mut text = serde_json::to_string_pretty(report).map_err(|error| error.to_string())?;
    text.push('\n');
    say(&text);
    Ok(())
}

/// An error with its causes, as text.
fn with_cause(error: impl std::error::Error) -> String {
    with_causes(&error)
}

/// The host's clock; the servers that are asked run on the same host.
fn now() -> WallTime {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
