//! RTSP, both sides of it: sessions with cameras, and the server for restream and test cameras.
#![forbid(unsafe_code)]

pub mod server;
