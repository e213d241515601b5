//! Reads of clips.

use heldar_base::{PublicId, Scope, WallTime};

use super::{all, fetch_limit, page_limit};
use crate::error::StoreError;
use crate::model::{Clip, ClipCursor, ClipFilter, Hole, Page};
use crate::sql::{CameraFilter, Query, Row, args, statements};

macro_rules! clip_columns {
    () => {
        "SELECT id, camera_id, filename, download_name, from_us, to_us, covered_us, media_us, lead_in_us, gaps,
        size_bytes, segment_count, sha256, codecs, name, incident_id, keep, created_by, created_us, expires_us FROM clip"
    };
}

statements! {
    BY_ID = concat!(clip_columns!(), " WHERE id = $1");
}

/// A clip in any state, for the writer.
pub(crate) const CLIP_BY_ID: crate::sql::Stmt = BY_ID;

const CLIPS: &str = concat!(clip_columns!(), " WHERE");

/// Columns of a clip.
pub(crate) fn clip_from(row: &Row) -> Result<Clip, StoreError> {
    let mut c = row.columns();
    Ok(Clip {
        id: c.public_id(Clip::PREFIX)?,
        camera: c.word()?,
        filename: c.text()?,
        download_name: c.text()?,
        from: c.time()?,
        to: c.time()?,
        covered_us: c.int()?,
        media_us: c.int()?,
        lead_in_us: c.int()?,
        gaps: Hole::decode(&c.text()?)?,
        size_bytes: c.int()?,
        segment_count: c.int()?,
        sha256: c.text()?,
        codecs: c.json()?,
        name: c.opt_text()?,
        incident_id: c.opt_text()?,
        keep: c.flag()?,
        created_by: c.opt_text()?,
        created_at: c.time()?,
        expires_at: c.opt_time()?,
    })
}

pub(crate) fn list_query(
    filter: &CameraFilter<'_>,
    which: &ClipFilter,
    after: Option<&ClipCursor>,
    limit: u32,
) -> Query {
    let mut query = Query::new(CLIPS, Vec::new());
    query.push("deleting = 0", Vec::new());
    query.cameras("camera_id", filter);
    query.push_if("AND incident_id = $", which.incident_id.as_deref());
    query.push_if("AND to_us > $", which.range.from);
    query.push_if("AND from_us < $", which.range.to);
    if let Some(cursor) = after {
        query.push("AND (created_us, id) < ($, $)", args![cursor.created_us, cursor.id.as_str()]);
    }
    query.push("ORDER BY created_us DESC, id DESC LIMIT $", args![fetch_limit(limit)]);
    query
}

/// What a single clip is looked up by.
#[derive(Clone, Copy)]
pub(crate) enum ClipKey<'a> {
    Id(PublicId),
    Filename(&'a str),
}

pub(crate) fn one_query(filter: &CameraFilter<'_>, key: ClipKey<'_>) -> Query {
    let mut query = Query::new(CLIPS, Vec::new());
    query.push("deleting = 0", Vec::new());
    query.cameras("camera_id", filter);
    match key {
        ClipKey::Id(id) => query.push("AND id = $", args![id]),
        ClipKey::Filename(name) => query.push("AND filename = $", args![name]),
    }
    query
}

pub(crate) fn expired_query(now: WallTime, limit: u32) -> Query {
    let mut query = Query::new(CLIPS, Vec::new());
    query.push(
        "deleting = 0 AND keep = 0 AND expires_us IS NOT NULL AND expires_us <= $ ORDER BY expires_us, id LIMIT $",
        args![now, page_limit(limit)],
    );
    query
}

pub(crate) fn deleting_query(limit: u32) -> Query {
    let mut query = Query::new(CLIPS, Vec::new());
    query.push("deleting = 1 ORDER BY id LIMIT $", args![page_limit(limit)]);
    query
}

impl crate::Store {
    /// Clips, newest first.
    pub async fn clips(
        &self,
        scope: &Scope,
        which: &ClipFilter,
        after: Option<&ClipCursor>,
        limit: u32,
    ) -> Result<Page<Clip, ClipCursor>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, which.camera.as_ref()) else { return Ok(Page::empty()) };
        let rows = self.query(list_query(&filter, which, after, limit)).await?;
        let cursor = |clip: &Clip| ClipCursor { created_us: clip.created_at.0, id: clip.id.to_string() };
        Ok(Page::cut(all(&rows, clip_from)?, page_limit(limit), cursor))
    }

    async fn one_clip(&self, scope: &Scope, key: ClipKey<'_>) -> Result<Option<Clip>, StoreError> {
        let Some(filter) = CameraFilter::new(scope, None) else { return Ok(None) };
        let rows = self.query(one_query(&filter, key)).await?;
        rows.first().map(clip_from).transpose()
    }

    /// One clip.
    pub async fn clip(&self, scope: &Scope, id: PublicId) -> Result<Option<Clip>, StoreError> {
        self.one_clip(scope, ClipKey::Id(id)).await
    }

    /// The clip of a file.
    pub async fn clip_by_filename(&self, scope: &Scope, filename: &str) -> Result<Option<Clip>, StoreError> {
        self.one_clip(scope, ClipKey::Filename(filename)).await
    }

    /// Clips that retention may remove, the longest expired first; at most `limit`. Retention has no scope: a limited
    /// one sees none.
    pub async fn expired_clips(
        &self,
        scope: &Scope,
        now: WallTime,
        limit: u32,
    ) -> Result<Vec<Clip>, StoreError> {
        if !scope.is_all() {
            return Ok(Vec::new());
        }
        let rows = self.query(expired_query(now, limit)).await?;
        all(&rows, clip_from)
    }

    /// Clips whose files are to be removed; at most `limit`. A limited scope sees none.
    pub async fn deleting_clips(&self, scope: &Scope, limit: u32) -> Result<Vec<Clip>, StoreError> {
        if !scope.is_all() {
            return Ok(Vec::new());
        }
        let rows = self.query(deleting_query(limit)).await?;
        all(&rows, clip_from)
    }
}
