//! Live view: every viewer is fed from the one running session of a stream, and nothing is encoded anew.
//!
//! Owns: the bus of a stream, the list of viewers, and what each transport makes of access units. Never: a camera, a
//! route, a decision on rights. Nothing here can make a session wait.

mod bus;
mod feed;
pub mod hls;
mod mux;
mod ring;
#[cfg(test)]
mod testing;
mod viewers;
mod whep;

pub use bus::{Bus, Tracks, Units};
pub use feed::Feed;
pub use mux::{Fragment, Init, Mux};
pub use ring::{Follower, Piece, Received, Ring};
pub use viewers::{Cut, CutWatch, Newcomer, Seat, Transport, ViewerInfo, Viewers, Watch};
pub use whep::{Answer, Choice, Feeds, OfferError, PatchError, WebRtc, WebRtcConfig};
