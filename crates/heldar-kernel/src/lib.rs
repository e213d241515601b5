//! The library that apps link: engine, services, HTTP API.
#![forbid(unsafe_code)]

pub mod accounts;
pub mod address;
pub mod api;
pub mod apps;
pub mod clips;
pub mod egress;
pub mod engine;
pub mod feed;
mod folders;
pub mod footage;
pub mod front;
pub mod fsck;
pub mod health;
pub mod kernel;
pub mod ledger;
pub mod live;
pub mod modes;
pub mod offline;
pub mod perception;
mod pixels;
pub mod playback;
pub mod reads;
pub mod registry;
pub mod retention;
pub mod rhythm;
pub mod secrets;
pub mod snapshots;
pub mod stills;
pub mod tls;
pub mod webhooks;
mod zones;
