//! A simulated world: what happens in it follows from a seed alone.
//!
//! Owns: dice, a trace of what was done, a disk that forgets what was not synced, cameras with scripted faults. Never: a
//! clock, a thread, a file of the host.

mod camera;
mod content;
mod dice;
mod disk;
mod trace;
mod tree;

pub use camera::{CameraScript, Delivery, Sent, SimCamera};
pub use content::Survival;
pub use dice::Dice;
pub use disk::{Crash, DiskCounts, Fault, PAGE, SimDisk};
pub use trace::Trace;
