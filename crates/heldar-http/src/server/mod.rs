//! The server loop: sockets in, answers out, every wait bounded (auth-system.md 4.2).
//!
//! HTTP/1.1 by hyper, plain or over TLS, and HTTP/2 over TLS. What hyper answers to HTTP/1.1 by itself (a head that is no
//! HTTP, or too large) is replaced on its way out, so that it too is JSON with a request id.

mod connection;
mod http2;
mod listen;
mod redirect;
mod refusal;
mod tls;
mod wire;

use std::time::Duration;

pub use listen::{BindError, Listeners, serve};
pub use redirect::redirect;

/// Bounds of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a request line with its header fields; at least 8192.
    pub header_bytes: usize,
    /// Longest time from the first byte of a head to its last; also that of a TLS handshake.
    pub header_time: Duration,
    /// Longest time without a request on an open connection; up to a quarter more over HTTP/2.
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
