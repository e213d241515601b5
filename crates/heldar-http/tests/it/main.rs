//! The crate as a whole: a listening server on loopback, asked by a client that writes its own bytes.
#![expect(clippy::unwrap_used, reason = "a helper that cannot go on fails its test")]

mod access;
mod errors;
mod headers;
mod media;
mod openapi;
mod redirect;
mod server;
mod tls;
mod world;
