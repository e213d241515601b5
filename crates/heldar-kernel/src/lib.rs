//! The library that apps link: engine, services, HTTP API.

pub mod address;
