//! Embedded, ordered, checksummed migrations.
//!
//! Invariant: a migration and its record commit together, and the text of an applied one never changes; a store whose
//! record differs from what is embedded here is not opened.

use heldar_base::WallTime;
use sha2::{Digest as _, Sha256};

use crate::error::StoreError;
use crate::sql::{Command, Conn, Row, args, statements};

/// One step of the schema, with its text for each engine.
struct Migration {
    /// Position, from 1.
    number: i64,
    name: &'static str,
    sqlite: &'static str,
    postgres: &'static str,
}

/// Every step, in order.
const MIGRATIONS: &[Migration] = &[
    Migration {
        number: 1,
        name: "first",
        sqlite: include_str!("sqlite_1.sql"),
        postgres: include_str!("postgres_1.sql"),
    },
    Migration {
        number: 2,
        name: "accounts",
        sqlite: include_str!("sqlite_2.sql"),
        postgres: include_str!("postgres_2.sql"),
    },
    Migration {
        number: 3,
        name: "perception",
        sqlite: include_str!("sqlite_3.sql"),
        postgres: include_str!("postgres_3.sql"),
    },
    Migration {
        number: 4,
        name: "snapshots",
        sqlite: include_str!("sqlite_4.sql"),
        postgres: include_str!("postgres_4.sql"),
    },
    Migration {
        number: 5,
        name: "zones and feed",
        sqlite: include_str!("sqlite_5.sql"),
        postgres: include_str!("postgres_5.sql"),
    },
    Migration {
        number: 6,
        name: "webhooks and record modes",
        sqlite: include_str!("sqlite_6.sql"),
        postgres: include_str!("postgres_6.sql"),
    },
];

/// The record of what was applied. `component` tells the store's own steps from those of apps.
const SQLITE_RECORD: &str = "CREATE TABLE IF NOT EXISTS migration (
    component TEXT NOT NULL,
    number INTEGER NOT NULL CHECK (number >= 1),
    name TEXT NOT NULL,
    checksum TEXT NOT NULL CHECK (length(checksum) = 64),
    applied_us INTEGER NOT NULL,
    PRIMARY KEY (component, number)) STRICT, WITHOUT ROWID";
const POSTGRES_RECORD: &str = "CREATE TABLE IF NOT EXISTS migration (
    component TEXT COLLATE \"C\" NOT NULL,
    number BIGINT NOT NULL CHECK (number >= 1),
    name TEXT COLLATE \"C\" NOT NULL,
    checksum TEXT COLLATE \"C\" NOT NULL CHECK (length(checksum) = 64),
    applied_us BIGINT NOT NULL,
    PRIMARY KEY (component, number))";

/// The component of this crate.
pub(crate) const CORE: &str = "core";

statements! {
    APPLIED = "SELECT number, name, checksum FROM migration WHERE component = $1 ORDER BY number";
    RECORD = "INSERT INTO migration (component, number, name, checksum, applied_us) VALUES ($1, $2, $3, $4, $5)";
}

impl Migration {
    fn text(&self, conn: &Conn) -> &'static str {
        match conn {
            Conn::Sqlite(_) => self.sqlite,
            Conn::Postgres(_) => self.postgres,
        }
    }
}

fn checksum(text: &str) -> String {
    let mut hex = String::with_capacity(64);
    for byte in Sha256::digest(text.as_bytes()) {
        hex.push(char::from_digit(u32::from(byte >> 4), 16).unwrap_or('0'));
        hex.push(char::from_digit(u32::from(byte & 15), 16).unwrap_or('0'));
    }
    hex
}

/// Number of the newest step that this version knows.
pub(crate) const NEWEST: i64 = MIGRATIONS.len() as i64;

/// The last step that was applied, and whether it and all before it are those of this version.
pub(crate) async fn applied(conn: &mut Conn) -> Result<Option<Applied>, StoreError> {
    let mut last = None;
    for row in conn.rows(APPLIED.with(args![CORE])).await? {
        let mut columns = row.columns();
        let (number, name, sum) = (columns.int()?, columns.text()?, columns.text()?);
        let ours = MIGRATIONS.iter().find(|migration| migration.number == number);
        let known = match ours {
            None => Known::No,
            Some(migration) if checksum(migration.text(conn)) == sum => Known::Yes,
            Some(_) => Known::Otherwise,
        };
        last = Some(Applied { number, name, known });
        if known != Known::Yes {
            break;
        }
    }
    Ok(last)
}

