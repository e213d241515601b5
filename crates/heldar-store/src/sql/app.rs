//! How a statement of an app reaches either engine.
//!
//! Owns: binding an app's values and reading its rows. On PostgreSQL a prepared statement is found by its text alone,
//! so that its types must not depend on the values of whoever comes first: the server tells what each place takes, and
//! each value is encoded for that or refused. Never: what a statement says, or whether it is taken; that is in
//! [`crate::app`].

use futures_util::TryStreamExt as _;
use rusqlite::CachedStatement;
use rusqlite::types::{ToSql, ToSqlOutput, Value, ValueRef};
use sqlx::postgres::{PgArguments, PgConnection, PgPool, PgRow, PgStatement};
use sqlx::{
    Arguments as _, Column as _, Either, Executor as _, Row as _, SqlSafeStr as _, Statement as _,
    TypeInfo as _,
};

use super::{Conn, SqliteConn, conn::limited, sqlite};
use crate::app::{AppRow, AppStatement, AppValue, rejected};
use crate::error::StoreError;
use crate::size::Engine;

/// The SQLSTATE of a write in a transaction that only reads, which all of the readers' are.
const READ_ONLY: &str = "25006";

impl Conn {
    /// Runs a statement of an app that was checked; the number of rows that it changed.
    pub(crate) async fn run_app(&mut self, statement: &AppStatement) -> Result<u64, StoreError> {
        let (sql, values) = (&statement.sql, &statement.values);
        match self {
            Conn::Sqlite(conn) => conn.run_app(sql.text(Engine::Sqlite), values),
            Conn::Postgres(conn) => limited(postgres_run(conn, sql.text(Engine::Postgres), values)).await,
        }
    }
}

fn answers_with_rows() -> StoreError {
    rejected("it answers with rows; a change has none")
}

fn writes() -> StoreError {
    rejected("it writes; a read does not")
}

fn too_many_rows(limit: usize) -> StoreError {
    rejected(format!("it has more than {limit} rows; they are to be read in pages"))
}

impl SqliteConn {
    fn run_app(&mut self, text: &str, values: &[AppValue]) -> Result<u64, StoreError> {
        let mut statement = self.prepare_cached(text)?;
        if statement.column_count() > 0 {
            return Err(answers_with_rows());
        }
        bind(&mut statement, values)?;
        Ok(statement.raw_execute()? as u64)
    }

    pub(super) fn app_rows(
        &mut self,
        text: &str,
        values: &[AppValue],
        limit: usize,
    ) -> Result<Vec<AppRow>, StoreError> {
        let mut statement = self.prepare_cached(text)?;
        if !statement.readonly() {
            return Err(writes());
        }
        bind(&mut statement, values)?;
        let mut found = statement.raw_query();
        let mut rows = Vec::new();
        while let Some(row) = found.next()? {
            if rows.len() == limit {
                return Err(too_many_rows(limit));
            }
            // A statement that was prepared before a column was added has it when it runs.
            let columns = row.as_ref().column_count();
            let values: Result<_, rusqlite::Error> =
                (0..columns).map(|at| row.get(at).map(from_sqlite)).collect();
            rows.push(AppRow::new(values?));
        }
        Ok(rows)
    }
}

fn bind(statement: &mut CachedStatement<'_>, values: &[AppValue]) -> Result<(), StoreError> {
    let places = sqlite::places(statement)?;
    for (at, value) in places.iter().enumerate() {
        let value = values.get(*value).ok_or_else(sqlite::no_value)?;
        statement.raw_bind_parameter(at + 1, value)?;
    }
    Ok(())
}

impl ToSql for AppValue {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::Borrowed(match self {
            AppValue::Null => ValueRef::Null,
            AppValue::Int(number) => ValueRef::Integer(*number),
            AppValue::Real(number) => ValueRef::Real(*number),
            AppValue::Text(text) => ValueRef::Text(text.as_bytes()),
            AppValue::Bytes(bytes) => ValueRef::Blob(bytes),
        }))
    }
}

fn from_sqlite(value: Value) -> AppValue {
    match value {
        Value::Null => AppValue::Null,
        Value::Integer(number) => AppValue::Int(number),
        Value::Real(number) => AppValue::Real(number),
        Value::Text(text) => AppValue::Text(text),
        Value::Blob(bytes) => AppValue::Bytes(bytes),
    }
}

