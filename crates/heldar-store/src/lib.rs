//! The only crate with SQL: one store on SQLite or PostgreSQL, written by one writer.
//!
//! Owns: the schema, every statement but those of apps, the order in which writes are committed, what a scope may read.
//! Never: a clock, a file of footage, HTTP, or a decision about what should be recorded, kept or deleted.
//!
//! - [`Store::open`] brings the schema up to date and takes the store over: there is one owner, and the one before is
//!   fenced.
//! - [`Store::write`] takes an operation of [`op`] and answers after its commit; [`Store::manage`] adds the audit row
//!   and the events of a change, [`Store::write_all`] makes several operations one.
//! - Apps bring statements, schema steps and reads of their own, and never hold a connection: see [`op::RunApp`],
//!   [`Store::migrate_app`], [`Store::app_rows`].
//! - Reads are methods of [`Store`], each with a [`heldar_base::Scope`], lists with a key to go on from.
//!
//! Invariants
//! 1. A caller that was told of a commit finds it in every later read, and after any end of the process.
//! 2. Segments of one stream never overlap.
//! 3. Stored totals equal what they total after every commit.
//! 4. Events, batches and zone events share one sequence of numbers, which rise in commit order and are never used twice.
//! 5. An audit row is committed with the change it is about or not at all, and never changes.
//! 6. Once an active account administers everything, one always does.
//! 7. A part of a frame with an id is stored once, and a consumer finishes a batch once, in the commit of what it makes
//!    of it.
#![forbid(unsafe_code)]

mod app;
mod canonical;
mod error;
pub mod inspect;
mod model;
mod observe;
pub mod op;
#[cfg(test)]
mod prepared;
mod read;
mod schema;
mod size;
mod sql;
mod store;
mod url;
mod writer;

pub use app::{APP_PLACES, APP_ROWS, AppMigration, AppRow, AppScript, AppSql, AppStatement, AppValue};
pub use error::{ErrorKind, StoreError};
pub use model::*;
pub use observe::{Changes, Observer, Work};
pub use op::{Durability, Operation, Outcome, WriteOp};
pub use read::{CameraQuery, Letters, PAGE_LIMIT};
pub use size::{Engine, StoreSize};
pub use store::{Attached, Committed, Store, StoreConfig};
pub use url::{DatabaseUrl, UrlError};
pub use writer::{Condition, Health};
