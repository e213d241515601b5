//! What compiled-in apps bring to the store: statements, schema steps and the values in them.
//!
//! Owns: the shapes of an app's SQL and what of it is taken at all. Never: a connection, a transaction, a table of the
//! store; an app reads and writes tables of its own, whose names begin with its component and `_`.
//!
//! - [`crate::op::RunApp`] runs statements that change rows. Beside [`crate::op::AdvanceCursor`] and
//!   [`crate::op::AppendEvents`] in one [`crate::WriteOp::All`], what an app makes of a batch and the cursor that says
//!   so stand or fall together.
//! - [`crate::Store::app_rows`] reads what is committed.
//! - [`crate::Store::migrate_app`] brings an app's tables up to date.
//!
//! What the database refuses is told as [`ErrorKind::Rejected`], which no other write is refused with: the same call
//! fails again. A database that is away or busy stays [`ErrorKind::Unavailable`] or [`ErrorKind::Busy`], and is waited
//! for. Statements run on the one writer: one that takes long holds everybody up.

mod migration;
mod row;
mod text;

pub use migration::{AppMigration, AppScript};
pub use row::AppRow;

use heldar_base::{CameraId, WallTime};

use crate::error::{ErrorKind, StoreError};
use crate::size::Engine;
use text::{Shape, Verb};

/// Most places `$n` of one statement of an app.
pub const APP_PLACES: usize = text::PLACES;

/// Most rows of one read of an app; a read that has more is an error.
pub const APP_ROWS: usize = 100_000;

/// A refusal of what an app brought.
pub(crate) fn rejected(message: impl Into<String>) -> StoreError {
    StoreError::new(ErrorKind::Rejected, message)
}

/// One statement of an app: a fixed text for each engine, with places `$1` to `$n`.
///
/// It begins with INSERT, UPDATE, DELETE, REPLACE, SELECT, VALUES or WITH, and is one statement; whatever else is
/// refused when it is used. Made as a constant, it is looked at by the compiler and costs nothing at run time.
///
/// A value has to be of the type of its place: on PostgreSQL that which the statement gives it (a column's, mostly),
/// where `CAST($1 AS BIGINT)` decides what is open. A place of BIGINT, INTEGER, SMALLINT and BOOLEAN (0 or 1) takes
/// [`AppValue::Int`], one of DOUBLE PRECISION takes [`AppValue::Real`] and [`AppValue::Int`], one of TEXT
/// [`AppValue::Text`], one of BYTEA [`AppValue::Bytes`]; null goes everywhere. Other types are refused. Tables are best
/// STRICT on SQLite and their text `COLLATE "C"` on PostgreSQL: then both behave the same.
#[derive(Clone, Copy, Debug)]
pub struct AppSql {
    sqlite: Text,
    postgres: Text,
}

/// A text and what it is, or why it is not taken.
#[derive(Clone, Copy, Debug)]
struct Text {
    text: &'static str,
    shape: Result<Shape, &'static str>,
}

/// What a statement is used for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Change,
    Read,
}

impl AppSql {
    /// A statement with one text for both engines.
    pub const fn new(text: &'static str) -> AppSql {
        AppSql::each(text, text)
    }

    /// A statement with a text for each engine, both with the same places.
    pub const fn each(sqlite: &'static str, postgres: &'static str) -> AppSql {
        AppSql {
            sqlite: Text { text: sqlite, shape: text::statement(sqlite, Engine::Sqlite) },
            postgres: Text { text: postgres, shape: text::statement(postgres, Engine::Postgres) },
        }
    }

    /// The statement with its values.
    pub fn with(self, values: Vec<AppValue>) -> AppStatement {
        AppStatement { sql: self, values }
    }

