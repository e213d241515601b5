//! Writes of cameras.

use heldar_base::{CameraId, Secret, WallTime};

use super::{Apply, Durability, OpError, Tx, conflict, not_found};
use crate::model::CameraFields;
use crate::sql::{Arg, args, statements};

statements! {
    CAMERA_STATE = "SELECT revision, removed_us FROM camera WHERE id = $1";
    SITE_EXISTS = "SELECT 1 FROM site WHERE id = $1";
    CAMERA_INSERT = "INSERT INTO camera (id, updated_us, name, site_id, vendor, model, address, rtsp_port, username,
        password_sealed, main_url_sealed, sub_url_sealed, record_stream, record_sub, rtsp_transport, channel,
        capabilities, record_enabled, segment_seconds, retention_hours, retention_motion_hours, retention_alert_hours,
        storage_quota_bytes, record_audio, record_mode, pre_roll_seconds, post_roll_seconds, mirror_enabled,
        anr_enabled, anr_replay_url_sealed, native_anpr_enabled, native_events_enabled, enabled, live_warm, priority,
        http_port, device_tls, created_us, revision)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22,
        $23, $24, $25, $26, $27, $28, $29, $30, $31, $32, $33, $34, $35, $36, $37, $2, 1)";
    CAMERA_UPDATE = "UPDATE camera SET updated_us = $2, name = $3, site_id = $4, vendor = $5, model = $6, address = $7,
        rtsp_port = $8, username = $9, password_sealed = $10, main_url_sealed = $11, sub_url_sealed = $12,
        record_stream = $13, record_sub = $14, rtsp_transport = $15, channel = $16, capabilities = $17,
        record_enabled = $18, segment_seconds = $19, retention_hours = $20, retention_motion_hours = $21,
        retention_alert_hours = $22, storage_quota_bytes = $23, record_audio = $24, record_mode = $25,
        pre_roll_seconds = $26, post_roll_seconds = $27, mirror_enabled = $28, anr_enabled = $29,
        anr_replay_url_sealed = $30, native_anpr_enabled = $31, native_events_enabled = $32, enabled = $33,
        live_warm = $34, priority = $35, http_port = $36, device_tls = $37, revision = revision + 1
        WHERE id = $1";
    CAMERA_REATTACH = "UPDATE camera SET removed_us = NULL, created_us = $2 WHERE id = $1";
    CAMERA_REMOVE = "UPDATE camera SET removed_us = $2, updated_us = $2, revision = revision + 1 WHERE id = $1";
    STREAMS_WITHOUT_FOOTAGE = "DELETE FROM stream WHERE camera_id = $1
        AND NOT EXISTS (SELECT 1 FROM segment WHERE segment.stream_no = stream.stream_no)";
    CLIPS_OF_CAMERA = "UPDATE clip SET deleting = 1 WHERE camera_id = $1 AND keep = 0 AND deleting = 0";
    CAMERA_DELETE = "DELETE FROM camera WHERE id = $1";
}

/// What became of a camera that was to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CameraCreated {
    /// It is new.
    New,
    /// It had been removed with its footage kept, and has it again.
    Reattached,
}

/// Makes a camera, or takes a removed one of that id back into use. Refused with [`crate::ErrorKind::Conflict`] when
/// the id is taken, [`crate::ErrorKind::NotFound`] when the site does not exist.
#[derive(Clone, Debug)]
pub struct CreateCamera {
    /// Its id.
    pub id: CameraId,
    /// What can be set.
    pub fields: CameraFields,
    /// Now.
    pub now: WallTime,
}

impl Apply for CreateCamera {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<CameraCreated, OpError> {
        let stored = tx.row(CAMERA_STATE, args![&self.id]).await?;
        let removed = match &stored {
            None => false,
            Some(row) => {
                let mut columns = row.columns();
                columns.int()?;
                if columns.opt_time()?.is_none() {
                    return Err(conflict(format!("the camera id `{}` is taken", self.id)));
                }
                true
            }
        };
        require_site(tx, &self.fields).await?;
        let row = camera_args(&self.id, &self.fields, self.now);
        if removed {
            tx.run(CAMERA_UPDATE, row).await?;
            tx.run(CAMERA_REATTACH, args![&self.id, self.now]).await?;
            Ok(CameraCreated::Reattached)
        } else {
            tx.run(CAMERA_INSERT, row).await?;
            Ok(CameraCreated::New)
        }
    }
}

