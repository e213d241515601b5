//! The worker as a whole, against a server in the test.
#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test")]

#[cfg(feature = "decode")]
mod example;
mod handlers;
#[cfg_attr(not(all(feature = "decode", feature = "tls")), allow(dead_code))]
mod support;
