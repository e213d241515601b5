//! The zone engine: what tracked objects do in the zones of one camera.
//!
//! Owns: zones and their rules, visits, line crossings, dwell, loitering, occupancy, counters, and what of it is worth an event.
//! Never: a clock, a file, a socket, a store, a task; detections, zones and times are arguments, answers are plain values.
//!
//! One [`Engine`] per camera takes batches of detections and ticks, and answers each with facts and with what changed of
//! occupancy and counters. Its time is that of the pictures, not that of their arrival: deadlines fall due at their own
//! instants, in order, once a batch was captured later or once [`SETTLE`] has passed since. Hence the same batches give the same
//! facts whenever ticks come, live, after a restart ([`Engine::save`], [`Engine::restore`]) and in a replay ([`Replay`]).
//!
//! | file | subject |
//! |---|---|
//! | `zone`, `config`, `schedule` | what a person may say of a zone, checked once |
//! | `geometry`, `shape`, `grid` | what lies inside of what, and which zones can be concerned |
//! | `mask` | zones asked without an engine: areas, and masks whose detections must not be stored |
//! | `engine` | the state and what moves it: observations, deadlines, other zones |
//! | `fact` | what comes out |
//! | `replay` | stored batches, and how its facts differ from those that were raised |
//!
//! # Memory
//! At most [`MAX_TRACKS`] tracks are held. When a batch brings more, those that were seen longest ago end `lost`. Of a track
//! the engine keeps one record for all zones that see it alike (same labels, task types, confidence, anchor, static and lost
//! rules), and one per zone only while it is inside, about to change sides, in the band of a line, or remembered by
//! `loiter`. Neither shows in the facts.
#![forbid(unsafe_code)]

mod config;
mod engine;
mod fact;
mod geometry;
mod grid;
mod mask;
mod replay;
mod schedule;
mod shape;
mod zone;

pub use config::{Direction, Evidence, Limits, Loiter, Settings};
pub use engine::{Batch, Detection, Engine, MAX_TRACKS, Quantities, SETTLE, StateError};
pub use fact::{AlarmState, Counters, Fact, FactKind, LabelCount, Occupancy, Output, Reason};
pub use mask::{Area, Masks};
pub use replay::{Diff, Replay, Replayed, Told, diff};
pub use zone::{Kind, Severity, Zone, ZoneError, ZoneFields};