/// Changes a camera. Refused with [`crate::ErrorKind::NotFound`] when it or the site does not exist, or
/// [`crate::ErrorKind::Conflict`] when it was changed since `revision`.
#[derive(Clone, Debug)]
pub struct UpdateCamera {
    /// Its id.
    pub id: CameraId,
    /// What can be set, changed or not.
    pub fields: CameraFields,
    /// The revision that this was made from.
    pub revision: i64,
    /// Now.
    pub now: WallTime,
}

impl Apply for UpdateCamera {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let row = tx.row(CAMERA_STATE, args![&self.id]).await?.ok_or_else(|| not_found("camera"))?;
        if row.columns().int()? != self.revision {
            return Err(conflict("the camera was changed by someone else"));
        }
        require_site(tx, &self.fields).await?;
        tx.run(CAMERA_UPDATE, camera_args(&self.id, &self.fields, self.now)).await?;
        Ok(())
    }
}

/// Takes a camera out of use and keeps its footage. Refused with [`crate::ErrorKind::NotFound`] when there is none in
/// use.
#[derive(Clone, Debug)]
pub struct RemoveCamera {
    /// Its id.
    pub id: CameraId,
    /// Now.
    pub now: WallTime,
}

impl Apply for RemoveCamera {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let row = tx.row(CAMERA_STATE, args![&self.id]).await?.ok_or_else(|| not_found("camera"))?;
        let mut columns = row.columns();
        columns.int()?;
        if columns.opt_time()?.is_some() {
            return Err(not_found("camera in use"));
        }
        tx.run(CAMERA_REMOVE, args![&self.id, self.now]).await?;
        Ok(())
    }
}

/// Deletes a camera, in use or removed, with everything that is its own. Refused with [`crate::ErrorKind::NotFound`].
///
/// Footage and clips are gone from every answer with the commit, whatever their number: streams lose their camera,
/// and so all of their segments count as being deleted. Their files are then removed by whoever reads
/// [`crate::Store::deleting_segments`] and [`crate::Store::deleting_clips`]. So are batches, detections and motion, whose
/// rows [`super::Prunable::OfDeletedCameras`] then removes, snapshots, which [`super::RemoveSnapshots`] removes, and zone
/// events, which [`super::RemoveZoneEvents`] removes; AI tasks, schedules and zones go with the commit. Clips to
/// keep, events and audit rows stay.
#[derive(Clone, Debug)]
pub struct DeleteCamera {
    /// Its id.
    pub id: CameraId,
}

impl Apply for DeleteCamera {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if tx.row(CAMERA_STATE, args![&self.id]).await?.is_none() {
            return Err(not_found("camera"));
        }
        tx.run(STREAMS_WITHOUT_FOOTAGE, args![&self.id]).await?;
        tx.run(CLIPS_OF_CAMERA, args![&self.id]).await?;
        tx.run(CAMERA_DELETE, args![&self.id]).await?;
        tx.forget_numbers();
        Ok(())
    }
}

async fn require_site(tx: &mut Tx<'_>, fields: &CameraFields) -> Result<(), OpError> {
    if let Some(site) = &fields.site_id
        && tx.row(SITE_EXISTS, args![site]).await?.is_none()
    {
        return Err(not_found("site"));
    }
    Ok(())
}

fn sealed(value: &Option<Secret<String>>) -> Arg {
    Arg::from(value.as_ref().map(|secret| secret.expose().as_str()))
}

/// `$1` to `$37` of the insert and the update.
fn camera_args(id: &CameraId, f: &CameraFields, now: WallTime) -> Vec<Arg> {
    args![
        id,
        now,
        f.name.as_str(),
        f.site_id.as_ref().map(|site| site.as_str()),
        f.vendor.as_str(),
        f.model.as_deref(),
        f.address.as_deref(),
        f.rtsp_port,
        f.username.as_deref(),
        sealed(&f.password),
        sealed(&f.main_stream_url),
        sealed(&f.sub_stream_url),
        f.record_stream.as_str(),
        f.record_sub,
        f.rtsp_transport,
        f.channel,
        f.capabilities.to_string(),
        f.record_enabled,
        f.segment_seconds,
        f.retention_hours,
        f.retention_motion_hours,
        f.retention_alert_hours,
        f.storage_quota_bytes,
        f.record_audio,
        f.record_mode,
        f.pre_roll_seconds,
        f.post_roll_seconds,
        f.mirror_enabled,
        f.anr_enabled,
        sealed(&f.anr_replay_url_template),
        f.native_anpr_enabled,
        f.native_events_enabled,
        f.enabled,
        f.live_warm,
        f.priority,
        f.http_port,
        f.device_tls,
    ]
}
