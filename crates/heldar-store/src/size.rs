//! How much room the database takes.

use crate::error::StoreError;
use crate::sql::{Readers, statements};

statements! {
    SQLITE_PAGES = "SELECT c.page_count, f.freelist_count, s.page_size
        FROM pragma_page_count c, pragma_freelist_count f, pragma_page_size s";
    POSTGRES_SIZE = "SELECT pg_database_size(current_database())";
}

/// The database engine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// A SQLite file.
    Sqlite,
    /// A PostgreSQL server.
    Postgres,
}

impl Engine {
    /// Its name in the API.
    pub const fn as_str(self) -> &'static str {
        match self {
            Engine::Sqlite => "sqlite",
            Engine::Postgres => "postgres",
        }
    }
}

/// Room that the database takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreSize {
    /// Bytes in use.
    pub used_bytes: i64,
    /// Bytes that are allocated and free; 0 on PostgreSQL, which does not tell.
    pub free_bytes: i64,
}

impl crate::Store {
    /// Which engine holds the store.
    pub fn engine(&self) -> Engine {
        match self.readers() {
            Readers::Sqlite(_) => Engine::Sqlite,
            Readers::Postgres(_) => Engine::Postgres,
        }
    }

    /// Room that the database takes, its log excepted.
    pub async fn size(&self) -> Result<StoreSize, StoreError> {
        let statement = match self.engine() {
            Engine::Sqlite => SQLITE_PAGES,
            Engine::Postgres => POSTGRES_SIZE,
        };
        let rows = self.rows(statement.with(Vec::new())).await?;
        let row = rows.first().ok_or_else(|| StoreError::corrupt("the database does not tell its size"))?;
        let mut c = row.columns();
        match self.engine() {
            Engine::Sqlite => {
                let (pages, free, page) = (c.int()?, c.int()?, c.int()?);
                Ok(StoreSize { used_bytes: (pages - free) * page, free_bytes: free * page })
            }
            Engine::Postgres => Ok(StoreSize { used_bytes: c.int()?, free_bytes: 0 }),
        }
    }
}
