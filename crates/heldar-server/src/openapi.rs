//! `heldar openapi` and `heldar access-matrix`: what the route table says, without a server.

use std::ffi::OsString;
use std::process::ExitCode;

use heldar_kernel::api;

use crate::{complain, say, unexpected};

/// Prints the OpenAPI document.
pub(crate) fn description(arguments: Vec<OsString>) -> ExitCode {
    if !arguments.is_empty() {
        return unexpected("openapi");
    }
    let text = api::routes_with(&*crate::apps())
        .openapi()
        .map_err(|error| error.to_string())
        .and_then(|document| serde_json::to_string_pretty(&document).map_err(|error| error.to_string()));
    match text {
        Ok(text) => {
            say(&text);
            say("\n");
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&format!("heldar openapi: {error}\n"));
            ExitCode::FAILURE
        }
    }
}

/// Prints method, path, capability and scope of every route.
pub(crate) fn access_matrix(arguments: Vec<OsString>) -> ExitCode {
    if !arguments.is_empty() {
        return unexpected("access-matrix");
    }
    say(&api::routes_with(&*crate::apps()).access_matrix());
    ExitCode::SUCCESS
}
