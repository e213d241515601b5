//! The library that apps link: engine, services, HTTP API.
#![forbid(unsafe_code)]

pub mod address;
pub mod api;
pub mod audit;
pub mod clips;
pub mod engine;
pub mod footage;
pub mod front;
pub mod health;
pub mod kernel;
pub mod ledger;
pub mod playback;
pub mod registry;
pub mod retention;
pub mod secrets;
