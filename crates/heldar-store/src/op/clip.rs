//! Writes of clips.

use heldar_base::PublicId;

use super::{Apply, Durability, OpError, Tx, conflict};
use crate::model::{Clip, Hole};
use crate::read::{CLIP_BY_ID, clip_from};
use crate::sql::{args, statements};

statements! {
    CLIP_EXISTS = "SELECT 1 FROM clip WHERE id = $1 OR filename = $2 LIMIT 1";
    CLIP_INSERT = "INSERT INTO clip (id, camera_id, filename, download_name, from_us, to_us, covered_us, media_us,
        lead_in_us, gaps, size_bytes, segment_count, sha256, codecs, name, incident_id, keep, created_by, created_us,
        expires_us, deleting)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, 0)";
    CLIP_MARK = "UPDATE clip SET deleting = 1 WHERE id = $1 AND deleting = 0";
    CLIP_REMOVE = "DELETE FROM clip WHERE id = $1 AND deleting = 1";
}

/// Lists a clip whose file is complete and synced. Refused with [`crate::ErrorKind::Conflict`] when its id or file
/// name is taken.
#[derive(Clone, Debug)]
pub struct InsertClip {
    /// The row.
    pub clip: Clip,
}

impl Apply for InsertClip {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let c = &self.clip;
        if tx.row(CLIP_EXISTS, args![c.id, c.filename.as_str()]).await?.is_some() {
            return Err(conflict("the id or file name of the clip is taken"));
        }
        let row = args![
            c.id,
            &c.camera,
            c.filename.as_str(),
            c.download_name.as_str(),
            c.from,
            c.to,
            c.covered_us,
            c.media_us,
            c.lead_in_us,
            Hole::encode(&c.gaps),
            c.size_bytes,
            c.segment_count,
            c.sha256.as_str(),
            serde_json::Value::from(c.codecs.clone()).to_string(),
            c.name.as_deref(),
            c.incident_id.as_deref(),
            c.keep,
            c.created_by.as_deref(),
            c.created_at,
            c.expires_at,
        ];
        tx.run(CLIP_INSERT, row).await?;
        Ok(())
    }
}

/// First step of deleting clips: marks them, which are gone from every answer with the commit. Answers with those that
/// are marked by this very operation; their files are then removed.
#[derive(Clone, Debug)]
pub struct MarkClipsDeleting {
    /// Which.
    pub ids: Vec<PublicId>,
}

impl Apply for MarkClipsDeleting {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<Vec<Clip>, OpError> {
        let mut marked = Vec::new();
        for id in &self.ids {
            if tx.run(CLIP_MARK, args![*id]).await? == 0 {
                continue;
            }
            if let Some(row) = tx.row(CLIP_BY_ID, args![*id]).await? {
                marked.push(clip_from(&row)?);
            }
        }
        Ok(marked)
    }
}

/// Last step of deleting clips, after their files are gone. Answers with the number of rows removed.
#[derive(Clone, Debug)]
pub struct RemoveClips {
    /// Which.
    pub ids: Vec<PublicId>,
}

impl Apply for RemoveClips {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<u64, OpError> {
        let mut removed = 0;
        for id in &self.ids {
            removed += tx.run(CLIP_REMOVE, args![*id]).await?;
        }
        Ok(removed)
    }
}
