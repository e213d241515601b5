//! A look at a store from outside: what `heldar doctor` tells of it.
//!
//! Owns: reading the schema and a few figures without opening the store. Never: a write, a lock that a server would wait
//! for, or a file beside the database that was not there.

use std::fmt;

use crate::error::StoreError;
use crate::model::Setting;
use crate::schema::{self, Known};
use crate::sql::{Conn, SqliteConn, SqliteUse, postgres_options, statements};
use crate::url::DatabaseUrl;

statements! {
    SQLITE_HAS_RECORD = "SELECT COUNT(*) FROM sqlite_master WHERE type = 'table' AND name = 'migration'";
    POSTGRES_HAS_RECORD = "SELECT CASE WHEN to_regclass('migration') IS NULL THEN 0 ELSE 1 END";
    OWNER = "SELECT epoch FROM writer_state WHERE id = 1";
    FOOTAGE = "SELECT (SELECT COUNT(*) FROM camera WHERE removed_us IS NULL), CAST(coalesce(SUM(segment_count), 0) AS BIGINT),
        CAST(coalesce(SUM(total_bytes), 0) AS BIGINT) FROM stream";
    SETTINGS = "SELECT key, value, updated_us FROM setting ORDER BY key";
}

/// The schema of a database beside that of this version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Schema {
    /// No store has been made there.
    Missing,
    /// That of this version.
    Current {
        /// Its newest step.
        number: i64,
    },
    /// The next start brings it up to date.
    Older {
        /// Its newest step.
        number: i64,
        /// That of this version.
        newest: i64,
    },
    /// Made by a newer version; this one does not open it.
    Newer {
        /// The first step that this version does not know.
        number: i64,
        /// Its name.
        name: String,
    },
    /// A step differs from that of this version, which does not open it.
    Different {
        /// Which step.
        number: i64,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Schema::Missing => f.write_str("holds no store yet"),
            Schema::Current { number } => write!(f, "has schema {number}, that of this version"),
            Schema::Older { number, newest } => {
                write!(
                    f,
                    "has schema {number}, this version {newest}: the next start of the server brings it up to date"
                )
            }
            Schema::Newer { number, name } => {
                write!(
                    f,
                    "has schema step {number} `{name}`, which this version does not know: use a newer one"
                )
            }
            Schema::Different { number, name } => {
                write!(f, "has a schema step {number} `{name}` that differs from that of this version")
            }
        }
    }
}

/// What a store holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Contents {
    /// How often the store was taken over; the last owner has this number.
    pub epoch: i64,
    /// Cameras in use.
    pub cameras: i64,
    /// Segments that are not being deleted, as the stored totals say.
    pub segments: i64,
    /// Their bytes.
    pub segment_bytes: i64,
    /// Settings changed at run time; they win over the configuration.
    pub settings: Vec<Setting>,
}

/// What a look from outside shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspection {
    /// Its schema.
    pub schema: Schema,
    /// What it holds; `None` unless the schema is that of this version.
    pub contents: Option<Contents>,
}

/// Looks at a store. An absent SQLite file is an error of opening it.
///
/// # Errors
/// It cannot be reached or read.
pub async fn inspect(url: &DatabaseUrl) -> Result<Inspection, StoreError> {
    let mut conn = look(url).await?;
    let schema = read_schema(&mut conn).await?;
    let contents = match schema {
        Schema::Current { .. } => Some(read_contents(&mut conn).await?),
        _ => None,
    };
    conn.close().await?;
    Ok(Inspection { schema, contents })
}

/// The schema alone.
pub(crate) async fn schema_of(url: &DatabaseUrl) -> Result<Schema, StoreError> {
    let mut conn = look(url).await?;
    let schema = read_schema(&mut conn).await?;
    conn.close().await?;
    Ok(schema)
}

async fn look(url: &DatabaseUrl) -> Result<Conn, StoreError> {
    match url {
        DatabaseUrl::Sqlite(path) => Ok(Conn::Sqlite(SqliteConn::open(path, SqliteUse::Look)?)),
        DatabaseUrl::Postgres(url) => {
            let options = postgres_options(url.expose())?;
            Conn::postgres(&options.options([("default_transaction_read_only", "on")])).await
        }
    }
}

async fn read_schema(conn: &mut Conn) -> Result<Schema, StoreError> {
    let has_record = match conn {
        Conn::Sqlite(_) => SQLITE_HAS_RECORD,
        Conn::Postgres(_) => POSTGRES_HAS_RECORD,
    };
    let found = conn.row(has_record.with(Vec::new())).await?;
    if found.map_or(Ok(0), |row| row.columns().int())? == 0 {
        return Ok(Schema::Missing);
    }
    Ok(match schema::applied(conn).await? {
        None => Schema::Missing,
        Some(step) => match step.known {
            Known::No => Schema::Newer { number: step.number, name: step.name },
            Known::Otherwise => Schema::Different { number: step.number, name: step.name },
            Known::Yes if step.number < schema::NEWEST => {
                Schema::Older { number: step.number, newest: schema::NEWEST }
            }
            Known::Yes => Schema::Current { number: step.number },
        },
    })
}

async fn read_contents(conn: &mut Conn) -> Result<Contents, StoreError> {
    let missing = || StoreError::corrupt("the store has no writer state");
    let owner = conn.row(OWNER.with(Vec::new())).await?.ok_or_else(missing)?;
    let footage = conn.row(FOOTAGE.with(Vec::new())).await?.ok_or_else(missing)?;
    let mut c = footage.columns();
    let (cameras, segments, segment_bytes) = (c.int()?, c.int()?, c.int()?);
    let mut settings = Vec::new();
    for row in conn.rows(SETTINGS.with(Vec::new())).await? {
        let mut c = row.columns();
        settings.push(Setting { key: c.text()?, value: c.text()?, updated_at: c.time()? });
    }
    Ok(Contents { epoch: owner.columns().int()?, cameras, segments, segment_bytes, settings })
}
