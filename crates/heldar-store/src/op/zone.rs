//! Writes of zones, of what their engines remember, of occupancy and counters.

use heldar_base::{CameraId, PublicId, WallTime};

use super::{Apply, Durability, OnTaken, OpError, Tx, conflict, not_found, refused};
use crate::error::ErrorKind;
use crate::model::{Zone, ZoneCounters, ZoneFields, ZoneOccupancy, ZoneState};
use crate::read::{ZONE_BY_ID, ZONE_BY_NAME, zone_from};
use crate::sql::{Arg, args, statements};

statements! {
    CAMERA_IN_USE = "SELECT 1 FROM camera WHERE id = $1 AND removed_us IS NULL";
    CAMERA_EXISTS = "SELECT 1 FROM camera WHERE id = $1";
    ZONE_EXISTS = "SELECT 1 FROM zone WHERE id = $1";
    ZONE_INSERT = "INSERT INTO zone (id, name, kind, polygon, dwell_seconds, labels, severity, config, enabled,
        updated_us, camera_id, created_us, revision) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $10, 1)";
    ZONE_UPDATE = "UPDATE zone SET name = $2, kind = $3, polygon = $4, dwell_seconds = $5, labels = $6, severity = $7,
        config = $8, enabled = $9, updated_us = $10, revision = revision + 1 WHERE id = $1";
    ZONE_DELETE = "DELETE FROM zone WHERE id = $1";
    STATE_SEQ = "SELECT seq FROM zone_state WHERE camera_id = $1";
    STATE_PUT = "INSERT INTO zone_state (camera_id, seq, ticked_us, saved_us, state) VALUES ($1, $2, $3, $4, $5)
        ON CONFLICT (camera_id) DO UPDATE SET seq = excluded.seq, ticked_us = excluded.ticked_us,
        saved_us = excluded.saved_us, state = excluded.state";
    OCCUPANCY_PUT = "INSERT INTO zone_occupancy (zone_id, count, labels, state, updated_us)
        VALUES ($1, $2, $3, $4, $5) ON CONFLICT (zone_id) DO UPDATE SET count = excluded.count,
        labels = excluded.labels, state = excluded.state, updated_us = excluded.updated_us";
    COUNTERS_PUT = "INSERT INTO zone_counter (zone_id, in_count, out_count, since_us, updated_us, by_label)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (zone_id) DO UPDATE SET in_count = excluded.in_count,
        out_count = excluded.out_count, since_us = excluded.since_us, updated_us = excluded.updated_us,
        by_label = excluded.by_label";
}

/// Makes a zone, and answers with it or the one of the camera that has its name. Refused with [`ErrorKind::NotFound`] when
/// the camera is not in use, [`ErrorKind::Conflict`] when the id is taken, the name is empty or too long, or as [`OnTaken`]
/// says.
#[derive(Clone, Debug)]
pub struct CreateZone {
    /// Its id.
    pub id: PublicId,
    /// Whose picture.
    pub camera: CameraId,
    /// What can be set.
    pub fields: ZoneFields,
    /// When its name is taken.
    pub on_taken: OnTaken,
    /// Now.
    pub now: WallTime,
}

/// A zone that was made, or was there.
#[derive(Clone, Debug, PartialEq)]
pub struct ZoneCreated {
    /// The zone.
    pub zone: Zone,
    /// Whether it is new.
    pub new: bool,
}

impl Apply for CreateZone {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<ZoneCreated, OpError> {
        check_name(&self.fields.name)?;
        if tx.row(CAMERA_IN_USE, args![&self.camera]).await?.is_none() {
            return Err(not_found("camera in use"));
        }
        if let Some(zone) = named(tx, &self.camera, &self.fields.name).await? {
            return match self.on_taken {
                OnTaken::Answer => Ok(ZoneCreated { zone, new: false }),
                OnTaken::Refuse => Err(taken()),
            };
        }
        if tx.row(ZONE_EXISTS, args![self.id]).await?.is_some() {
            return Err(conflict(format!("the zone id `{}` is taken", self.id)));
        }
        let mut row = zone_args(self.id, &self.fields, self.now);
        row.push(Arg::from(&self.camera));
        tx.run(ZONE_INSERT, row).await?;
        let zone = one(tx, self.id).await?.ok_or_else(not_stored)?;
        Ok(ZoneCreated { zone, new: true })
    }
}

/// Changes a zone, and answers with it. Refused with [`ErrorKind::NotFound`], or [`ErrorKind::Conflict`] when it was
/// changed since `revision`, when the name is empty or too long, or when another zone of the camera has it.
#[derive(Clone, Debug)]
pub struct UpdateZone {
    /// Its id.
    pub id: PublicId,
    /// What can be set, changed or not.
    pub fields: ZoneFields,
    /// The revision that this was made from.
    pub revision: i64,
    /// Now.
    pub now: WallTime,
}

