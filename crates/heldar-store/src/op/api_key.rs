//! Writes of the credentials of machines.

use heldar_base::WallTime;

use super::{Apply, Durability, OpError, Tx, conflict, not_found};
use crate::model::ApiKeyFields;
use crate::sql::{Arg, args, statements};

statements! {
    KEY_REVISION = "SELECT revision FROM api_key WHERE id = $1";
    KEY_INSERT = "INSERT INTO api_key (id, updated_us, name, key_hash, key_prefix, old_key_hash, old_valid_until_us,
        role, active, capabilities, scope_kind, scope_cameras, scope_sites, allowed_networks, description, expires_us,
        revoked_us, created_by, created_us, revision)
        VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $2, 1)";
    KEY_UPDATE = "UPDATE api_key SET updated_us = $2, name = $3, key_hash = $4, key_prefix = $5, old_key_hash = $6,
        old_valid_until_us = $7, role = $8, active = $9, capabilities = $10, scope_kind = $11, scope_cameras = $12,
        scope_sites = $13, allowed_networks = $14, description = $15, expires_us = $16, revoked_us = $17,
        revision = revision + 1 WHERE id = $1";
    KEY_DELETE = "DELETE FROM api_key WHERE id = $1";
    KEY_TOUCH = "UPDATE api_key SET last_used_us = $2, last_used_ip = $3 WHERE id = $1";
}

/// Makes a key. Refused with [`crate::ErrorKind::Conflict`] when the id is taken.
#[derive(Clone, Debug)]
pub struct CreateApiKey {
    /// Its id.
    pub id: String,
    /// What can be set.
    pub fields: ApiKeyFields,
    /// Id of the principal that makes it.
    pub created_by: Option<String>,
    /// Now.
    pub now: WallTime,
}

impl Apply for CreateApiKey {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if tx.row(KEY_REVISION, args![self.id.as_str()]).await?.is_some() {
            return Err(conflict(format!("the key id `{}` is taken", self.id)));
        }
        let mut row = key_args(&self.id, &self.fields, self.now);
        row.push(self.created_by.as_deref().into());
        tx.run(KEY_INSERT, row).await?;
        Ok(())
    }
}

/// Changes a key. Refused with [`crate::ErrorKind::NotFound`], or [`crate::ErrorKind::Conflict`] when it was changed
/// since `revision`.
#[derive(Clone, Debug)]
pub struct UpdateApiKey {
    /// Its id.
    pub id: String,
    /// What can be set, changed or not.
    pub fields: ApiKeyFields,
    /// The revision that this was made from.
    pub revision: i64,
    /// Now.
    pub now: WallTime,
}

impl Apply for UpdateApiKey {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        let row = tx.row(KEY_REVISION, args![self.id.as_str()]).await?.ok_or_else(|| not_found("API key"))?;
        if row.columns().int()? != self.revision {
            return Err(conflict("the API key was changed by someone else"));
        }
        tx.run(KEY_UPDATE, key_args(&self.id, &self.fields, self.now)).await?;
        Ok(())
    }
}

/// Deletes a key. Refused with [`crate::ErrorKind::NotFound`].
#[derive(Clone, Debug)]
pub struct DeleteApiKey {
    /// Its id.
    pub id: String,
}

impl Apply for DeleteApiKey {
    const DURABILITY: Durability = Durability::Full;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        if tx.row(KEY_REVISION, args![self.id.as_str()]).await?.is_none() {
            return Err(not_found("API key"));
        }
        tx.run(KEY_DELETE, args![self.id.as_str()]).await?;
        Ok(())
    }
}

/// Notes uses of keys; those that are gone are passed over. Not a change that a revision counts.
#[derive(Clone, Debug)]
pub struct TouchKeys {
    /// Of each: its id, its last use, the address of the client.
    pub touched: Vec<(String, WallTime, Option<String>)>,
}

impl Apply for TouchKeys {
    const DURABILITY: Durability = Durability::Relaxed;

    async fn apply(&self, tx: &mut Tx<'_>) -> Result<(), OpError> {
        for (id, last_used, ip) in &self.touched {
            tx.run(KEY_TOUCH, args![id.as_str(), *last_used, ip.as_deref()]).await?;
        }
        Ok(())
    }
}

/// `$1` to `$17` of the insert and the update.
fn key_args(id: &str, f: &ApiKeyFields, now: WallTime) -> Vec<Arg> {
    args![
        id,
        now,
        f.name.as_str(),
        f.key_hash.expose().as_str(),
        f.key_prefix.as_str(),
        f.old_key.as_ref().map(|old| old.hash.expose().as_str()),
        f.old_key.as_ref().map(|old| old.valid_until),
        f.role.as_str(),
        f.active,
        f.capabilities.as_deref(),
        f.grant.kind.as_str(),
        f.grant.cameras.as_str(),
        f.grant.sites.as_str(),
        f.grant.networks.as_str(),
        f.description.as_deref(),
        f.expires_at,
        f.revoked_at,
    ]
}
