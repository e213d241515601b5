//! Programs of the workers that the server would start.

use heldar_config::{Finding, Level, Settings};

use super::finding;
use crate::workers::find;

const VARIABLE: &str = "HELDAR_WORKERS";

pub(super) fn check(settings: &Settings) -> Vec<Finding> {
    let path = std::env::var_os("PATH");
    let looked_for =
        settings.workers.commands.iter().map(|worker| (worker, find(&worker.program, path.as_deref())));
    looked_for
        .filter_map(|(worker, found)| {
            let text = format!("{VARIABLE}: the worker {} cannot be started: {}", worker.name, found.err()?);
            Some(finding(Level::Warning, "worker_not_found", VARIABLE, text))
        })
        .collect()
}
