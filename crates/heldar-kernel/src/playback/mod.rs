//! Any instant of recorded footage: HLS sessions and the virtual file.
//!
//! Owns: what a window of a stream consists of and how its bytes are addressed. Nothing is prepared before the first byte,
//! nothing is written, nothing runs past the picture needed at `to`. Never: HTTP types.

mod holes;
mod playlist;
mod sessions;
mod source;
mod virtual_plan;
mod window;

pub use holes::{CLIP_TOLERANCE, ROUNDING};
pub use playlist::{CutTail, HlsItem, PlaylistWindow, playlist, split};
pub use sessions::{Session, Sessions};
pub use source::{SegmentSource, VirtualSource, cut_group};
pub use virtual_plan::{Plan, PlanCache, PlanError};
pub use window::{Window, WindowError};
