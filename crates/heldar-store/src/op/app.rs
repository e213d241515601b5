//! Writes of apps: statements of their own, steps of their schema.

use heldar_base::WallTime;

use super::{Apply, Apps, Durability, OpError, Perception, Tx, WriteOp, Zones};
use crate::app::{AppMigration, AppStatement, Purpose};
use crate::schema;

/// Runs statements of an app, in this order; answers with the rows that each changed.
///
/// Refused with [`crate::ErrorKind::Rejected`] when a statement is not taken, by this crate or by the database; the text
/// names the app, the statement by its position from 1 and the reason. Nothing of this operation, and of the
/// [`WriteOp::All`] that it is part of, is stored then; other writes are not concerned.
///
/// Survives a power cut when it stands alone. Together with an [`super::AdvanceCursor`] or a [`super::SaveZoneState`] in
/// one [`WriteOp::All`] it is as safe as that, and as the others in it: a batch whose commit is lost is taken again, and
/// its effects made again.
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

/// How safe writes are that happen together: as the one that must be safest, but for what an app or the zones make of a
/// batch or of time, which is made again from the cursor or state that is in the same commit. What the feed is told is
/// never made again.
pub(super) fn durability(ops: &[WriteOp]) -> Durability {
    let is_anchor = |op: &WriteOp| {
        matches!(
            op,
            WriteOp::Perception(Perception::AdvanceCursor(_)) | WriteOp::Zones(Zones::SaveZoneState(_))
        )
    };
    let is_made_again = |op: &WriteOp| match op {
        WriteOp::Apps(Apps::RunApp(_)) => true,
        WriteOp::Zones(Zones::AppendZoneEvents(op)) => op.is_silent(),
        _ => false,
    };
    let anchored = ops.iter().any(is_anchor);
    let others = ops.iter().filter(|op| !(anchored && is_made_again(op)));
    others.map(WriteOp::durability).max().unwrap_or(Durability::Relaxed)
}

#[cfg(test)]
mod tests {
    use heldar_base::{CameraId, PublicId};

    use super::*;
    use crate::model::{NewEvent, NewZoneEvent, Severity, ZoneEvent, ZoneEventId, ZoneState};
    use crate::op::{AdvanceCursor, AppendEvents, AppendZoneEvents, PutZoneOccupancy, SaveZoneState};

    fn zone_events(in_feed: bool) -> WriteOp {
        let camera = CameraId::new("a").unwrap();
        let event = NewEvent {
            id: String::new(),
            camera: None,
            event_type: String::new(),
            severity: Severity::Info,
            timestamp: WallTime(0),
            created_at: WallTime(0),
            payload: serde_json::Value::Null,
        };
        let zone_event = ZoneEvent {
            id: ZoneEventId { timestamp: WallTime(0), bits: 0 },
            camera,
            zone: PublicId::new("zone", 1),
            zone_name: String::new(),
            event_type: String::new(),
            task_type: None,
            track_id: None,
            label: None,
            dwell: None,
            confidence: None,
            anchor: None,
            bbox: None,
            direction_deg: None,
            speed: None,
            reason: None,
            source: None,
            has_evidence: false,
            created_at: WallTime(0),
        };
        AppendZoneEvents { events: vec![NewZoneEvent { zone_event, event: in_feed.then_some(event) }] }.into()
    }

    #[test]
    fn what_zones_make_of_time_is_as_safe_as_their_state() {
        let state = || {
            let (camera, at) = (CameraId::new("a").unwrap(), WallTime(0));
            let state = ZoneState { camera, seq: 0, ticked_at: at, saved_at: at, bytes: Vec::new() };
            WriteOp::from(SaveZoneState { state })
        };
        let occupancy = || WriteOp::from(PutZoneOccupancy { rows: Vec::new() });
        for (ops, expect) in [
            (vec![state(), occupancy()], Durability::Relaxed),
            (vec![state(), zone_events(false)], Durability::Relaxed),
            (vec![state(), zone_events(false), zone_events(true)], Durability::Full),
            (vec![zone_events(false)], Durability::Full),
        ] {
            assert_eq!(WriteOp::All(ops).durability(), expect);
        }
    }

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
