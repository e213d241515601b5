//! An RTSP 1.0 server (RFC 2326) for live streams: test cameras and restream.
//!
//! Owns: the protocol, sessions, packetization (H.264, H.265, AAC, G.711, Opus), sender reports, limits. The [`Host`] says
//! who may see what and which [`Stream`] stands behind a path; whoever feeds a stream calls [`Stream::publish`] and is
//! never made to wait: a client that does not read is moved to the next sync sample and counted.
//!
//! Invariants: no input reaches a panic; every buffer is bounded ([`Config`], [`Manners::queue_bytes`]); packets go to no
//! address but the requester's; a session ends with its connection or its timeout, whichever is first.

mod auth;
mod connection;
mod dialogue;
mod format;
mod host;
#[cfg(test)]
mod hostile;
mod listen;
mod manners;
mod message;
mod packetize;
mod random;
mod rtcp;
mod sdp;
mod session;
mod stream;
mod target;
#[cfg(test)]
mod tests;
mod transport;
mod udp;
mod viewer;

pub use auth::{Account, Algorithm, Challenger, Check, Credentials, Digest, Scheme};
pub use format::{Format, ParameterSets};
pub use host::{AccessRequest, BoxFuture, Guest, Host, OpenError, Playing, Verdict};
pub use listen::{Config, Server, ServerStats};
pub use manners::{Control, InBandSets, KeepAlive, Manners, Reports, RtpInfo, SdpSets, Start, Transports};
pub use message::{Input, Limits, Method, ParseError, Request, next_input};
pub use stream::{Payload, Stream, StreamStats, Unit};
