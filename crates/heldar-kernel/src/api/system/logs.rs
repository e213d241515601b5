//! The last lines of the log.

use axum::http::Method;
use heldar_base::{Capability, WallTime};
use heldar_http::{Access, Doc, Json, Limit, Query, RouteTable};
use serde::{Deserialize, Serialize};
use tracing::Level;
use utoipa::{IntoParams, ToSchema};

use super::TAG;
use crate::api::Api;
use crate::health::{LogLine, LogRing};

pub(super) fn routes(table: &mut RouteTable<Api>) {
    table.add(
        Method::GET,
        "/api/v1/system/logs",
        Access::fleet(Capability::Admin),
        show,
        Doc::new("getLogs", TAG, "The last lines of the log")
            .details("From memory, oldest first, secrets masked.")
            .query::<LogQuery>()
            .list::<LogEntry>(200, "The lines."),
    );
}

/// How bad a line is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum LogLevel {
    Error,
    Warn,
    #[default]
    Info,
    Debug,
}

impl From<LogLevel> for Level {
    fn from(level: LogLevel) -> Level {
        match level {
            LogLevel::Error => Level::ERROR,
            LogLevel::Warn => Level::WARN,
            LogLevel::Info => Level::INFO,
            LogLevel::Debug => Level::DEBUG,
        }
    }
}

/// Which lines.
#[derive(Debug, Deserialize, IntoParams)]
struct LogQuery {
    /// That level and worse.
    #[serde(default)]
    #[param(inline)]
    level: LogLevel,
    /// From this instant on.
    #[param(value_type = Option<String>, format = DateTime)]
    since: Option<WallTime>,
    /// At most so many.
    #[serde(default)]
    #[param(inline)]
    limit: Limit<200, 1, 2000>,
}

/// One line.
#[derive(Debug, Serialize, ToSchema)]
struct LogEntry {
    /// When.
    #[schema(value_type = String, format = DateTime)]
    at: WallTime,
    /// `error`, `warn`, `info` or `debug`.
    level: &'static str,
    /// Who says so.
    target: String,
    /// What.
    message: String,
}

impl From<LogLine> for LogEntry {
    fn from(line: LogLine) -> Self {
        let level = match line.level {
            Level::ERROR => "error",
            Level::WARN => "warn",
            Level::INFO => "info",
            Level::DEBUG | Level::TRACE => "debug",
        };
        LogEntry { at: line.at, level, target: line.target, message: line.message }
    }
}

async fn show(Query(query): Query<LogQuery>) -> Json<Vec<LogEntry>> {
    let limit = usize::try_from(query.limit.get()).unwrap_or(usize::MAX);
    let lines = LogRing::of_process().last(query.level.into(), query.since, limit);
    Json(lines.into_iter().map(LogEntry::from).collect())
}
