//! The library that apps link: engine, services, HTTP API.
#![forbid(unsafe_code)]

pub mod address;
pub mod engine;
