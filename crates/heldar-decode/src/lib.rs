//! Decoder processes: access units in, pictures out, and nothing that happens to them harms anybody else.
//!
//! Owns: the processes that decode (the program `heldar-decoder`), which stream is decoded by which, what happens when one
//! dies, hangs or is fed nonsense. Never: a camera, a file of footage, a decision about what should be decoded.
//!
//! Invariants
//! 1. Nothing here links a decoder. A stream that kills one takes its process with it and nothing else.
//! 2. A process that does not get on for [`Options::deadline`] is ended.
//! 3. Whoever decodes a stream learns when its process has ended, and whether its own stream was at work then.
//! 4. All queues are bounded: who feeds faster than is decoded waits.
#![forbid(unsafe_code)]

#[cfg(feature = "client")]
mod child;
#[cfg(feature = "client")]
mod pool;
#[cfg(feature = "client")]
mod progress;
#[cfg(feature = "client")]
mod still;
pub mod wire;

#[cfg(feature = "client")]
pub use pool::{Answers, Decoders, Feed, Lost, OpenError, Options, Picture, Reply, Unit};
#[cfg(feature = "client")]
pub use still::{StillError, still};
