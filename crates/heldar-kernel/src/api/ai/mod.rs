//! Perception: tasks, discovery and leases, frames, results and who is given them (perception.md 3 to 6, 8, 10, 11).

mod consumers;
pub(super) mod detections;
mod frame;
mod ingest;
mod leases;
mod samplers;
mod tasks;

use heldar_http::RouteTable;

use super::Api;

/// Group of these operations in the description.
const TAG: &str = "perception";

/// Adds the routes.
pub fn routes(table: &mut RouteTable<Api>) {
    tasks::routes(table);
    leases::routes(table);
    samplers::routes(table);
    frame::routes(table);
    ingest::routes(table);
    detections::routes(table);
    consumers::routes(table);
}
