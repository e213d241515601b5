//! Write AI workers for Heldar. The server pulls and decodes the cameras; a worker gets pictures and gives back what it
//! sees. This crate does everything between: finding its work, sharing it with other workers, pulling the newest picture,
//! posting each result once, and surviving whatever the network does.
//!
#![cfg_attr(feature = "decode", doc = "```no_run")]
#![cfg_attr(not(feature = "decode"), doc = "```ignore")]
//! use std::process::ExitCode;
//! use heldar_worker::{Detection, Frame, Worker};
//!
//! fn main() -> ExitCode {
//!     let worker = Worker::from_env().task("brightness", |frame: &Frame| {
//!         let grey = frame.grey()?;
//!         let bright = grey.pixels.iter().filter(|level| **level > 250).count();
//!         let share = bright as f64 / grey.pixels.len() as f64;
//!         Ok(if share > 0.05 { vec![Detection::new("glare").confidence(share)] } else { vec![] })
//!     });
//!     worker.run()
//! }
//! ```
//!
//! Owns: a worker's side of the protocol. Never: a model, a tracker, or anything about what pictures mean. It blocks, on one
//! thread per task; no async runtime is needed, and none is in the way.
//!
//! Invariants
//! 1. Leases come first, and discovery only after a 404, then for good. Nothing runs on a lease that has run out.
//! 2. One frame per task at a time, always the newest: slow analysis skips frames, nothing piles up.
//! 3. A result carries the ticket and the time of the frame it was made from, and is repeated with the same body only.
//! 4. A task is started anew only when something it depends on has changed.
//! 5. The key goes to one server, in one header, and into no log line.
#![forbid(unsafe_code)]

mod api;
mod counters;
mod detection;
mod event;
mod frame;
mod handler;
mod http;
mod log;
mod plan;
mod retry;
mod settings;
mod supervisor;
mod task;
mod task_loop;
mod worker;

#[cfg(feature = "decode")]
pub use frame::Picture;
pub use frame::{BrokenFrame, Frame};
pub use handler::{BoxError, Handler, HandlerResult};
pub use settings::{LogFormat, LogLevel, Settings, SettingsError, Transport};
pub use task::{Task, TaskError};
pub use worker::{RunError, Stopper, Worker};

pub use detection::{Detection, Event, Findings, InvalidFindings, MAX_DETECTIONS, Severity};
/// The examples of the README are compiled.
#[cfg(all(doctest, feature = "decode"))]
#[doc = include_str!("../README.md")]
struct Readme;

/// The crate whose values `config`, `attributes` and `payload` are made of.
pub use serde_json;
