//! Clips.

use heldar_http::RouteTable;

use super::Api;

/// Adds the routes.
pub fn routes(_table: &mut RouteTable<Api>) {}
