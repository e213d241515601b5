//! Reads of cameras.

use heldar_base::{CameraId, Scope, Secret, SiteId};

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{Camera, CameraFields, Page};
use crate::sql::{CameraFilter, Columns, Query, Row};

const CAMERAS: &str = "SELECT id, created_us, updated_us, revision, removed_us, name, site_id, vendor, model, address,
    rtsp_port, username, password_sealed, main_url_sealed, sub_url_sealed, record_stream, record_sub, rtsp_transport,
    channel, capabilities, record_enabled, segment_seconds, retention_hours, retention_motion_hours,
    retention_alert_hours, storage_quota_bytes, record_audio, record_mode, pre_roll_seconds, post_roll_seconds,
    mirror_enabled, anr_enabled, anr_replay_url_sealed, native_anpr_enabled, native_events_enabled, enabled, live_warm,
    priority, http_port, device_tls FROM camera WHERE TRUE";

/// Which cameras.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CameraQuery {
    /// Of this site.
    pub site: Option<SiteId>,
    /// Switched on or off.
    pub enabled: Option<bool>,
    /// Those too that were removed with their footage kept.
    pub include_removed: bool,
}

fn secret(c: &mut Columns<'_>) -> Result<Option<Secret<String>>, StoreError> {
    Ok(c.opt_text()?.map(Secret::new))
}

fn camera_from(row: &Row) -> Result<Camera, StoreError> {
    let mut c = row.columns();
    Ok(Camera {
        id: c.word()?,
        created_at: c.time()?,
        updated_at: c.time()?,
        revision: c.int()?,
        removed_at: c.opt_time()?,
        fields: fields_from(&mut c)?,
    })
}

fn fields_from(c: &mut Columns<'_>) -> Result<CameraFields, StoreError> {
    Ok(CameraFields {
        name: c.text()?,
        site_id: c.opt_word()?,
        vendor: c.text()?,
        model: c.opt_text()?,
        address: c.opt_text()?,
        rtsp_port: c.number()?,
        username: c.opt_text()?,
        password: secret(c)?,
        main_stream_url: secret(c)?,
        sub_stream_url: secret(c)?,
        record_stream: c.word()?,
        record_sub: c.flag()?,
        rtsp_transport: c.word()?,
        channel: c.number()?,
        capabilities: c.json()?,
        record_enabled: c.flag()?,
        segment_seconds: c.number()?,
        retention_hours: c.number()?,
        retention_motion_hours: c.opt_number()?,
        retention_alert_hours: c.opt_number()?,
        storage_quota_bytes: c.opt_int()?,
        record_audio: c.flag()?,
        record_mode: c.word()?,
        pre_roll_seconds: c.number()?,
        post_roll_seconds: c.number()?,
        mirror_enabled: c.flag()?,
        anr_enabled: c.flag()?,
        anr_replay_url_template: secret(c)?,
        native_anpr_enabled: c.flag()?,
        native_events_enabled: c.flag()?,
        enabled: c.flag()?,
        live_warm: c.flag()?,
        priority: c.int()?,
        http_port: c.opt_number()?,
        device_tls: c.word()?,
    })
}

pub(crate) fn list_query(
    filter: &CameraFilter<'_>,
    which: &CameraQuery,
    after: Option<&CameraId>,
    limit: u32,
) -> Query {
    let mut query = Query::new(CAMERAS, Vec::new());
    query.cameras("id", filter);
    query.push_if("AND site_id = $", which.site.as_ref());
    query.push_if("AND enabled = $", which.enabled);
    if !which.include_removed {
        query.push("AND removed_us IS NULL", Vec::new());
    }
    query.push_if("AND id > $", after);
    query.push("ORDER BY id LIMIT $", vec![fetch_limit(limit).into()]);
    query
}

impl crate::Store {
    /// Cameras by id. The cursor is the id of the last row.
    pub async fn cameras(
        &self,
        scope: &Scope,
        which: &CameraQuery,
        after: Option<&CameraId>,
        limit: u32,
    ) -> Result<Page<Camera, CameraId>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(Page::empty()) };
        let rows = self.query(list_query(&filter, which, after, limit)).await?;
        Ok(Page::cut(all(&rows, camera_from)?, page_limit(limit), |camera| camera.id.clone()))
    }

    /// One camera, in use or removed with its footage kept.
    pub async fn camera(&self, scope: &Scope, id: &CameraId) -> Result<Option<Camera>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, Some(id)) else { return Ok(None) };
        let which = CameraQuery { include_removed: true, ..CameraQuery::default() };
        let rows = self.query(list_query(&filter, &which, None, 1)).await?;
        rows.first().map(camera_from).transpose()
    }
}
