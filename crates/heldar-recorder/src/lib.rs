//! Decisions of recording as state machines: times, pictures and completions in, orders out.
//!
//! Owns: when to connect, what is wanted, what is held for it in memory, where a fragment and a segment end, what is a gap,
//! which state a camera is in. Never: tokio, a clock, a file, a socket, a byte of MP4.
#![forbid(unsafe_code)]

mod backoff;
mod fragment;
mod holes;
mod mode;
mod order;
mod preroll;
mod recorder;
mod status;
mod usual;

pub use backoff::Backoff;
pub use fragment::{Fragment, Run, Sample, VIDEO_TIMESCALE};
pub use holes::{GAP_THRESHOLD, HoleChange, HoleTracker};
pub use mode::{Demand, Mode, Orders, Plan, Since, Take, TriggerWindow};
pub use order::{AudioPolicy, Order, RecorderConfig, SegmentTracks, Serial, Skipped, Want};
pub use preroll::{Held, PreRolls};
pub use recorder::Recorder;
pub use status::{CameraState, Now, StatusConfig, StatusEvent, StatusMachine, Trouble};
pub use usual::UsualInterval;
