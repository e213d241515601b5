//! The server loop: sockets in, answers out, every wait bounded (auth-system.md 4.2).
//!
//! HTTP/1.1 by hyper. What hyper answers by itself (a head that is no HTTP, or too large) is replaced on its way out, so
//! that it too is JSON with a request id.

mod connection;
mod listen;
mod refusal;
mod wire;

use std::time::Duration;

pub use listen::{BindError, Listeners, serve};

/// Bounds of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request line with its header fields; at least 8192.
    pub header_bytes: usize,
    /// Longest time from the first byte of a head to its last.
    pub header_time: Duration,
    /// Longest time without a request on an open connection.
    pub idle_time: Duration,
    /// Longest time that an answer waits for its reader to take a single byte.
    pub stalled_time: Duration,
    /// Most connections.
    pub connections: usize,
    /// Most connections of one source; a trusted proxy is no source.
    pub connections_per_source: usize,
    /// Longest time that running answers are given at the end.
    pub grace: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            header_bytes: 16 * 1024,
            header_time: Duration::from_secs(10),
            idle_time: Duration::from_secs(75),
            stalled_time: Duration::from_secs(120),
            connections: 4096,
            connections_per_source: 256,
            grace: Duration::from_secs(10),
        }
    }
}