/// A step that a database records.
pub(crate) struct Applied {
    pub(crate) number: i64,
    pub(crate) name: String,
    pub(crate) known: Known,
}

/// Whether this version knows a step.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known {
    Yes,
    /// It is of a newer version.
    No,
    /// Its text here is another.
    Otherwise,
}

/// Brings the database to the schema of this version.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when an applied step differs from its text here, or the database is of a newer version.
pub(crate) async fn migrate(conn: &mut Conn, now: WallTime) -> Result<(), StoreError> {
    migrate_to(conn, MIGRATIONS, now).await
}

async fn migrate_to(conn: &mut Conn, migrations: &[Migration], now: WallTime) -> Result<(), StoreError> {
    // Two processes that start at once take turns, on PostgreSQL by an advisory lock that ends with the transaction.
    let (begin, record) = match conn {
        Conn::Sqlite(_) => ("BEGIN IMMEDIATE", SQLITE_RECORD),
        Conn::Postgres(_) => ("BEGIN; SELECT pg_advisory_xact_lock(4912731550)", POSTGRES_RECORD),
    };
    let mut applied = 0;
    loop {
        conn.script(begin).await?;
        let outcome = step(conn, record, migrations, now).await;
        match outcome {
            Ok(done) => {
                conn.script("COMMIT").await?;
                if done == Step::Nothing {
                    if applied > 0 {
                        tracing::info!(applied, "database schema brought up to date");
                    }
                    return Ok(());
                }
                applied += 1;
            }
            Err(error) => {
                // The transaction also ends with the connection; the first error is the one to tell.
                let _rolled_back = conn.script("ROLLBACK").await;
                return Err(error);
            }
        }
    }
}

#[derive(PartialEq, Eq)]
enum Step {
    Applied,
    Nothing,
}

/// Checks what was applied and applies the next step, inside a transaction.
async fn step(
    conn: &mut Conn,
    record: &'static str,
    migrations: &[Migration],
    now: WallTime,
) -> Result<Step, StoreError> {
    conn.script(record).await?;
    let rows = conn.rows(applied_of(CORE)).await?;
    let mut expected = migrations.iter();
    compare(&rows, "", expected.by_ref().map(|migration| (migration.number, migration.text(conn))))?;
    let Some(migration) = expected.next() else { return Ok(Step::Nothing) };
    let text = migration.text(conn);
    conn.script(text).await?;
    conn.execute(record_of(CORE, migration.number, migration.name, text, now)).await?;
    Ok(Step::Applied)
}

/// Reads the steps of a component that were applied, in order, for [`compare`].
pub(crate) fn applied_of(component: &str) -> Command {
    APPLIED.with(args![component])
}

/// Records that a step of a component was applied.
pub(crate) fn record_of(component: &str, number: i64, name: &str, text: &str, now: WallTime) -> Command {
    RECORD.with(args![component, number, name, checksum(text), now])
}

/// Compares the steps that were applied with the numbers and texts of those of this version, of which it takes as many.
/// `whose` stands behind the name of a step in errors.
///
/// # Errors
/// [`ErrorKind::Corrupt`] when they are not the same.
pub(crate) fn compare(
    rows: &[Row],
    whose: &str,
    mut ours: impl Iterator<Item = (i64, &'static str)>,
) -> Result<(), StoreError> {
    for row in rows {
        let mut columns = row.columns();
        let (number, name, sum) = (columns.int()?, columns.text()?, columns.text()?);
        let Some((_, text)) = ours.next().filter(|(ours, _)| *ours == number) else {
            return Err(StoreError::corrupt(format!(
                "the database has schema step {number} `{name}`{whose}, which this version does not know"
            )));
        };
        if checksum(text) != sum {
            return Err(StoreError::corrupt(format!(
                "schema step {number} `{name}`{whose} of the database differs from that of this version"
            )));
        }
    }
    Ok(())
}
