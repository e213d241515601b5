//! Pulls camera streams once and hands their pictures to whoever needs them.
//!
//! Owns: RTSP sessions (on retina), camera quirks as policies. Never: writes footage, waits for a
//! consumer, shows a credential.

mod assemble;
mod clock;
mod session;
mod trouble;

pub use assemble::{Assembled, Assembler};
pub use clock::SystemClock;
pub use session::{
    AddressGuard, AudioSource, AudioTrack, Item, LeftOut, RawParams, RtspSession, Source, TransportPolicy,
    TransportUsed, connect,
};
pub use trouble::SessionError;
