//! Health, metrics, system, retention, settings.
//!
//! Owns: the routes of auth-system.md 6 to 8 and of media.md 13.

mod config;
mod db;
mod info;
mod logs;
mod parts;
mod preview;
mod probes;
mod retention;
mod tls;
mod transcode;

use heldar_http::RouteTable;

use super::Api;

pub(crate) use probes::waiting_routes;

/// Groups the routes in the description.
const TAG: &str = "system";

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    probes::routes(table);
    info::routes(table);
    retention::routes(table);
    preview::routes(table);
    db::routes(table);
    transcode::routes(table);
    config::routes(table);
    logs::routes(table);
    tls::routes(table);
}
