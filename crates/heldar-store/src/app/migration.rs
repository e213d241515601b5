//! The schema of apps: steps that are applied once, in order, through the writer.
//!
//! Owns: what a list of steps must be before the writer is asked. Never: the record of what was applied; that is in
//! `schema`.

use heldar_base::WallTime;

use super::{rejected, text};
use crate::error::StoreError;
use crate::op::ApplyAppStep;
use crate::size::Engine;

/// Statements of a schema step: a fixed text for each engine, which may hold several or none.
///
/// Each begins with CREATE, ALTER, DROP, COMMENT, INSERT, UPDATE, DELETE, REPLACE or WITH. Constraints are checked at
/// once: the word DEFERRED is refused, because what is refused at the COMMIT concerns everybody in it.
#[derive(Clone, Copy, Debug)]
pub struct AppScript {
    sqlite: &'static str,
    postgres: &'static str,
}

impl AppScript {
    /// One text for both engines.
    pub const fn new(text: &'static str) -> AppScript {
        AppScript { sqlite: text, postgres: text }
    }

    /// A text for each engine.
    pub const fn each(sqlite: &'static str, postgres: &'static str) -> AppScript {
        AppScript { sqlite, postgres }
    }

    /// Its text for an engine.
    pub(crate) fn text(&self, engine: Engine) -> &'static str {
        match engine {
            Engine::Sqlite => self.sqlite,
            Engine::Postgres => self.postgres,
        }
    }
}

/// One step of an app's schema. Once a version with it has run, its text never changes: what is to be different is a
/// further step.
#[derive(Clone, Copy, Debug)]
pub struct AppMigration {
    /// Position, from 1.
    pub version: u32,
    /// What it is called in the record and in errors.
    pub name: &'static str,
    /// What it does.
    pub sql: AppScript,
}

/// Longest name of a component.
const COMPONENT_CHARS: usize = 32;

impl crate::Store {
    /// Brings the schema of an app up to date; the number of steps that were applied. Called at the start, before the
    /// app's first statement.
    ///
    /// Each step is one transaction with its record, which holds the SHA-256 of its text for this engine. On PostgreSQL
    /// a step must end within 30 seconds.
    ///
    /// # Errors
    /// [`crate::ErrorKind::Corrupt`] when an applied step differs from its text here, or the database has one that is
    /// not here; nothing is applied then. [`crate::ErrorKind::Rejected`] when `component` is not 1 to 32 of `a-z` and
    /// `_` or is that of the store, when the versions are not 1, 2, 3 …, when a text is not taken, and nothing is
    /// applied; or when the database refuses a step, and those before it stay. Otherwise as [`crate::Store::write`].
    pub async fn migrate_app(
        &self,
        component: &str,
        migrations: &[AppMigration],
        now: WallTime,
    ) -> Result<u32, StoreError> {
        check(component, migrations)?;
        let mut applied = 0;
        loop {
            let step = ApplyAppStep { component: component.to_owned(), migrations: migrations.to_vec(), now };
            if !self.write(step).await? {
                break;
            }
            applied += 1;
        }
        if applied > 0 {
            tracing::info!(component, applied, "schema of an app brought up to date");
        }
        Ok(applied)
    }
}

/// What can be said of steps without a database.
fn check(component: &str, migrations: &[AppMigration]) -> Result<(), StoreError> {
    let named = (1..=COMPONENT_CHARS).contains(&component.len())
        && component.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    if !named {
        return Err(rejected(format!(
            "`{component}` cannot be the component of an app: that is 1 to {COMPONENT_CHARS} of the characters a-z \
             and _"
        )));
    }
    if component == crate::schema::CORE {
        return Err(rejected(format!("`{component}` is the component of the store itself")));
    }
    for (migration, expected) in migrations.iter().zip(1u32..) {
        let AppMigration { version, name, sql } = migration;
        if *version != expected {
            return Err(rejected(format!(
                "app `{component}`: schema step {expected} is missing where {version} `{name}` stands"
            )));
        }
        for engine in [Engine::Sqlite, Engine::Postgres] {
            if let Err(why) = text::script(sql.text(engine), engine) {
                let on = engine.as_str();
                return Err(rejected(format!(
                    "app `{component}`: schema step {version} `{name}` is not taken ({on}): {why}"
                )));
            }
        }
    }
    Ok(())
}