    /// Its text for an engine.
    pub(crate) fn text(&self, engine: Engine) -> &'static str {
        match engine {
            Engine::Sqlite => self.sqlite.text,
            Engine::Postgres => self.postgres.text,
        }
    }

    /// Looks at the statement and its values as far as that goes without a database; at both texts, so that a defect
    /// does not wait for the other engine.
    pub(crate) fn check(&self, purpose: Purpose, values: &[AppValue]) -> Result<(), StoreError> {
        let (sqlite, postgres) = (self.sqlite.shape()?, self.postgres.shape()?);
        if sqlite.places != postgres.places {
            return Err(rejected("its two texts have different places"));
        }
        if sqlite.places != values.len() {
            let (places, given) = (sqlite.places, values.len());
            return Err(rejected(format!("it has {places} places and was given {given} values")));
        }
        for verb in [sqlite.verb, postgres.verb] {
            match (purpose, verb) {
                (_, Verb::With) | (Purpose::Change, Verb::Change) | (Purpose::Read, Verb::Query) => {}
                (Purpose::Change, Verb::Query) => {
                    return Err(rejected("a change begins with INSERT, UPDATE, DELETE, REPLACE or WITH"));
                }
                (Purpose::Read, Verb::Change) => {
                    return Err(rejected("a read begins with SELECT, VALUES or WITH"));
                }
            }
        }
        values.iter().try_for_each(AppValue::check)
    }
}

impl Text {
    fn shape(&self) -> Result<Shape, StoreError> {
        self.shape.map_err(rejected)
    }
}

/// A statement of an app with its values.
#[derive(Clone, Debug)]
pub struct AppStatement {
    /// What to run.
    pub sql: AppSql,
    /// One value for each place.
    pub values: Vec<AppValue>,
}

/// A value of an app, bound to a place or read from a column.
#[derive(Clone, Debug, PartialEq)]
pub enum AppValue {
    /// No value.
    Null,
    /// A whole number; flags are 0 or 1, times are microseconds since 1970-01-01T00:00:00Z.
    Int(i64),
    /// A number that is not NaN, which SQLite cannot store.
    Real(f64),
    /// Text without NUL, which PostgreSQL cannot store.
    Text(String),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl AppValue {
    /// What both engines can store.
    fn check(&self) -> Result<(), StoreError> {
        match self {
            AppValue::Real(number) if number.is_nan() => Err(rejected("a value is not a number")),
            AppValue::Text(text) if text.contains('\0') => Err(rejected("a text has a NUL character")),
            _ => Ok(()),
        }
    }

    /// What it is, for an error.
    pub(crate) fn what(&self) -> &'static str {
        match self {
            AppValue::Null => "null",
            AppValue::Int(_) => "a whole number",
            AppValue::Real(_) => "a real number",
            AppValue::Text(_) => "text",
            AppValue::Bytes(_) => "bytes",
        }
    }
}

macro_rules! from_int {
    ($($ty:ty),+) => {$(
        impl From<$ty> for AppValue {
            fn from(value: $ty) -> Self {
                AppValue::Int(i64::from(value))
            }
        }
    )+};
}
from_int!(i64, i32, u32, u16, u8, bool);

impl From<f64> for AppValue {
    fn from(value: f64) -> Self {
        AppValue::Real(value)
    }
}
impl From<&str> for AppValue {
    fn from(value: &str) -> Self {
        AppValue::Text(value.to_owned())
    }
}
impl From<String> for AppValue {
    fn from(value: String) -> Self {
        AppValue::Text(value)
    }
}
impl From<Vec<u8>> for AppValue {
    fn from(value: Vec<u8>) -> Self {
        AppValue::Bytes(value)
    }
}
impl From<WallTime> for AppValue {
    fn from(value: WallTime) -> Self {
        AppValue::Int(value.0)
    }
}
impl From<&CameraId> for AppValue {
    fn from(value: &CameraId) -> Self {
        value.as_str().into()
    }
}
impl From<CameraId> for AppValue {
    fn from(value: CameraId) -> Self {
        value.as_str().into()
    }
}
impl<T> From<Option<T>> for AppValue
where
    AppValue: From<T>,
{
    fn from(value: Option<T>) -> Self {
        value.map_or(AppValue::Null, AppValue::from)
    }
}
