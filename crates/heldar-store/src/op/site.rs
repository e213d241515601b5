//! Writes of sites and settings.

use heldar_base::{SiteId, WallTime};

use super::{Apply, Durability, OpError, Tx, conflict, not_found, refused};
use crate::error::ErrorKind;
use crate::model::SiteFields;
use crate::sql::{args, statements};

statements! {
    SITE_REVISION = "SELECT revision FROM site WHERE id = $1";
    SITE_INSERT = "INSERT INTO site (id, name, timezone, created_us, updated_us, revision) VALUES ($1, $2, $3, $4, $4, 1)";
    SITE_UPDATE = "UPDATE site SET name = $2, timezone = $3, updated_us = $4, revision = revision + 1 WHERE id = $1";
    SITE_CAMERAS = "SELECT COUNT(*) FROM camera WHERE site_id = $1 AND removed_us IS NULL";
    SITE_DETACH = "UPDATE camera SET site_id = NULL, updated_us = $2, revision = revision + 1 WHERE site_id = $1";
    SITE_DELETE = "DELETE FROM site WHERE id = $1";
    SETTING_PUT = "INSERT INTO setting (key, value, updated_us) VALUES ($1, $2, $3)
        ON CONFLICT (key) DO UPDATE SET value = excluded.value, updated_us = excluded.updated_us";
    SETTING_DELETE = "DELETE FROM setting WHERE key = $1";
}

/// Makes a site. Refused with [`ErrorKind::Conflict`] when the id is taken.
#[derive(Clone, Debug)]
pub struct CreateSite {
    /// Its id.
    pub id: SiteId,
    /// What can be set.
    pub fields: SiteFields,
    /// Now.
    pub now: WallTime,
}

impl Apply for CreateSite {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if tx.row(SITE_REVISION, args![&self.id]).await?.is_some() {
            return Err(conflict(format!("the site id `{}` is taken", self.id)));
        }
        let fields = &self.fields;
        let row = args![&self.id, fields.name.as_str(), fields.timezone.as_deref(), self.now];
        tx.run(SITE_INSERT, row).await?;
        Ok(())
    }
}

/// Changes a site. Refused with [`ErrorKind::NotFound`], or [`ErrorKind::Conflict`] when it was changed since
/// `revision`.
#[derive(Clone, Debug)]
pub struct UpdateSite {
    /// Its id.
    pub id: SiteId,
    /// What can be set, changed or not.
    pub fields: SiteFields,
    /// The revision that this was made from.
    pub revision: i64,
    /// Now.
    pub now: WallTime,
}

impl Apply for UpdateSite {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let row = tx.row(SITE_REVISION, args![&self.id]).await?.ok_or_else(|| not_found("site"))?;
        if row.columns().int()? != self.revision {
            return Err(conflict("the site was changed by someone else"));
        }
        let fields = &self.fields;
        let row = args![&self.id, fields.name.as_str(), fields.timezone.as_deref(), self.now];
        tx.run(SITE_UPDATE, row).await?;
        Ok(())
    }
}

/// What happens to the cameras of a site that goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OnCameras {
    /// The site stays while cameras use it.
    Refuse,
    /// They belong to no site.
    Detach,
}

/// Deletes a site. Refused with [`ErrorKind::NotFound`], or [`ErrorKind::InUse`] while cameras use it.
#[derive(Clone, Debug)]
pub struct DeleteSite {
    /// Its id.
    pub id: SiteId,
    /// What happens to its cameras.
    pub on_cameras: OnCameras,
    /// Now.
    pub now: WallTime,
}

impl Apply for DeleteSite {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if tx.row(SITE_REVISION, args![&self.id]).await?.is_none() {
            return Err(not_found("site"));
        }
        if self.on_cameras == OnCameras::Refuse
            && let Some(row) = tx.row(SITE_CAMERAS, args![&self.id]).await?
            && row.columns().int()? > 0
        {
            return Err(refused(ErrorKind::InUse, "cameras belong to this site"));
        }
        // Removed cameras of the site lose it as well.
        tx.run(SITE_DETACH, args![&self.id, self.now]).await?;
        tx.run(SITE_DELETE, args![&self.id]).await?;
        Ok(())
    }
}

/// Sets a setting.
#[derive(Clone, Debug)]
pub struct PutSetting {
    /// Its name.
    pub key: String,
    /// Its value as text.
    pub value: String,
    /// Now.
    pub now: WallTime,
}

impl Apply for PutSetting {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        tx.run(SETTING_PUT, args![self.key.as_str(), self.value.as_str(), self.now]).await?;
        Ok(())
    }
}

/// Deletes a setting; one that is not there is no error.
#[derive(Clone, Debug)]
pub struct DeleteSetting {
    /// Its name.
    pub key: String,
}

impl Apply for DeleteSetting {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        tx.run(SETTING_DELETE, args![self.key.as_str()]).await?;
        Ok(())
    }
}