async fn postgres_run(
    conn: &mut PgConnection,
    text: &'static str,
    values: &[AppValue],
) -> Result<u64, StoreError> {
    let statement = (&mut *conn).prepare(text.into_sql_str()).await?;
    if !statement.columns().is_empty() {
        return Err(answers_with_rows());
    }
    let query = statement.query_with(postgres_arguments(&statement, values)?);
    Ok(query.execute(conn).await?.rows_affected())
}

/// Rows of a read of an app from a pool whose transactions only read.
pub(super) async fn postgres_rows(
    pool: &PgPool,
    text: &'static str,
    values: &[AppValue],
    limit: usize,
) -> Result<Vec<AppRow>, StoreError> {
    let mut conn = pool.acquire().await?;
    let statement = (&mut *conn).prepare(text.into_sql_str()).await?;
    let query = statement.query_with(postgres_arguments(&statement, values)?);
    let mut found = query.fetch(&mut *conn);
    let mut rows = Vec::new();
    while let Some(row) = found.try_next().await.map_err(read_error)? {
        if rows.len() == limit {
            // What is left of them is not worth waiting for.
            drop(found);
            conn.close_on_drop();
            return Err(too_many_rows(limit));
        }
        rows.push(from_postgres(&row)?);
    }
    Ok(rows)
}

fn read_error(error: sqlx::Error) -> StoreError {
    match &error {
        sqlx::Error::Database(database) if database.code().as_deref() == Some(READ_ONLY) => writes(),
        _ => error.into(),
    }
}

/// Encodes each value for its place.
fn postgres_arguments(statement: &PgStatement, values: &[AppValue]) -> Result<PgArguments, StoreError> {
    let Some(Either::Left(types)) = statement.parameters() else { return Err(sqlite::no_value()) };
    if types.len() != values.len() {
        return Err(sqlite::no_value());
    }
    let mut out = PgArguments::default();
    for (at, (value, takes)) in values.iter().zip(types).enumerate() {
        let too_large =
            |_| rejected(format!("place ${} takes {takes}, for which {value:?} is too large", at + 1));
        match (value, takes.name()) {
            // What a null is declared as does not count: the statement is prepared.
            (AppValue::Null, _) => out.add(None::<i64>),
            (AppValue::Int(number), "INT8") => out.add(*number),
            (AppValue::Int(number), "INT4") => out.add(i32::try_from(*number).map_err(too_large)?),
            (AppValue::Int(number), "INT2") => out.add(i16::try_from(*number).map_err(too_large)?),
            (AppValue::Int(number @ (0 | 1)), "BOOL") => out.add(*number == 1),
            (AppValue::Int(number), "FLOAT8") => out.add(*number as f64),
            (AppValue::Real(number), "FLOAT8") => out.add(*number),
            (AppValue::Text(text), "TEXT" | "VARCHAR") => out.add(text.as_str()),
            (AppValue::Bytes(bytes), "BYTEA") => out.add(bytes.as_slice()),
            (value, _) => {
                let (place, what) = (at + 1, value.what());
                return Err(rejected(format!("place ${place} takes {takes}, not {what}")));
            }
        }
        .map_err(sqlx::Error::Encode)?;
    }
    Ok(out)
}

fn from_postgres(row: &PgRow) -> Result<AppRow, StoreError> {
    let mut values = Vec::with_capacity(row.len());
    for (at, column) in row.columns().iter().enumerate() {
        values.push(match column.type_info().name() {
            "INT8" => row.try_get::<Option<i64>, _>(at)?.into(),
            "INT4" => row.try_get::<Option<i32>, _>(at)?.into(),
            "INT2" => row.try_get::<Option<i16>, _>(at)?.map(i64::from).into(),
            "BOOL" => row.try_get::<Option<bool>, _>(at)?.into(),
            "FLOAT8" => row.try_get::<Option<f64>, _>(at)?.into(),
            "TEXT" | "VARCHAR" => row.try_get::<Option<String>, _>(at)?.into(),
            "BYTEA" => row.try_get::<Option<Vec<u8>>, _>(at)?.into(),
            other => {
                let name = column.name();
                return Err(rejected(format!(
                    "column {at} `{name}` is of the type {other}; a CAST makes it another"
                )));
            }
        });
    }
    Ok(AppRow::new(values))
}
