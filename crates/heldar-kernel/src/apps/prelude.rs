//! Everything that an app is usually written with: `use heldar_kernel::apps::prelude::*;`.

pub use axum::extract::State;
pub use axum::http::Method;
pub use futures_util::future::{BoxFuture, FutureExt};
pub use heldar_base::{CameraId, Capability, Clock, WallTime};
pub use heldar_http::{Access, ApiError, Caller, Camera, Code, Doc, Json, Query, RouteTable};
pub use heldar_store::{Severity, StoreError};

pub use super::{
    AppContext, AppEvent, AppMigration, AppRow, AppScript, AppSql, AppStatement, AppValue, Attributes,
    ConsumeError, DetectionBatch, DetectionConsumer, Schema, Seen, Tx, Verticals,
};
pub use crate::api::Api;
pub use crate::api::errors::store as store_error;
