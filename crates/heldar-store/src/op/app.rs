//! Writes of apps: statements of their own, steps of their schema.

use heldar_base::WallTime;

use super::{Apply, Apps, Durability, OpError, Perception, Tx, WriteOp};
use crate::app::{AppMigration, AppStatement, Purpose};
use crate::schema;

/// Runs statements of an app, in this order; answers with the rows that each changed.
///
/// Refused with [`crate::ErrorKind::Rejected`] when a statement is not taken, by this crate or by the database; the text
/// names the app, the statement by its position from 1 and the reason. Nothing of this operation, and of the
/// [`WriteOp::All`] that it is part of, is stored then; other writes are not concerned.
///
/// Survives a power cut when it stands alone. Together with an [`super::AdvanceCursor`] in one [`WriteOp::All`] it is as
/// safe as that, and as the others in it: a batch whose commit is lost is taken again, and its effects made again.
#[derive(Clone, Debug)]
pub struct RunApp {
    /// The component of the app, for errors.
    pub app: String,
    /// What to run: INSERT, UPDATE, DELETE, REPLACE, or WITH that leads to one of them. Without RETURNING.
    pub statements: Vec<AppStatement>,
}

impl Apply for RunApp {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<u64>, OpError> {
        let which = |at: usize| format!("app `{}`: statement {}", self.app, at + 1);
        for (at, statement) in self.statements.iter().enumerate() {
            let checked = statement.sql.check(Purpose::Change, &statement.values);
            checked.map_err(|error| OpError::Refused(error.of_app(which(at))))?;
        }
        let mut changed = Vec::with_capacity(self.statements.len());
        for (at, statement) in self.statements.iter().enumerate() {
            let rows = tx.run_app(statement).await;
            changed.push(rows.map_err(|error| OpError::Failed(error.of_app(which(at))))?);
        }
        Ok(changed)
    }
}

/// Applies the next step of an app's schema with its record; whether there was one. Made by
/// [`crate::Store::migrate_app`], which says what it is refused with.
#[derive(Clone, Debug)]
pub struct ApplyAppStep {
    pub(crate) component: String,
    pub(crate) migrations: Vec<AppMigration>,
    pub(crate) now: WallTime,
}

impl Apply for ApplyAppStep {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, OpError> {
        let (component, engine) = (self.component.as_str(), tx.engine());
        let applied = tx.rows(schema::applied_of(component)).await?;
        let ours = self.migrations.iter();
        let mut ours = ours.map(|step| (i64::from(step.version), step.sql.text(engine)));
        schema::compare(&applied, &format!(" of app `{component}`"), &mut ours).map_err(OpError::Refused)?;
        let Some(step) = self.migrations.get(applied.len()) else { return Ok(false) };
        let text = step.sql.text(engine);
        tx.script(text).await.map_err(|error| {
            OpError::Failed(
                error.of_app(format_args!("app `{component}`: schema step {} `{}`", step.version, step.name)),
            )
        })?;
        tx.execute(schema::record_of(component, i64::from(step.version), step.name, text, self.now)).await?;
        Ok(true)
    }
}

/// How safe writes are that happen together: as the one that must be safest, but for what an app makes of a batch.
pub(super) fn durability(ops: &[WriteOp]) -> Durability {
    let of_a_batch = ops.iter().any(|op| matches!(op, WriteOp::Perception(Perception::AdvanceCursor(_))));
    let others = ops.iter().filter(|op| !(of_a_batch && matches!(op, WriteOp::Apps(Apps::RunApp(_)))));
    others.map(WriteOp::durability).max().unwrap_or(Durability::Relaxed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::op::{AdvanceCursor, AppendEvents};

    #[test]
    fn what_an_app_makes_of_a_batch_is_as_safe_as_the_cursor() {
        let run = || WriteOp::from(RunApp { app: "zones".to_owned(), statements: Vec::new() });
        let advance = || {
            let consumer = "zones".to_owned();
            WriteOp::from(AdvanceCursor { consumer, seq: 1, low_seq: 1, now: WallTime(0) })
        };
        let events = || WriteOp::from(AppendEvents { events: Vec::new() });
        for (ops, expect) in [
            (vec![run()], Durability::Full),
            (vec![advance()], Durability::Relaxed),
            (vec![advance(), run()], Durability::Relaxed),
            (vec![run(), advance()], Durability::Relaxed),
            (vec![advance(), run(), events()], Durability::Full),
            (vec![], Durability::Relaxed),
        ] {
            assert_eq!(WriteOp::All(ops).durability(), expect);
        }
        assert_eq!(run().durability(), Durability::Full);
    }
}
