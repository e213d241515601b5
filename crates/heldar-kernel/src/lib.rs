//! The library that apps link: engine, services, HTTP API.
#![forbid(unsafe_code)]

pub mod address;
pub mod api;
pub mod engine;
pub mod footage;
pub mod front;
pub mod kernel;
pub mod secrets;