impl Apply for UpdateZone {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Zone, OpError> {
        check_name(&self.fields.name)?;
        let zone = one(tx, self.id).await?.ok_or_else(|| not_found("zone"))?;
        if zone.revision != self.revision {
            return Err(conflict("the zone was changed by someone else"));
        }
        if let Some(other) = named(tx, &zone.camera, &self.fields.name).await?
            && other.id != self.id
        {
            return Err(taken());
        }
        tx.run(ZONE_UPDATE, zone_args(self.id, &self.fields, self.now)).await?;
        one(tx, self.id).await?.ok_or_else(not_stored)
    }
}

/// Deletes a zone with its occupancy and counters; its events stay. Refused with [`ErrorKind::NotFound`].
#[derive(Clone, Debug)]
pub struct DeleteZone {
    /// Its id.
    pub id: PublicId,
}

impl Apply for DeleteZone {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if tx.row(ZONE_EXISTS, args![self.id]).await?.is_none() {
            return Err(not_found("zone"));
        }
        tx.run(ZONE_DELETE, args![self.id]).await?;
        Ok(())
    }
}

/// Saves what the engine of a camera remembers; answers whether the camera is still there to be remembered. Stands before
/// all that the engine emits, in one [`super::WriteOp::All`], behind the [`super::AdvanceCursor`] of its batch if there is
/// one: it refuses itself with [`ErrorKind::Conflict`] when what is stored has taken a newer batch, so that a second writer
/// has no effect.
#[derive(Clone, Debug)]
pub struct SaveZoneState {
    /// What is to be saved.
    pub state: ZoneState,
}

impl Apply for SaveZoneState {
    // Effects and state stand or fall together: what a commit that is lost held is found again from the state before.
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<bool, OpError> {
        let state = &self.state;
        match tx.row(STATE_SEQ, args![&state.camera]).await? {
            Some(row) if row.columns().int()? > state.seq => {
                return Err(conflict("the state of the zones of this camera is of a newer batch"));
            }
            Some(_) => {}
            None if tx.row(CAMERA_EXISTS, args![&state.camera]).await?.is_none() => return Ok(false),
            None => {}
        }
        let row = args![&state.camera, state.seq, state.ticked_at, state.saved_at, state.bytes.clone()];
        tx.run(STATE_PUT, row).await?;
        Ok(true)
    }
}

/// Writes how many are in zones. Of a zone that is gone nothing is stored.
#[derive(Clone, Debug)]
pub struct PutZoneOccupancy {
    /// Of which zones.
    pub rows: Vec<ZoneOccupancy>,
}

impl Apply for PutZoneOccupancy {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        for row in &self.rows {
            if tx.row(ZONE_EXISTS, args![row.zone]).await?.is_some() {
                let row = args![row.zone, row.count, row.labels.as_str(), row.state.as_str(), row.updated_at];
                tx.run(OCCUPANCY_PUT, row).await?;
            }
        }
        Ok(())
    }
}

/// Writes crossings of lines, also when they start anew. Of a zone that is gone nothing is stored.
#[derive(Clone, Debug)]
pub struct PutZoneCounters {
    /// Of which lines.
    pub rows: Vec<ZoneCounters>,
}

impl Apply for PutZoneCounters {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        for row in &self.rows {
            if tx.row(ZONE_EXISTS, args![row.zone]).await?.is_some() {
                let by_label = row.by_label.as_str();
                let row = args![row.zone, row.inwards, row.outwards, row.since, row.updated_at, by_label];
                tx.run(COUNTERS_PUT, row).await?;
            }
        }
        Ok(())
    }
}

fn check_name(name: &str) -> Result<(), OpError> {
    if name.is_empty() || name.chars().count() > Zone::NAME {
        return Err(conflict(format!("the name of a zone has 1 to {} characters", Zone::NAME)));
    }
    Ok(())
}

fn taken() -> OpError {
    conflict("the camera has a zone of this name")
}

fn not_stored() -> OpError {
    refused(ErrorKind::Internal, "the zone was not stored")
}

async fn one(tx: &mut Tx<'_>, id: PublicId) -> Result<Option<Zone>, OpError> {
    let row = tx.row(ZONE_BY_ID, args![id]).await?;
    Ok(row.map(|row| zone_from(&row)).transpose()?)
}

async fn named(tx: &mut Tx<'_>, camera: &CameraId, name: &str) -> Result<Option<Zone>, OpError> {
    let row = tx.row(ZONE_BY_NAME, args![camera, name]).await?;
    Ok(row.map(|row| zone_from(&row)).transpose()?)
}

/// `$1` to `$10` of the insert and the update.
fn zone_args(id: PublicId, fields: &ZoneFields, now: WallTime) -> Vec<Arg> {
    args![
        id,
        fields.name.as_str(),
        fields.kind.as_str(),
        fields.polygon.as_str(),
        fields.dwell_seconds,
        fields.labels.as_str(),
        fields.severity,
        fields.config.as_str(),
        fields.enabled,
        now,
    ]
}
