//! The thin layer between rows and drivers: statements, bound values, rows, connections.
//!
//! Owns: how a statement reaches either engine. Never: what a statement says; that stands with the area it belongs to.
//! SQL is fixed text with `$n`, the same on both engines, or composed of fixed fragments by [`Query`]; values are only
//! ever bound. What apps bring goes its own way, in `app`. [`Stmt`] is made by the `statements!` macro alone, which lists every text for the test that prepares
//! them on both engines.

mod app;
mod arg;
mod conn;
mod pool;
mod query;
mod row;
mod sqlite;

pub(crate) use arg::{Arg, args};
pub(crate) use conn::{Conn, postgres_options};
pub(crate) use pool::{Readers, SqliteReaders};
pub(crate) use query::{CameraFilter, Query};
pub(crate) use row::{Columns, Row};
pub(crate) use sqlite::{SqliteConn, SqliteUse};

use std::borrow::Cow;

use crate::error::{ErrorKind, StoreError};

/// A fixed statement.
#[derive(Clone, Copy)]
pub(crate) struct Stmt(&'static str);

impl Stmt {
    /// For the `statements!` macro alone.
    pub(crate) const fn listed(text: &'static str) -> Self {
        Stmt(text)
    }

    /// Its text.
    fn text(self) -> &'static str {
        self.0
    }

    /// The statement with its values.
    pub(crate) fn with(self, args: Vec<Arg>) -> Command {
        Command { text: Cow::Borrowed(self.0), args }
    }
}

/// A statement, ready to run.
pub(crate) struct Command {
    pub(crate) text: Cow<'static, str>,
    pub(crate) args: Vec<Arg>,
}

/// PostgreSQL stores no NUL in text; refused on both engines, so that both behave the same.
fn without_nul(text: Option<&str>) -> Result<(), StoreError> {
    match text {
        Some(text) if text.contains('\0') => {
            Err(StoreError::new(ErrorKind::Internal, "text with a NUL character cannot be stored"))
        }
        _ => Ok(()),
    }
}

/// Declares fixed statements and lists them for the test that prepares each on both engines.
macro_rules! statements {
    ($($(#[$meta:meta])* $name:ident = $text:expr;)+) => {
        $($(#[$meta])* const $name: $crate::sql::Stmt = $crate::sql::Stmt::listed($text);)+
        /// Every fixed statement of this module with its name.
        #[cfg(test)]
        pub(crate) const STATEMENTS: &[(&str, &str)] = &[$((stringify!($name), $text),)+];
    };
}
pub(crate) use statements;
