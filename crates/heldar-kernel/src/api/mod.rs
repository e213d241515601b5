//! The HTTP API: routes with their access rules, request and answer types.
//!
//! Owns: shapes and status codes of the contract. Never: SQL, sockets, decisions that a service or a pure crate makes.
//! Each module adds its routes to the table; there is no other way to a handler.

pub mod ai;
pub mod audit;
pub mod auth;
pub mod cameras;
pub mod clips;
pub mod errors;
pub mod events;
pub mod feed;
pub mod footage;
pub mod keys;
pub mod live;
pub mod media;
pub mod paging;
pub mod playback;
pub mod records;
pub mod requester;
pub mod sites;
pub mod snapshots;
pub mod stills;
pub mod system;
pub mod timeline;
pub mod users;
pub mod webhooks;
pub mod words;
pub mod zones;

use std::sync::Arc;

use heldar_http::RouteTable;

use crate::apps::Verticals;
use crate::kernel::Kernel;

/// What handlers share.
pub type Api = Arc<Kernel>;

/// Every route, those of apps among them.
pub fn routes_with(apps: &dyn Verticals) -> RouteTable<Api> {
    let mut table = routes();
    apps.merge_routes(&mut table);
    table
}

/// Every route of the server's own.
pub fn routes() -> RouteTable<Api> {
    let mut table = RouteTable::new("Heldar", env!("CARGO_PKG_VERSION"));
    cameras::routes(&mut table);
    sites::routes(&mut table);
    events::routes(&mut table);
    feed::routes(&mut table);
    audit::routes(&mut table);
    footage::routes(&mut table);
    timeline::routes(&mut table);
    playback::routes(&mut table);
    stills::routes(&mut table);
    records::routes(&mut table);
    snapshots::routes(&mut table);
    zones::routes(&mut table);
    ai::routes(&mut table);
    webhooks::routes(&mut table);
    clips::routes(&mut table);
    live::routes(&mut table);
    media::routes(&mut table);
    system::routes(&mut table);
    auth::routes(&mut table);
    users::routes(&mut table);
    keys::routes(&mut table);
    table
}
