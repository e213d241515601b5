//! Motion in the small luma planes of one camera: what moves, where, since when.
//!
//! Owns: the background model, what counts as a moving thing, its tracks, motion spans and when an event is due. Never: a
//! clock, a file, a socket, a codec; pictures and their capture times are arguments, answers are plain values.
//!
//! One [`Detector`] per camera takes pictures of a sub stream at some 5 per second. What it does with each of them:
//!
//! 1. The plane is averaged into cells (two pixels a side of a picture [`Config::scale_width`] wide), which halves noise.
//! 2. A change of the light that explains most of the difference is taken over into the background.
//! 3. A cell is changed where it differs from its background by more than its own noise, the noise of the picture and a floor.
//! 4. Changed cells are gathered into regions, regions into tracks. A track is called motion once its positions line up far
//!    better than chance would have it, and it has travelled. Rain is not there twice, foliage does not travel.
//! 5. The background learns; what stands still for some seconds becomes part of it.
//!
//! A change of most of the picture at once (infrared, lamp, moved camera, gap in time) makes the detector learn anew, without
//! motion meanwhile.
#![forbid(unsafe_code)]

mod background;
mod clutter;
mod config;
mod detector;
mod grid;
mod light;
mod plane;
mod regions;
mod scene;
mod spans;
mod track;
mod tracker;

pub use config::{Config, ConfigError};
pub use detector::{Detector, MotionUpdate, Outcome, State, TrackedBox};
pub use grid::MAX_CELLS;
pub use plane::{Plane, PlaneError};
pub use scene::SceneChange;
pub use spans::HOLD;
pub use tracker::{Area, MAX_TRACKS};
